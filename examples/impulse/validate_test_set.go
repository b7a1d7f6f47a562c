package main

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/impulse-salamandra/finetune"
	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/dataset/impulse"
	"github.com/impulse-salamandra/finetune/evalx"
	rules "github.com/impulse-salamandra/finetune/evalx/impulse"
)

// sampleQueries are annotated questions for a validation without a test file.
//
//go:embed assets/sample_queries.json
var sampleQueries []byte

// testSet is what a model is asked, and how its answers are scored.
type testSet struct {
	name, format string
	cases        []finetune.Case
	task         evalx.Task
}

// checkRules refuses names and files of rules that cannot be right for any answers;
// the rest shows when the schema is known.
func (o *validateOptions) checkRules() error {
	var faults []error
	if o.Comparators != "" {
		_, err := os.ReadFile(o.Comparators)
		faults = append(faults, named("--comparators", err))
	}
	if o.Rules != "auto" && o.Rules != rules.Generic {
		_, err := rules.New(o.Rules, rules.Options{Schema: impulse.Schema(impulse.Current), Equivalences: o.Equivalences})
		faults = append(faults, named("--rules", err))
	}
	return errors.Join(faults...)
}

// readTest reads the test file, or the built-in questions, and settles the rules by
// which answers of the model are scored.
func (o *validateOptions) readTest(ctx context.Context, out, log io.Writer) (*testSet, error) {
	records, t, err := o.readQuestions()
	if err != nil {
		return nil, err
	}
	contract, err := o.prompting(ctx, t, log)
	if err != nil {
		return nil, err
	}
	if variant, ok := rules.Variant(contract.Schema); o.TestFile == "" && o.ModelPath != "" && (!ok || variant != impulse.Current) {
		return nil, fmt.Errorf("the built-in questions are for IMPULSE's current schema, and %s answers by another: give questions with --test-file", o.ModelPath)
	}
	if o.ModelPath != "" && contract.Schema == nil && slices.Contains(o.modes(), true) {
		return nil, fmt.Errorf("%s has no schema to keep answers to: give one with --schema, or say --constrained=false", o.ModelPath)
	}
	warnRecords(records, out)
	if t.cases, err = finetune.Cases(records, o.By...); err != nil {
		return nil, fmt.Errorf("%s: %w", t.name, err)
	}
	for i := range t.cases {
		if t.annotated() || o.PromptFile != "" {
			t.cases[i].System = "" // which such files do not hold, or the flag replaces
		}
	}
	if o.Limit > 0 && o.Limit < len(t.cases) {
		t.cases = t.cases[:o.Limit]
	}
	schema := []byte(contract.Schema)
	if variant, fits := fittingVariant(records); schema == nil && fits {
		schema = impulse.Schema(variant)
	}
	return t, o.settleRules(t, contract, schema)
}

// annotated reports whether the questions are annotated IMPULSE queries.
func (t *testSet) annotated() bool { return strings.HasPrefix(t.format, "impulse ") }

// settleRules makes the task that answers are scored by, and refuses questions for
// another task than the model's.
func (o *validateOptions) settleRules(t *testSet, contract chatml.Contract, schema []byte) (err error) {
	opts := rules.Options{Schema: schema, Equivalences: o.Equivalences, Ignore: slices.Collect(maps.Keys(contract.RequestValues))}
	if o.Comparators != "" {
		if opts.Comparators, err = os.ReadFile(o.Comparators); err != nil {
			return named("--comparators", err)
		}
	}
	for _, c := range t.cases {
		want, err := evalx.Parse(c.Want)
		if err != nil {
			return fmt.Errorf("%s: wanted answer of %s: %w", t.name, c.ID, err)
		}
		opts.Answers = append(opts.Answers, want)
	}
	if t.task, err = rules.New(o.Rules, opts); err != nil {
		if o.Comparators != "" {
			err = fmt.Errorf("--comparators %s: %w", o.Comparators, err)
		}
		return err
	}
	if err := finetune.CheckCases(t.cases, t.task.Schema); err != nil {
		return fmt.Errorf("%s is not for this model: %w\ngive questions of the model's task with --test-file, or another --schema", t.name, err)
	}
	return nil
}

// prompting is how the model will be asked, as far as it can be read without
// opening it: the contract with what flags replace. Without a model that is what
// flags say.
func (o *validateOptions) prompting(ctx context.Context, t *testSet, log io.Writer) (c chatml.Contract, err error) {
	if o.ModelPath != "" {
		var opts finetune.Options
		o.otherTask = !t.annotated()
		dir, _, err := o.settle(ctx, &opts, log)
		if err != nil {
			return c, err
		}
		return finetune.ReadContract(dir, opts)
	}
	if o.PromptFile != "" {
		if c.SystemPrompt, err = impulse.ReadPrompt(o.PromptFile); err != nil {
			return c, err
		}
	}
	if o.Schema != "" {
		c.Schema, err = readSchema(o.Schema)
	}
	return c, err
}

// readQuestions reads the test file, or the built-in questions.
func (o *validateOptions) readQuestions() (records []dataset.Record, t *testSet, err error) {
	annotated, err := impulse.Formats("", impulse.Options{}) // the system prompt is the model's
	if err != nil {
		return nil, nil, err
	}
	if o.TestFile != "" {
		t = &testSet{name: o.TestFile}
		records, t.format, err = dataset.ReadFile(o.TestFile, annotated...)
		if err == nil && len(records) == 0 {
			err = fmt.Errorf("%s: no questions", o.TestFile)
		}
		return records, t, err
	}
	t = &testSet{name: "built-in queries"}
	r := dataset.NewReader(bytes.NewReader(sampleQueries), t.name, annotated...)
	records, err = r.ReadAll()
	t.format = r.Format()
	return records, t, err
}
