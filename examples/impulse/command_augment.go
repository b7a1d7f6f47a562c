package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"github.com/impulse-salamandra/finetune"
	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/dataset/augment"
	"github.com/impulse-salamandra/finetune/internal/lang"
	"github.com/impulse-salamandra/finetune/salamandra/generate"
)

// augmentOptions are the flags of augment.
type augmentOptions struct {
	augment.Options
	Data, Output, PromptFile string
	Model, Backend, Dtype    string
	Temperature              float64
	Overwrite                bool
}

func newAugmentCommand() *cobra.Command {
	o := augmentOptions{Options: augment.DefaultOptions()}
	cmd := &cobra.Command{
		Use:   "augment",
		Short: "Add variants of questions to examples: with typos, without accents, politely, in other words",
		Long: `Add variants of questions to examples: without accents, with typos, in other case or
order, politely, and with --model in other words. A variant is kept only if it keeps
every value that the answer takes from the question. It carries the id of its source
under "variant_of": train and inspect never hold out the one and train on the other.`,
		Example: `  impulse augment --data tickets.jsonl --output augmented.jsonl
  impulse augment --data tickets.jsonl --output augmented.jsonl --variants 1 --model BSC-LT/salamandra-7b-instruct`,
		Args: flagsOnly,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runAugment(cmd.Context(), o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Data, "data", "", "examples in any format that train reads (required)")
	f.StringVar(&o.Output, "output", "", "file for the examples and their variants, JSON Lines (required)")
	f.StringVar(&o.PromptFile, "prompt-file", "", "system prompt of annotated IMPULSE records, in place of the built-in one")
	f.IntVar(&o.Variants, "variants", o.Variants, "variants of an example by templates, each by another one")
	f.StringSliceVar(&o.Templates, "templates", o.Templates, "templates to choose from")
	f.StringVar(&o.Model, "model", "", "model that says questions in other words: a directory or a hub id; without it none are")
	f.IntVar(&o.Paraphrases, "paraphrases", 1, "with --model: paraphrases of an example to ask for")
	f.Float64Var(&o.Temperature, "temperature", 0.8, "with --model: 0 takes the likeliest token; higher draws")
	f.StringVar(&o.Backend, "backend", "auto", "auto, go, xla:cpu, xla:cuda or xla:/path/to/plugin.so")
	f.StringVar(&o.Dtype, "dtype", "auto", "auto, float32, bfloat16 or float16")
	f.Uint64Var(&o.Seed, "seed", o.Seed, "seed of what is chosen and drawn")
	f.BoolVar(&o.Overwrite, "overwrite", false, "replace the output file if it exists")
	return cmd
}

// check lists what is wrong with the flags before any work.
func (o *augmentOptions) check() error {
	var faults []error
	for _, f := range []struct{ flag, value string }{{"--data", o.Data}, {"--output", o.Output}} {
		if f.value == "" {
			faults = append(faults, errors.New(f.flag+" is required"))
		}
	}
	if o.Output != "" && o.Output == o.Data {
		faults = append(faults, errors.New("--output is the file of --data: give it another name"))
	}
	sampling := generate.DefaultOptions().Sampling
	sampling.Temperature = o.Temperature
	return errors.Join(append(faults, named("--data", checkInput(o.Data)), sampling.Validate(), checkOutputs(o.Overwrite, outputFile{"--output", o.Output}))...)
}

// runAugment makes the variants and writes them. The report goes to out, progress
// to log.
func runAugment(ctx context.Context, o augmentOptions, out, log io.Writer) error {
	if err := o.check(); err != nil {
		return err
	}
	records, format, err := readRecords(o.Data, o.PromptFile)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s: %d records, format %s\n", o.Data, len(records), format)
	warnRecords(records, out)
	o.Identify = func(question string) string {
		if l := lang.Identify(question); l != lang.Unknown {
			return l
		}
		return ""
	}
	if o.Model == "" {
		o.Paraphrases = 0
	} else {
		o.Paraphrase = func(ctx context.Context, questions []string) ([]string, error) {
			return o.ask(ctx, questions, out, log)
		}
	}
	result, err := augment.Make(ctx, records, o.Options)
	if err != nil {
		return err
	}
	if err := dataset.WriteFile(ctx, o.Output, result.Records); err != nil {
		return err
	}
	fmt.Fprint(out, result.Report)
	fmt.Fprintf(out, "wrote %s: %d examples\n", o.Output, len(result.Records))
	return nil
}

// rewrite asks for a paraphrase.
const rewrite = `Rewrite the message of the user in other words, as another person would say it, in the language it is in. ` +
	`Keep every name, number, date and code exactly as it is written. Do not answer it, and write nothing but the rewritten message.`

// ask asks the model for paraphrases.
func (o *augmentOptions) ask(ctx context.Context, questions []string, out, log io.Writer) ([]string, error) {
	dev, err := openDevice(o.Backend, out)
	if err != nil {
		return nil, err
	}
	defer dev.Close()
	instruction, longest := rewrite, len(slices.MaxFunc(questions, func(a, b string) int { return len(a) - len(b) }))
	opts := finetune.Options{Device: dev, Dtype: o.Dtype, Download: true, SystemPrompt: &instruction, MaxNewTokens: longest + 32, NoWarmUp: true, Name: flagOf}
	defer showProgress(&opts, log)()
	m, err := finetune.Open(ctx, o.Model, opts)
	if err != nil {
		return nil, named("--model", err)
	}
	defer m.Close()
	sampling := generate.DefaultOptions().Sampling
	sampling.Temperature, sampling.Seed = o.Temperature, o.Seed
	bar := newProgress(log, "paraphrasing")
	defer bar.done()
	answers, err := m.AskAll(ctx, questions, finetune.AskOptions{
		Unconstrained: true, Sampling: &sampling,
		OnAnswer: func(i int, _ finetune.Answer) { bar.set(int64(i+1), int64(len(questions)), "") },
	})
	if err != nil {
		return nil, err
	}
	texts := make([]string, len(answers))
	for i, a := range answers {
		if a.Complete { // one that was cut is none
			texts[i] = a.Text
		}
	}
	return texts, nil
}
