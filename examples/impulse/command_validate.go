package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/impulse-salamandra/finetune"
	"github.com/impulse-salamandra/finetune/evalx"
	rules "github.com/impulse-salamandra/finetune/evalx/impulse"
	"github.com/impulse-salamandra/finetune/evalx/report"
	"github.com/impulse-salamandra/finetune/internal/page"
	"github.com/impulse-salamandra/finetune/lora/train"
	"github.com/impulse-salamandra/finetune/salamandra/constrain"
	"github.com/impulse-salamandra/finetune/salamandra/device"
	"github.com/impulse-salamandra/finetune/salamandra/generate"
)

// validateOptions are the flags of validate.
type validateOptions struct {
	modelOptions
	TestFile, Predictions            string
	Rules, Equivalences, Comparators string
	By                               []string
	SaveResults, TSV, Report         string
	Constrained                      string
	Verbose, Resume, Overwrite       bool
	Backend, Devices                 string
	Limit, BatchSize                 int
	Generate                         generate.Options

	ranks        train.Ranks // the processes that share the questions, nil for one
	rankDeadline time.Duration
}

// follow leaves to rank 0 of several processes what only that one does.
func (o *validateOptions) follow(ranks train.Ranks) {
	if o.ranks = ranks; ranks != nil && ranks.Rank() > 0 {
		o.SaveResults, o.TSV, o.Report, o.Resume, o.Overwrite = "", "", "", false, false
	}
}

func newValidateCommand() *cobra.Command {
	o := validateOptions{Generate: generate.DefaultOptions(), BatchSize: 8}
	cmd := &cobra.Command{
		Use:   "validate",
		Short: "Ask a model test questions and score its answers",
		Long: `Ask a model the questions of a test file and score its answers against those of
the file, which has any format that training data can have. Scores are per field:
by IMPULSE's rules for its answers, and else by the model's schema, with
--comparators FILE where a field is to be compared otherwise:

  {"summary": {"words": 0.6}, "amount": {"numeric": 0.01}, "steps": "ordered", "notes": "ignore"}

With --save-results answers are kept as they come: a run that was interrupted goes
on with --resume.

Started by mpirun or srun, several processes share the questions.`,
		Example: `  impulse validate --model-path models/impulse
  impulse validate --model-path models/impulse --test-file data/test/test_set.json --verbose --save-results results.json
  impulse validate --model-path models/tickets --test-file held.jsonl --by channel --constrained=both --report report.html`,
		Args: flagsOnly,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return inRanks(cmd.Context(), o.rankDeadline, cmd.OutOrStdout(), cmd.ErrOrStderr(), func(ranks train.Ranks, out, log io.Writer) error {
				o.follow(ranks)
				return runValidate(cmd.Context(), o, out, log)
			})
		},
	}
	f := cmd.Flags()
	o.modelOptions.addFlags(cmd)
	f.StringVar(&o.TestFile, "test-file", "", "questions with their answers; without it, built-in IMPULSE queries")
	f.StringVar(&o.Predictions, "predictions", "", "score the answers in this file, JSONL of {\"id\", \"response\"}, instead of asking a model")
	f.StringVar(&o.Rules, "rules", "auto", "rule set: auto, generic, standard, or impulse-published as the IMPULSE project scores")
	f.StringVar(&o.Equivalences, "equivalences", "", "directory of equivalence sets, for IMPULSE's rules")
	f.StringVar(&o.Comparators, "comparators", "", "JSON file that says how fields are compared, for generic rules")
	f.StringSliceVar(&o.By, "by", nil, "count by these fields of the test file or of its answers too")
	f.StringVar(&o.SaveResults, "save-results", "", "write every answer and its score as JSON, for compare")
	f.StringVar(&o.TSV, "tsv", "", "write a table, one line per query")
	f.StringVar(&o.Report, "report", "", "write a page for the browser")
	f.StringVar(&o.Constrained, "constrained", "true", "keep answers to the schema; false asks the bare model, both does one and then the other")
	f.Lookup("constrained").NoOptDefVal = "true"
	f.BoolVar(&o.Resume, "resume", false, "go on with the answers that an interrupted run has kept")
	f.BoolVar(&o.Overwrite, "overwrite", false, "replace files of results that exist")
	f.BoolVar(&o.Verbose, "verbose", false, "show every query with its answer and what is wrong")
	f.StringVar(&o.Backend, "backend", "auto", "auto, go, xla:cpu, xla:cuda or xla:/path/to/plugin.so")
	f.StringVar(&o.Devices, "devices", "auto", "devices that have the model each and share the questions: all, how many, or a list of GPUs such as 0,1,3; auto is all GPUs, and one device of a CPU; with --shard they have it together")
	rankDeadlineFlag(f, &o.rankDeadline)
	f.IntVar(&o.Limit, "limit", 0, "ask only the first queries; 0 for all")
	f.IntVar(&o.Generate.MaxNewTokens, "max-new-tokens", o.Generate.MaxNewTokens, "longest answer in tokens")
	f.IntVar(&o.BatchSize, "batch-size", o.BatchSize, "queries computed together")
	f.Float64Var(&o.Generate.Temperature, "temperature", 0, "0 takes the likeliest token; higher draws")
	f.Float64Var(&o.Generate.TopP, "top-p", o.Generate.TopP, "draw from the likeliest tokens that have this probability together")
	f.Float64Var(&o.Generate.RepetitionPenalty, "repetition-penalty", o.Generate.RepetitionPenalty, "above 1 makes repeated tokens less likely")
	f.Uint64Var(&o.Generate.Seed, "seed", 42, "seed of the draws")
	return cmd
}

