package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/internal/faults"
	"github.com/impulse-salamandra/finetune/internal/prompt"
	"github.com/impulse-salamandra/finetune/internal/weights"
	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/salamandra/tokenizer"
)

// contractCheckOptions are the flags of contract check.
type contractCheckOptions struct {
	BaseModel, Data string
	Weights         bool
}

func newContractCheckCommand() *cobra.Command {
	var o contractCheckOptions
	cmd := &cobra.Command{
		Use:   "check DIR",
		Short: "Check a model's prompt.json: file, schema, tokenizer, and answers of examples",
		Long: `Check that a prompt.json is whole, that answers can be kept to its schema, that the
schema has a place for what answers repeat of a request, and that the tokenizer is the
one of training; with --weights that the base is, with --data that the answers of
examples comply with the schema.`,
		Example: "  impulse contract check models/tickets --data held.jsonl",
		Args:    oneContract,
		RunE: func(cmd *cobra.Command, args []string) error {
			return runContractCheck(cmd.Context(), o, args[0], cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.BaseModel, "base-model", "", "base of the adapter, if it is not where the adapter says")
	f.StringVar(&o.Data, "data", "", "examples whose answers are to comply with the schema, in any format of training data")
	f.BoolVar(&o.Weights, "weights", false, "compare the weights of an adapter's base too, which reads all of them")
	return cmd
}

// runContractCheck lists all that is wrong with the contract of a directory, or with a
// file by itself.
func runContractCheck(ctx context.Context, o contractCheckOptions, arg string, out, log io.Writer) error {
	path := contractPath(arg)
	c, err := chatml.ReadContract(path)
	if err != nil {
		return err
	}
	wrong := faults.List{Subject: path}
	if path == arg {
		if o.Weights || o.BaseModel != "" {
			return fmt.Errorf("%s is a file: --weights and --base-model go with a directory", arg)
		}
		fmt.Fprintln(out, "tokenizer and weights: not compared, as no directory is given")
	} else {
		wrong.Add("", o.checkModel(ctx, c, arg, out, log))
	}
	if o.Data != "" {
		wrong.Add("--data", o.checkAnswers(c, out))
	}
	if err := wrong.Err(); err != nil {
		return err
	}
	fmt.Fprintf(out, "%s is in order\n", path)
	return nil
}

// checkModel compares a contract with the model that it is beside.
func (o *contractCheckOptions) checkModel(ctx context.Context, c chatml.Contract, dir string, out, log io.Writer) error {
	base, err := baseOf(ctx, dir, o.BaseModel, log)
	if err != nil {
		return err
	}
	if err := checkContract(c, base); err != nil {
		return err
	}
	fmt.Fprintf(out, "tokenizer: that of %s, as in training\n", base)
	switch {
	case c.Schema != nil:
		fmt.Fprintln(out, "schema: answers can be kept to it")
	default:
		fmt.Fprintln(out, "schema: none, the model answers in free text")
	}
	switch {
	case !o.Weights:
		return nil
	case !exists(filepath.Join(dir, lora.ConfigFile)):
		return errors.New("--weights: a model has other weights than the base it was trained from: impulse verify checks a merged one")
	case c.BaseSHA256 == "":
		return errors.New("--weights: the contract does not record which base the adapter was trained on")
	}
	sum, err := weights.Hash(ctx, base)
	if err != nil {
		return err
	}
	if sum != c.BaseSHA256 {
		return fmt.Errorf("base_sha256: trained on weights of SHA-256 %s, %s has %s", c.BaseSHA256, base, sum)
	}
	fmt.Fprintf(out, "weights: those of %s, as in training\n", base)
	return nil
}

// checkContract fails if a contract does not fit the tokenizer in a directory, or
// answers cannot be kept to its schema.
func checkContract(c chatml.Contract, base string) error {
	if err := c.Validate(); err != nil {
		return err
	}
	tok, err := tokenizer.Load(base)
	if err != nil {
		return err
	}
	var wrong faults.List
	if tok.Hash() != c.TokenizerSHA256 {
		wrong.Addf("tokenizer_sha256", "trained with tokenizer.json of SHA-256 %s, %s has %s", c.TokenizerSHA256, base, tok.Hash())
	}
	stop, err := prompt.StopTokens(tok, c, nil)
	wrong.Add("end_tokens", err)
	p, err := prompt.New(c, prompt.NewTokens(tok, stop), nil, 0)
	if err != nil {
		wrong.Add("", err)
		return wrong.Err()
	}
	if err := p.SchemaError(); err != nil && c.Schema != nil {
		wrong.Add("", err)
		return wrong.Err()
	}
	for _, path := range slices.Sorted(maps.Keys(c.RequestValues)) {
		if !p.HasPlace(path) {
			wrong.Addf("request_values", "the schema has no place %s for a text of the request", path)
		}
	}
	return wrong.Err()
}

// checkAnswers compares the answers of examples with the schema.
func (o *contractCheckOptions) checkAnswers(c chatml.Contract, out io.Writer) error {
	if c.Schema == nil {
		return errors.New("the contract has no schema that answers could comply with")
	}
	if _, err := os.Stat(o.Data); err != nil {
		return err
	}
	records, format, err := readRecords(o.Data, "")
	if err != nil {
		return err
	}
	var wrong faults.List
	check := violation(c.Schema)
	for _, r := range records {
		wrong.Add(fmt.Sprintf("%s:%d", r.File, r.Line), check(r.Answer()))
	}
	if err := wrong.Err(); err != nil {
		return err
	}
	fmt.Fprintf(out, "%s: the answers of %d records, format %s, comply with the schema\n", o.Data, len(records), format)
	return nil
}
