package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/dataset/impulse"
	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/salamandra/tokenizer"
)

func newContractCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "contract",
		Short: "Make, show or check a model's prompt.json: how it is prompted and answers",
		Long: `A model's contract is the file prompt.json beside its weights: system prompt, schema
and layout of answers, template, and which tokenizer and base these belong to. train
writes it and merge copies it. For a model that another program trained it is made by
hand, once, so that validate, ask and serve need nothing else.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return fmt.Errorf("contract has no command %s: new, show or check", args[0])
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newContractNewCommand(), newContractShowCommand(), newContractCheckCommand())
	return cmd
}

// contractOptions are the flags of contract new.
type contractOptions struct {
	ModelPath, BaseModel, Output string
	PromptFile, Schema           string
	RequestValues                []string
	NoDefaultSystem, Overwrite   bool
	Contract                     chatml.Contract // texts, template, layout, end tokens
}

func newContractNewCommand() *cobra.Command {
	o := contractOptions{Contract: chatml.Contract{Date: chatml.DefaultDate, EndTokens: []string{chatml.EndToken}, Layout: chatml.Layout{Indent: 2}}}
	cmd := &cobra.Command{
		Use:   "new",
		Short: "Write a model's prompt.json",
		Example: `  impulse contract new --model-path models/tickets --prompt-file p.txt --schema s.json \
      --request-values question=question --title "Support tickets" --examples "my screen is black"`,
		Args: flagsOnly,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runContractNew(cmd.Context(), o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.ModelPath, "model-path", "", "adapter or model directory, or a hub id, whose tokenizer the contract is for (required)")
	f.StringVar(&o.BaseModel, "base-model", "", "base of the adapter, if it is not where the adapter says")
	f.StringVar(&o.Output, "output", "", "file to write; without it prompt.json in the directory of --model-path")
	f.StringVar(&o.PromptFile, "prompt-file", "", "system prompt that the model was trained with")
	f.StringVar(&o.Schema, "schema", "", "JSON Schema of the answers; without it the model answers in free text")
	f.StringSliceVar(&o.RequestValues, "request-values", nil, "what an answer repeats of its request, such as meta.query=question,meta.lang=language")
	f.IntVar(&o.Contract.Layout.Indent, "indent", o.Contract.Layout.Indent, "spaces per level of the answers; 0 for answers on one line")
	f.StringSliceVar(&o.Contract.EndTokens, "end-tokens", o.Contract.EndTokens, "tokens that end an answer, beside the model's own")
	f.StringVar(&o.Contract.Date, "date", o.Contract.Date, "date in the default system message, yyyy-mm-dd")
	f.BoolVar(&o.Contract.BOS, "bos", false, "the model was trained with <s> before every example, as by the public IMPULSE scripts")
	f.BoolVar(&o.NoDefaultSystem, "no-default-system", false, "add no system message where there is no prompt")
	addTextFlags(f, &o.Contract.Title, &o.Contract.Description, &o.Contract.Examples)
	f.BoolVar(&o.Overwrite, "overwrite", false, "replace a file that exists")
	return cmd
}

// runContractNew writes a contract that has been checked.
func runContractNew(ctx context.Context, o contractOptions, out, log io.Writer) error {
	if o.ModelPath == "" {
		return errors.New("--model-path is required")
	}
	if o.Output == "" {
		if info, err := os.Stat(o.ModelPath); err != nil || !info.IsDir() {
			return fmt.Errorf("--output is required: %s is no directory that prompt.json could be put in", o.ModelPath)
		}
		o.Output = filepath.Join(o.ModelPath, chatml.ContractFile)
	}
	if err := checkOutputs(o.Overwrite, outputFile{"--output", o.Output}); err != nil {
		return err
	}
	c, err := o.contract()
	if err != nil {
		return err
	}
	dir, err := findModel(ctx, "--model-path", o.ModelPath, log)
	if err != nil {
		return err
	}
	base, err := baseOf(ctx, dir, o.BaseModel, log)
	if err != nil {
		return err
	}
	tok, err := tokenizer.Load(base)
	if err != nil {
		return err
	}
	c.TokenizerSHA256 = tok.Hash()
	if err := checkContract(c, base); err != nil {
		return err
	}
	if err := c.Write(o.Output); err != nil {
		return err
	}
	fmt.Fprintf(out, "wrote %s\n", o.Output)
	return nil
}

// contract is that of the flags, for no tokenizer yet.
func (o *contractOptions) contract() (c chatml.Contract, err error) {
	c = o.Contract
	c.DefaultSystem = !o.NoDefaultSystem
	if o.PromptFile != "" {
		if c.SystemPrompt, err = impulse.ReadPrompt(o.PromptFile); err != nil {
			return c, named("--prompt-file", err)
		}
	}
	if o.Schema != "" {
		if c.Schema, err = readSchema(o.Schema); err != nil {
			return c, err
		}
	}
	c.RequestValues, err = parseRequestValues(o.RequestValues)
	return withTexts(c), err
}

// parseRequestValues reads --request-values.
func parseRequestValues(items []string) (map[string]chatml.RequestValue, error) {
	values := map[string]chatml.RequestValue{}
	for _, item := range items {
		path, value, ok := strings.Cut(item, "=")
		v := chatml.RequestValue(value)
		if !ok || v != chatml.Question && v != chatml.Language {
			return nil, fmt.Errorf("--request-values %s, want PATH=%s or PATH=%s", item, chatml.Question, chatml.Language)
		}
		values[path] = v
	}
	return values, nil
}

// baseOf is the directory with the tokenizer of a model: its own or, of an adapter,
// its base's.
func baseOf(ctx context.Context, dir, base string, log io.Writer) (string, error) {
	if !exists(filepath.Join(dir, lora.ConfigFile)) {
		return dir, nil
	}
	return findBase(ctx, dir, base, false, log)
}

// contractPath is the file that an argument names: it, or that of a directory.
func contractPath(arg string) string {
	if info, err := os.Stat(arg); err == nil && info.IsDir() {
		return filepath.Join(arg, chatml.ContractFile)
	}
	return arg
}

// oneContract takes one argument.
func oneContract(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("contract %s wants one model directory or prompt.json, not %d", cmd.Name(), len(args))
	}
	return nil
}
