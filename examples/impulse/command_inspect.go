package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/dataset/impulse"
	"github.com/impulse-salamandra/finetune/dataset/inspect"
	"github.com/impulse-salamandra/finetune/evalx"
	"github.com/impulse-salamandra/finetune/internal/atomicfile"
	"github.com/impulse-salamandra/finetune/internal/lang"
	"github.com/impulse-salamandra/finetune/salamandra/llama"
	"github.com/impulse-salamandra/finetune/salamandra/tokenizer"
)

// inspectOptions are the flags of inspect: those of train, so that a command
// line of train shows what it would train on.
type inspectOptions struct {
	trainOptions
	HTML   string
	Limit  int
	TFLOPS float64
}

// aboutRun are flags of train that make no difference to inspect. They are
// taken, but not listed.
var aboutRun = []string{
	"output-dir", "init-adapter", "learning-rate", "lr-scheduler", "warmup-steps", "gradient-clip", "weight-decay", "lora-alpha", "lora-dropout",
	"use-rslora", "lora-plus-ratio", "neftune-alpha", "resume", "resume-anyway", "save-steps", "save-total-limit", "metric", "comparators", "constrained",
	"early-stopping-patience", "average-checkpoints", "average-method", "average-rank", "test-file", "allow-test-overlap", "dry-run", "watch", "use-wandb", "report-samples",
}

