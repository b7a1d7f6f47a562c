package main

import (
	"context"
	"fmt"
	"io"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/salamandra/tokenizer"
)

// trainingData is what the examples file became.
type trainingData struct {
	train, eval *dataset.Plan
	questions   []question // the examples of eval
	set         *dataset.Set
	format      string
	contract    chatml.Contract
	tokenizer   *tokenizer.Tokenizer
}

// readData encodes the examples, splits them and plans the batches.
func (o *trainOptions) readData(ctx context.Context, base string, out io.Writer) (*trainingData, error) {
	records, format, err := readRecords(o.Data, o.PromptFile)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(out, "%s: %d records, format %s\n", o.Data, len(records), format)
	if err := o.checkOverlap(records, out); err != nil {
		return nil, err
	}
	tok, err := tokenizer.Load(base)
	if err != nil {
		return nil, err
	}
	contract, err := o.newContract(tok, records, out)
	if err != nil {
		return nil, err
	}
	if err := warnTemplate(base, contract.Template(), out); err != nil {
		return nil, err
	}
	set, err := dataset.Builder{Tokenizer: tok, Template: contract.Template(), MaxLength: o.MaxLength, Overlong: overlongPolicies[o.Overlong]}.Build(records)
	if err != nil {
		return nil, err
	}
	for _, d := range set.Dropped {
		fmt.Fprintf(out, "dropped %s: %d tokens, --max-length %d\n", d.ID, d.Tokens, o.MaxLength)
	}
	for _, d := range set.Truncated {
		fmt.Fprintf(out, "prompt of %s shortened: %d tokens, --max-length %d\n", d.ID, d.Tokens, o.MaxLength)
	}
	split := dataset.DefaultSplitOptions()
	split.Fraction, split.Seed = o.EvalSplit, o.Train.Seed
	trained, held, err := dataset.Split(set.Examples, split)
	if err != nil {
		return nil, err
	}
	data := &trainingData{contract: contract, tokenizer: tok, questions: questions(held, records), set: set, format: format}
	if data.train, data.eval, err = o.plans(trained, held); err != nil {
		return nil, err
	}
	fmt.Fprintf(out, "training on %s", data.train)
	if data.eval != nil {
		fmt.Fprintf(out, "evaluating on %s", data.eval)
	}
	return data, nil
}

func (o *trainOptions) plans(trained, held []dataset.Example) (train, eval *dataset.Plan, err error) {
	return dataset.NewPlans(trained, held, o.planOptions())
}

func (o *trainOptions) planOptions() dataset.PlanOptions {
	opts := dataset.DefaultPlanOptions()
	opts.BatchSize, opts.MaxShapes = o.BatchSize, o.MaxShapes
	opts.Shuffle, opts.SharedPrefix, opts.LossAll = o.Shuffle, !o.NoSharedPrefix, o.Loss == "all"
	return opts
}

// prompting is the part of the contract that flags alone decide.
func (o *trainOptions) prompting() chatml.Contract {
	return chatml.Contract{Date: o.Date, DefaultSystem: !o.NoDefaultSystem, BOS: o.BOS}
}

// newContract records how the examples are prompted; the hash of the base is
// added where there is need for it.
func (o *trainOptions) newContract(tok *tokenizer.Tokenizer, records []dataset.Record, out io.Writer) (chatml.Contract, error) {
	c := o.prompting()
	c.SystemPrompt, c.Layout, c.TokenizerSHA256 = commonSystem(records), chatml.Layout{Indent: 2}, tok.Hash()
	var answers []string
	for _, r := range records {
		if n := len(r.Messages); n > 0 {
			answers = append(answers, r.Messages[n-1].Content)
		}
	}
	schema, said, err := answerSchema(o.Schema, answers)
	if err != nil {
		return c, err
	}
	fmt.Fprintln(out, said)
	c.Schema = schema
	return c, c.Validate()
}

// commonSystem is the system prompt of all records, empty if they differ.
func commonSystem(records []dataset.Record) string {
	system := func(r dataset.Record) string {
		if len(r.Messages) > 0 && r.Messages[0].Role == chatml.System {
			return r.Messages[0].Content
		}
		return ""
	}
	for _, r := range records {
		if system(r) != system(records[0]) {
			return ""
		}
	}
	return system(records[0])
}
