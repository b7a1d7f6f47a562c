package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/impulse-salamandra/finetune/evalx/report"
	"github.com/impulse-salamandra/finetune/internal/atomicfile"
)

// compareOptions are the flags of compare.
type compareOptions struct {
	Report    string
	Overwrite bool
	Seed      uint64
}

func newCompareCommand() *cobra.Command {
	var o compareOptions
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
	cmd.Flags().Uint64Var(&o.Seed, "seed", 42, "seed of the bootstrap")
	return cmd
}

// runCompare compares every file with the first.
func runCompare(o compareOptions, paths []string, out io.Writer) error {
	if err := checkOutputs(o.Overwrite, outputFile{"--report", o.Report}); err != nil {
		return err
	}
	runs, err := readAllResults(paths)
	if err != nil {
		return err
	}
	comparisons, err := report.Compare(runs[0], runs[1:], o.Seed)
	if err != nil {
		return err
	}
	for i, c := range comparisons {
		if i > 0 {
			fmt.Fprintln(out)
		}
		if err := report.WriteComparison(out, c); err != nil {
			return err
		}
	}
	if o.Report == "" {
		return nil
	}
	var page bytes.Buffer
	if err := report.WriteComparisonHTML(&page, "Comparison with "+paths[0], comparisons...); err != nil {
		return err
	}
	if err := atomicfile.Write(o.Report, page.Bytes()); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "\nreport written to %s\n", o.Report)
	return err
}

// readAllResults reads saved results and reports the faults of all files.
func readAllResults(paths []string) ([]report.Run, error) {
	var runs []report.Run
	var faults []error
	for _, path := range paths {
		data, err := os.ReadFile(path)
		var r report.Run
		if err == nil {
			r, err = report.ReadJSON(path, data)
		}
		faults, runs = append(faults, err), append(runs, r)
	}
	return runs, errors.Join(faults...)
}
