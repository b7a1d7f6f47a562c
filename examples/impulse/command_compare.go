package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/impulse-salamandra/finetune/evalx"
	"github.com/impulse-salamandra/finetune/salamandra/safetensors"
)

// errRulesDiffer: results that are to be compared were scored by different
// rules.
var errRulesDiffer = errors.New("scored by different rules")

// compareOptions are the flags of compare.
type compareOptions struct {
	Report    string
	Overwrite bool
	Stats     evalx.CompareOptions
}

func newCompareCommand() *cobra.Command {
	o := compareOptions{Stats: evalx.DefaultCompareOptions()}
	cmd := &cobra.Command{
		Use:   "compare A.json B.json [...]",
		Short: "Compare saved scores question by question",
		Long: `Compare scores that validate saved with --save-results. Every file is compared
with the first, on the same questions and by the same rules: which questions it
wins and loses, how likely such a split is by chance (exact McNemar test), and
the difference with its 95 % interval (paired bootstrap).`,
		Example: "  impulse compare base.json tuned.json --report compare.html",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 2 {
				return fmt.Errorf("compare wants two or more files that validate --save-results wrote, not %d", len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return runCompare(o, args, cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVar(&o.Report, "report", "", "write a page for the browser")
	cmd.Flags().BoolVar(&o.Overwrite, "overwrite", false, "replace the page if it exists")
	cmd.Flags().Uint64Var(&o.Stats.Seed, "seed", o.Stats.Seed, "seed of the bootstrap")
	return cmd
}

// runCompare compares every file with the first.
func runCompare(o compareOptions, paths []string, out io.Writer) error {
	if err := checkOutputs(o.Overwrite, outputFile{"--report", o.Report}); err != nil {
		return err
	}
	tasks, results, err := readAllResults(paths)
	if err != nil {
		return err
	}
	var rivals []evalx.Rival
	var faults []error
	for i, path := range paths[1:] {
		if tasks[i+1] != tasks[0] {
			faults = append(faults, fmt.Errorf("%w: %s by %q, %s by %q", errRulesDiffer, paths[0], tasks[0], path, tasks[i+1]))
			continue
		}
		comparison, err := evalx.Compare(results[0], results[i+1], o.Stats)
		if err != nil {
			faults = append(faults, fmt.Errorf("%s and %s: %w", paths[0], path, err))
			continue
		}
		rivals = append(rivals, evalx.Rival{Name: path, Results: results[i+1], Comparison: comparison})
	}
	if err := errors.Join(faults...); err != nil {
		return err
	}
	for i, rival := range rivals {
		if i > 0 {
			fmt.Fprintln(out)
		}
		if err := evalx.WriteComparison(out, paths[0], rival.Name, rival.Comparison); err != nil {
			return err
		}
	}
	if o.Report == "" {
		return nil
	}
	var page bytes.Buffer
	opts := evalx.HTMLOptions{Title: "IMPULSE: comparison", Task: tasks[0], QuestionPath: "meta.original_query"}
	if err := evalx.WriteComparisonHTML(&page, opts, paths[0], results[0], rivals); err != nil {
		return err
	}
	if err := safetensors.WriteFile(o.Report, page.Bytes()); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "\nreport written to %s\n", o.Report)
	return err
}

// readAllResults reads saved results and reports the faults of all files.
func readAllResults(paths []string) (tasks []string, results [][]evalx.Result, err error) {
	var faults []error
	for _, path := range paths {
		data, err := os.ReadFile(path)
		var task string
		var read []evalx.Result
		if err == nil {
			task, read, err = evalx.ReadJSON(path, data)
		}
		faults = append(faults, err)
		tasks, results = append(tasks, cmp.Or(task, "unnamed")), append(results, read)
	}
	return tasks, results, errors.Join(faults...)
}
