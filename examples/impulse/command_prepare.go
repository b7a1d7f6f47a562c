package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/dataset/impulse"
	"github.com/impulse-salamandra/finetune/internal/pyrandom"
)

// prepareOptions are the flags of prepare.
type prepareOptions struct {
	InputDir, OutputFile        string
	Pattern, PromptFile, Schema string
	Validate, Strict, Shuffle   bool
	MergeSystemIntoUser         bool
	Overwrite                   bool
	Seed                        uint64
}

func newPrepareCommand() *cobra.Command {
	var o prepareOptions
	cmd := &cobra.Command{
		Use:   "prepare",
		Short: "Make training examples of IMPULSE's annotated queries; train reads other formats as they are",
		Long: `Make training examples of annotated IMPULSE queries. Other data needs no
preparation.

Reads every batch file of a directory, a JSON array of records or an object
with the array under "queries", and writes one example per line: the system
prompt, the query, the answer as JSON. Everything wrong with any file is
reported at once, and then nothing is written.`,
		Example: `  impulse prepare --input-dir data/training/batches --output-file data/training/impulse_training.jsonl \
      --prompt-file data/training/salamandra_finetuning_prompt.txt --validate --shuffle`,
		Args: flagsOnly,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runPrepare(cmd.Context(), o, cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.InputDir, "input-dir", "", "directory of the batch files (required)")
	f.StringVar(&o.OutputFile, "output-file", "", "JSONL file to write (required)")
	f.StringVar(&o.Pattern, "pattern", impulse.DefaultPattern, "names of the batch files")
	f.StringVar(&o.PromptFile, "prompt-file", "", "system prompt; without it, the built-in one of the variant")
	f.BoolVar(&o.Validate, "validate", false, "check every field, ids and consistency, not only what an example is made of")
	f.StringVar(&o.Schema, "schema", "", "validate against this JSON Schema, of answers or records, in place of the built-in one")
	f.BoolVar(&o.Strict, "strict", false, "take warnings for errors")
	f.BoolVar(&o.Shuffle, "shuffle", false, "mix the examples")
	f.Uint64Var(&o.Seed, "seed", 42, "with --shuffle: the same seed gives the same order, which is that of Python's random.shuffle")
	f.BoolVar(&o.MergeSystemIntoUser, "merge-system-into-user", false, "put the system prompt into the user's message, for models without a system role")
	f.BoolVar(&o.Overwrite, "overwrite", false, "replace the output file if it exists")
	return cmd
}

// runPrepare reads, checks and writes, and prints what was done to out.
func runPrepare(ctx context.Context, o prepareOptions, out io.Writer) error {
	if err := o.check(); err != nil {
		return err
	}
	reading := impulse.Options{Validate: o.Validate}
	checks := "only what examples are made of; --validate checks all"
	switch {
	case o.Schema != "":
		data, err := os.ReadFile(o.Schema)
		if err != nil {
			return named("--schema", err)
		}
		reading.Schema, checks = data, "all, against "+o.Schema
	case o.Validate:
		checks = "all, against the built-in schema"
	}
	batches, err := impulse.ReadDir(ctx, o.InputDir, o.Pattern, reading)
	if err != nil {
		return err
	}
	if o.Strict && len(batches.Warnings) > 0 {
		return fmt.Errorf("%w; --strict refuses warnings", &impulse.FaultsError{Faults: batches.Warnings})
	}
	for _, w := range batches.Warnings {
		fmt.Fprintln(out, w)
	}
	system, source := impulse.SystemPrompt(batches.Variant), "built-in"
	if o.PromptFile != "" {
		if system, err = impulse.ReadPrompt(o.PromptFile); err != nil {
			return named("--prompt-file", err)
		}
		source = o.PromptFile
	}
	order := "as in the files"
	if o.Shuffle {
		pyrandom.Shuffle(batches.Records, o.Seed)
		order = fmt.Sprintf("shuffled, seed %d", o.Seed)
	}
	fmt.Fprintf(out, "files:   %d of %s in %s\n", len(batches.Files), o.Pattern, o.InputDir)
	fmt.Fprintf(out, "checks:  %s\n", checks)
	fmt.Fprintf(out, "variant: %s\n", batches.Variant)
	fmt.Fprintf(out, "prompt:  %s, %d characters\n", source, utf8.RuneCountInString(system))
	fmt.Fprintf(out, "order:   %s\n", order)
	fmt.Fprintf(out, "records: %d (%s)\n", len(batches.Records), countLanguages(batches.Records))

	examples := make([]dataset.Record, len(batches.Records))
	for i, r := range batches.Records {
		examples[i] = r.Conversation(system, o.MergeSystemIntoUser)
	}
	if err := dataset.WriteFile(ctx, o.OutputFile, examples); err != nil {
		return err
	}
	fmt.Fprintf(out, "wrote %s\n", o.OutputFile)
	return nil
}

// check reports every flag that cannot be followed.
func (o prepareOptions) check() error {
	var faults []error
	if o.InputDir == "" {
		faults = append(faults, errors.New("--input-dir is required"))
	}
	if o.OutputFile == "" {
		faults = append(faults, errors.New("--output-file is required"))
	}
	return errors.Join(append(faults, checkOutputs(o.Overwrite, outputFile{"--output-file", o.OutputFile}))...)
}

// countLanguages writes as in "CA 238, ES 231, EN 231".
func countLanguages(records []impulse.Record) string {
	counts := map[string]int{}
	var langs []string
	for _, r := range records {
		if counts[r.Lang]++; counts[r.Lang] == 1 {
			langs = append(langs, r.Lang)
		}
	}
	slices.Sort(langs)
	parts := make([]string, len(langs))
	for i, lang := range langs {
		parts[i] = fmt.Sprintf("%s %d", lang, counts[lang])
	}
	return strings.Join(parts, ", ")
}