// check lists what is wrong with the flags before any work.
func (o *validateOptions) check() error {
	faults := []error{checkSampling(o.Generate.Sampling)}
	for _, f := range []struct {
		flag         string
		value, least int
	}{{"--batch-size", o.BatchSize, 1}, {"--max-new-tokens", o.Generate.MaxNewTokens, 1}, {"--limit", o.Limit, 0}} {
		if f.value < f.least {
			faults = append(faults, fmt.Errorf("%s %d, want %d or more", f.flag, f.value, f.least))
		}
	}
	switch {
	case o.ModelPath == "" && o.Predictions == "":
		faults = append(faults, errors.New("--model-path is required, or --predictions"))
	case o.Predictions != "" && o.ranks != nil:
		faults = append(faults, errors.New("--predictions are scored by one process: leave mpirun out"))
	case o.ModelPath != "" && o.Predictions != "":
		faults = append(faults, errors.New("--model-path and --predictions exclude each other"))
	}
	faults = append(faults, o.checkUnused(), o.checkRules())
	if o.Schema != "" {
		_, err := readSchema(o.Schema)
		faults = append(faults, err)
	}
	if len(o.modes()) == 0 {
		faults = append(faults, fmt.Errorf("--constrained %q, want true, false or both", o.Constrained))
	}
	outputs := o.outputs()
	for _, f := range outputs { // their directory may be new, as the guide's results/ is
		if f.path != "" {
			faults = append(faults, named(f.flag, os.MkdirAll(filepath.Dir(f.path), 0o755)))
		}
	}
	return errors.Join(append(faults, checkOutputs(o.Overwrite, outputs...), o.checkJournals())...)
}

// checkUnused refuses flags that say how a model is asked where none is.
func (o *validateOptions) checkUnused() error {
	if o.Predictions == "" {
		return nil
	}
	var faults []error
	for _, f := range []struct {
		flag string
		set  bool
	}{{"--prompt-file", o.PromptFile != ""}, {"--base-model", o.BaseModel != ""}, {"--constrained", o.Constrained != "true"}, {"--resume", o.Resume}} {
		if f.set {
			faults = append(faults, fmt.Errorf("%s has no effect on the answers in --predictions: leave it out", f.flag))
		}
	}
	return errors.Join(faults...)
}

// modes are whether answers are kept to the schema, for each time that the
// questions are asked.
func (o *validateOptions) modes() []bool {
	return map[string][]bool{"true": {true}, "false": {false}, "both": {true, false}}[o.Constrained]
}

// runValidate scores a model, or a file of answers. The summary goes to out,
// progress to log.
func runValidate(ctx context.Context, o validateOptions, out, log io.Writer) error {
	if err := o.check(); err != nil {
		return err
	}
	t, err := o.readTest(ctx, out, log)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s: %d questions, format %s; scored by the rules %s\n", t.name, len(t.cases), t.format, t.task.Name)
	var runs []report.Run
	if o.Predictions != "" {
		runs, err = o.scoreFile(t, out)
	} else {
		dev, e := o.openDevices(out)
		if e != nil {
			return e
		}
		defer dev.Close()
		runs, err = o.ask(ctx, dev, t, out, log)
	}
	if len(runs) == 0 {
		return err
	}
	var summary strings.Builder
	if err := rules.WriteSummary(&summary, runs...); err != nil {
		return err
	}
	text := summary.String()
	if isTerminal(out) {
		text = colour(text)
	}
	if _, err := io.WriteString(out, text); err != nil {
		return err
	}
	if err != nil { // interrupted: what there is was shown, and is kept
		return err
	}
	return o.save(runs, out)
}

// scoreFile scores answers that were written down.
func (o *validateOptions) scoreFile(t *testSet, out io.Writer) ([]report.Run, error) {
	s, err := finetune.ScoreFile(o.Predictions, t.task, t.cases)
	if err != nil {
		return nil, named("--predictions", err)
	}
	if n := len(s.Unanswered); n > 0 {
		fmt.Fprintf(out, "warning: %d queries have no answer in %s and count nowhere: %s\n", n, o.Predictions, strings.Join(s.Unanswered, ", "))
	}
	r := report.Run{Task: t.task.Name, Comparators: t.task.Comparators, Constrained: s.Constrained, Results: s.Results}
	return []report.Run{r}, o.showAnswers(r, out)
}