func newInspectCommand() *cobra.Command {
	var o inspectOptions
	var config string
	cmd := &cobra.Command{
		Use:   "inspect",
		Short: "Show what a training would make of examples: faults, lengths, repetitions, batches, trained tokens",
		Long: `Show what a training would make of examples, before it costs GPU hours: records
that cannot be used, lengths, languages, repetitions, batches and their padding,
estimated time and memory, and conversations with their trained tokens marked.
It takes the flags of train, and ends with status 1 if train would refuse the
data.`,
		Example: `  impulse inspect --data impulse_training.jsonl --model BSC-LT/salamandra-7b-instruct
  impulse inspect --data impulse_training.jsonl --model models/base --batch-size 8 --html inspection.html --limit 20`,
		Args: flagsOnly,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if config != "" {
				if err := applyConfig(cmd, config); err != nil {
					return err
				}
			}
			return runInspect(cmd.Context(), o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	o.addFlags(cmd)
	f := cmd.Flags()
	f.StringVar(&config, "config", "", "JSON file of flags, such as the training_args.json of a run; flags on the command line win")
	f.StringVar(&o.HTML, "html", "", "write a page for the browser")
	f.IntVar(&o.Limit, "limit", 3, "conversations to show, from the shortest to the longest")
	f.Float64Var(&o.TFLOPS, "tflops", 0, "speed to estimate the time by, in 10^12 operations per second; 0 measures a product of matrices on --backend")
	f.Lookup("overwrite").Usage = "replace the file of --html if it exists"
	f.VisitAll(func(flag *pflag.Flag) {
		for _, name := range aboutRun {
			flag.Hidden = flag.Hidden || flag.Name == name
		}
	})
	return cmd
}

// check lists what is wrong with the flags before anything is read. Flags about
// the run are not looked at.
func (o *inspectOptions) check() error {
	faults := []error{o.settle()}
	plan := o.TrainOptions
	plan.OutputDir, plan.DryRun, plan.Resume, plan.ResumeAnyway = "", true, false, false
	faults = append(faults, plan.Validate())
	if o.Limit < 0 {
		faults = append(faults, fmt.Errorf("--limit %d, want 0 or more", o.Limit))
	}
	if !(o.TFLOPS >= 0 && o.TFLOPS <= math.MaxFloat64) {
		faults = append(faults, fmt.Errorf("--tflops %v, want 0 or more", o.TFLOPS))
	}
	return errors.Join(append(faults, checkOutputs(o.Overwrite, outputFile{"--html", o.HTML}))...)
}

// runInspect prints what is in a file of examples.
func runInspect(ctx context.Context, o inspectOptions, out, log io.Writer) error {
	if err := o.check(); err != nil {
		return err
	}
	base, err := findModel(ctx, "--model", o.Model, log)
	if err != nil {
		return err
	}
	if err := warnTemplate(base, o.Contract.Template(), out); err != nil {
		return err
	}
	r, said, err := o.inspect(base)
	if err != nil {
		return err
	}
	var facts []inspect.Fact
	if r.Train != nil {
		facts = append(facts, inspect.Fact{Name: "answers", Value: said})
		estimates, err := o.estimate(base, r)
		if err != nil {
			return err
		}
		facts = append(facts, estimates...)
	}
	if err := r.WriteText(out, inspect.WriteOptions{Conversations: o.Limit, Colour: isTerminal(out), Facts: facts}); err != nil {
		return err
	}
	if o.forecast.asked() && r.Train != nil {
		f, err := o.newForecast(base, r.Train, r.Eval)
		if err == nil {
			err = f.write(out)
		}
		if err != nil {
			return err
		}
	}
	if o.HTML != "" {
		var b bytes.Buffer
		if err := r.WriteHTML(&b, inspect.WriteOptions{Title: "Inspection: " + o.Data, Conversations: o.Limit, Facts: facts}); err != nil {
			return err
		}
		if err := atomicfile.Write(o.HTML, b.Bytes()); err != nil {
			return err
		}
		fmt.Fprintf(out, "wrote %s\n", o.HTML)
	}
	return o.verdict(r)
}

// verdict is an error if train would refuse the data.
func (o *inspectOptions) verdict(r *inspect.Report) error {
	switch {
	case r.Usable() && len(r.Answers) > 0 && o.schemaFile() != "":
		return fmt.Errorf("train would refuse %s: %d answers do not comply with --schema %s", o.Data, len(r.Answers), o.Schema)
	case r.Usable():
		return nil
	case r.Records == 0:
		return fmt.Errorf("%s: no examples", o.Data)
	}
	if full := o.noRoom(r); full != nil {
		return fmt.Errorf("train would refuse %s: --max-length %d: %w\n%s", o.Data, o.MaxLength, full, adviseLength(full))
	}
	var why []string
	for _, w := range []struct {
		n         int
		one, many string
	}{{len(r.Faults), "fault", "faults"}, {len(r.Overlong) - len(r.Truncated), "record too long", "records too long"}} {
		switch {
		case w.n == 1:
			why = append(why, "1 "+w.one)
		case w.n > 1:
			why = append(why, fmt.Sprintf("%d %s", w.n, w.many))
		}
	}
	return fmt.Errorf("train would refuse %s: %s", o.Data, strings.Join(why, " and "))
}

// noRoom sums up the records whose system message leaves no room, nil for none.
func (o *inspectOptions) noRoom(r *inspect.Report) *dataset.NoRoomError {
	full := dataset.NoRoomError{Limit: o.MaxLength}
	for _, l := range r.Overlong {
		if l.Instruction >= o.MaxLength {
			full.Records++
			full.Instruction, full.Longest = max(full.Instruction, l.Instruction), max(full.Longest, l.Tokens)
		}
	}
	if full.Records == 0 {
		return nil
	}
	return &full
}

// inspect reads the examples. It says which schema the answers were held
// against.
func (o *inspectOptions) inspect(base string) (r *inspect.Report, said string, err error) {
	tok, err := tokenizer.Load(base)
	if err != nil {
		return nil, "", err
	}
	if err := o.readPrompt(); err != nil {
		return nil, "", err
	}
	formats, err := dataFormats(o.PromptFile)
	if err != nil {
		return nil, "", err
	}
	check, said, err := o.answerCheck(formats)
	if err != nil {
		return nil, "", err
	}
	reader, err := dataset.Open(o.Data, formats...)
	if err != nil {
		return nil, "", err
	}
	defer reader.Close()
	config, err := llama.ReadConfig(base)
	if err != nil {
		return nil, "", err
	}
	r, err = inspect.Read(withSystem(reader.Records(), o.Contract.SystemPrompt), inspect.Options{
		Builder: dataset.Builder{
			Tokenizer: tok, Template: o.Contract.Template(),
			MaxLength: o.MaxLength, Overlong: o.TrainOptions.Overlong, Vocabulary: config.VocabSize,
		},
		Split: o.Split, Plan: o.BatchPlan(config), Decoder: tok, CheckAnswer: check,
		Identify: func(question string) string {
			if l := lang.Identify(question); l != lang.Unknown {
				return l
			}
			return ""
		},
	})
	return r, said, err
}

// withSystem gives records without a system prompt one, as training does.
func withSystem(records iter.Seq2[dataset.Record, error], prompt string) iter.Seq2[dataset.Record, error] {
	return func(yield func(dataset.Record, error) bool) {
		for r, err := range records {
			if err == nil {
				if r, err = r.WithSystem(prompt); err != nil {
					err = dataset.Faults{{File: r.File, Line: r.Line, Record: r.ID, Err: fmt.Errorf("--prompt-file does not apply: %w", err)}}
				}
			}
			if !yield(r, err) {
				return
			}
		}
	}
}

// answerCheck resolves --schema as train does, but takes the schema of IMPULSE's
// that most answers comply with: it is the others that one wants to see.
func (o *inspectOptions) answerCheck(formats []dataset.Format) (check func(string) error, said string, err error) {
	switch o.Schema {
	case "none":
		return nil, "no schema asked for", nil
	case "auto":
	default:
		schema, err := readSchema(o.Schema)
		if err != nil {
			return nil, "", err
		}
		return violation(schema), "held against the schema " + o.Schema, nil
	}
	variants := []impulse.Variant{impulse.Current, impulse.V1}
	checks := []func(string) error{violation(impulse.Schema(variants[0])), violation(impulse.Schema(variants[1]))}
	comply := make([]int, len(variants))
	answers := 0
	reader, err := dataset.Open(o.Data, formats...)
	if err != nil {
		return nil, "", err
	}
	defer reader.Close()
	for record, err := range reader.Records() {
		if err != nil || len(record.Messages) == 0 {
			continue // for inspect.Read to tell
		}
		answers++
		for i, check := range checks {
			if check(record.Messages[len(record.Messages)-1].Content) == nil {
				comply[i]++
			}
		}
	}
	best := 0
	if comply[1] > comply[0] {
		best = 1
	}
	if 2*comply[best] <= answers {
		return nil, "held against no schema (--schema FILE gives one)", nil
	}
	return checks[best], fmt.Sprintf("held against IMPULSE's schema, variant %s", variants[best]), nil
}

// violation returns a check of answers against a schema that compiles.
func violation(schema []byte) func(answer string) error {
	compiled, err := evalx.CompileSchema("schema", schema)
	return func(answer string) error {
		if err != nil {
			return err
		}
		value, err := evalx.Parse(answer)
		if err != nil {
			return err
		}
		var all []string
		for _, v := range compiled.Validate(value) {
			all = append(all, v.String())
		}
		if all != nil {
			return errors.New(strings.Join(all, "; "))
		}
		return nil
	}
}
