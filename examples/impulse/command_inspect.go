package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/dataset/impulse"
	"github.com/impulse-salamandra/finetune/dataset/inspect"
	"github.com/impulse-salamandra/finetune/evalx"
	"github.com/impulse-salamandra/finetune/evalx/lang"
	"github.com/impulse-salamandra/finetune/salamandra/safetensors"
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
	"output-dir", "init-adapter", "quantize", "learning-rate", "lr-scheduler", "warmup-steps", "gradient-clip", "weight-decay", "lora-alpha", "lora-dropout",
	"use-rslora", "lora-plus-ratio", "neftune-alpha", "resume", "resume-anyway", "save-steps", "save-total-limit", "metric", "constrained",
	"early-stopping-patience", "average-checkpoints", "average-method", "average-rank", "test-file", "allow-test-overlap", "dry-run", "use-wandb", "report-samples",
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
		Args: cobra.NoArgs,
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

// check lists what is wrong with the flags before anything is read.
func (o *inspectOptions) check() error {
	faults := []error{o.Train.Validate(), o.LoRA.Validate(), o.checkChoices(), o.checkData(), o.checkBackend(), required("--model", o.Model), required("--data", o.Data)}
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
	base, err := o.baseModel(ctx, log)
	if err != nil {
		return err
	}
	if err := warnTemplate(base, o.prompting().Template(), out); err != nil {
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
	if err := r.WriteText(out, inspect.TextOptions{Conversations: o.Limit, Colour: isTerminal(out), Facts: facts}); err != nil {
		return err
	}
	if o.HTML != "" {
		var b bytes.Buffer
		if err := r.WriteHTML(&b, inspect.HTMLOptions{Title: "Inspection: " + o.Data, Conversations: o.Limit, Facts: facts}); err != nil {
			return err
		}
		if err := safetensors.WriteFile(o.HTML, b.Bytes()); err != nil {
			return err
		}
		fmt.Fprintf(out, "wrote %s\n", o.HTML)
	}
	return o.verdict(r)
}

// verdict is an error if train would refuse the data.
func (o *inspectOptions) verdict(r *inspect.Report) error {
	switch {
	case r.Usable():
		return nil
	case r.Records == 0:
		return fmt.Errorf("%s: no examples", o.Data)
	}
	return fmt.Errorf("train would refuse %s: %d faults, %d records too long", o.Data, len(r.Faults), len(r.Overlong)-len(r.Truncated))
}

// inspect reads the examples. It says which schema the answers were held
// against.
func (o *inspectOptions) inspect(base string) (r *inspect.Report, said string, err error) {
	tok, err := tokenizer.Load(base)
	if err != nil {
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
	split := dataset.DefaultSplitOptions()
	split.Fraction, split.Seed = o.EvalSplit, o.Train.Seed
	r, err = inspect.Read(reader.Records(), inspect.Options{
		Builder: dataset.Builder{
			Tokenizer: tok, Template: o.prompting().Template(),
			MaxLength: o.MaxLength, Overlong: overlongPolicies[o.Overlong],
		},
		Split: split, Plan: o.planOptions(), Decoder: tok, CheckAnswer: check,
		Identify: func(question string) string {
			if l := lang.Identify(question); l != lang.Unknown {
				return l
			}
			return ""
		},
	})
	return r, said, err
}

// answerCheck resolves --schema as [answerSchema] does, but takes the built-in
// schema that most answers comply with: it is the others that one wants to see.
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
		return nil, "most fit no built-in schema, none was held against them (--schema FILE gives one)", nil
	}
	return checks[best], fmt.Sprintf("held against the built-in schema, variant %s", variants[best]), nil
}

// violation tells what is wrong with an answer by a schema that compiles.
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