// ask asks the model and scores its answers. With an error it returns what was
// answered by then.
func (o *validateOptions) ask(ctx context.Context, dev *device.Device, t *testSet, out, log io.Writer) ([]report.Run, error) {
	m, err := o.open(ctx, finetune.Options{Device: dev, Slots: min(o.BatchSize, len(t.cases)), MaxNewTokens: o.Generate.MaxNewTokens, NoWarmUp: true}, out, log)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	if trained, stored := m.Contract().BaseQuantization, m.Quantization(); trained+stored != "" {
		fmt.Fprintf(out, "linear layers of the base: %s in training, %s here\n", quantization(trained), quantization(stored))
	}
	var runs []report.Run
	for _, constrained := range o.modes() {
		results, err := o.score(ctx, m, t, constrained, log)
		r := report.Run{Task: t.task.Name, Comparators: t.task.Comparators, Constrained: &constrained, Results: results}
		if len(results) > 0 {
			runs = append(runs, r)
		}
		var schema *constrain.CompileError
		switch {
		case errors.Is(err, finetune.ErrNoSchema) || errors.As(err, &schema):
			return nil, fmt.Errorf("%w: give another with --schema, or say --constrained=false", err)
		case err != nil && ctx.Err() != nil:
			return runs, o.interrupted(len(results), len(t.cases), constrained)
		case err != nil:
			return nil, err
		}
		if err := o.showAnswers(r, out); err != nil {
			return nil, err
		}
	}
	return runs, nil
}

// quantization names what a base is stored in.
func quantization(name string) string { return cmp.Or(name, "not quantised") }

// interrupted says how far a run was and how it goes on.
func (o *validateOptions) interrupted(done, of int, constrained bool) error {
	if path := o.journal(constrained); path != "" {
		return fmt.Errorf("interrupted after %d of %d answers, which are kept in %s: the same command with --resume goes on", done, of, path)
	}
	return fmt.Errorf("interrupted after %d of %d answers (with --save-results they would be kept)", done, of)
}

// marked is text with a mark before each line, and nothing in it that steers a
// terminal.
func marked(text, mark string) string {
	return mark + strings.ReplaceAll(page.PrintableLines(strings.TrimRight(text, "\n")), "\n", "\n"+mark)
}

// openDevices opens the devices that share the questions.
func (o *validateOptions) openDevices(out io.Writer) (*device.Device, error) {
	if o.Shards > 1 {
		return openDevice(o.Backend, out)
	}
	d, err := device.OpenSeveral(o.Backend, o.Devices)
	if err == nil {
		fmt.Fprintln(out, d)
	}
	return d, err
}

// showAnswers shows every answer, if that is wanted.
func (o *validateOptions) showAnswers(r report.Run, out io.Writer) error {
	for _, result := range r.Results {
		if !o.Verbose {
			break
		}
		fmt.Fprintf(out, "\n%s\n%s\n", marked(result.Question, "> "), marked(result.Answer, "  "))
		if err := report.WriteResult(out, result); err != nil {
			return err
		}
	}
	return nil
}

// score asks the model all questions, shows how far it is, and scores its answers.
func (o *validateOptions) score(ctx context.Context, m *finetune.Model, t *testSet, constrained bool, log io.Writer) ([]evalx.Result, error) {
	start, most, done, tokens, steps := time.Now(), 0, 0, 0, 0
	bar := newProgress(log, "answering")
	results, err := m.Score(ctx, t.task, t.cases, finetune.ScoreOptions{
		AskOptions: finetune.AskOptions{
			Unconstrained: !constrained, MaxNewTokens: o.Generate.MaxNewTokens, Sampling: &o.Generate.Sampling,
			OnAnswer: func(i int, a finetune.Answer) {
				most, done, tokens, steps = max(most, i+1), done+1, tokens+a.NewTokens, steps+a.Steps
				bar.set(int64(most), int64(len(t.cases)), fmt.Sprintf("one every %.2f s", time.Since(start).Seconds()/float64(done)))
			},
		},
		Journal: o.journal(constrained), Resume: o.Resume, Ranks: o.ranks,
	})
	bar.done()
	if err != nil {
		return results, err
	}
	took, n := time.Since(start).Seconds(), float64(max(done, 1))
	fmt.Fprintf(log, "%d answers, %d tokens in %.1f s: one every %.2f s, of %d steps each\n", done, tokens, took, took/n, steps/max(done, 1))
	return results, nil
}

// title is what pages are called.
func (o *validateOptions) title() string {
	return "Answers of " + cmp.Or(o.ModelPath, o.Predictions)
}
