package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"regexp"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/dataset/impulse"
	rules "github.com/impulse-salamandra/finetune/evalx/impulse"
)

// readData reads the files that flags name, and says what is in them.
func (o *trainOptions) readData(out io.Writer) error {
	var err error
	var format string
	if o.Records, format, err = readRecords(o.Data, o.PromptFile); err != nil {
		return err
	}
	fmt.Fprintf(out, "%s: %d records, format %s\n", o.Data, len(o.Records), format)
	warnRecords(o.Records, out)
	if err := o.readPrompt(); err != nil {
		return err
	}
	if hole := placeholder.FindString(o.Contract.SystemPrompt); hole != "" && o.PromptFile != "" {
		fmt.Fprintf(out, "warning: --prompt-file %s: %s stays as it is written: the question is a message of its own\n", o.PromptFile, hole)
	}
	if o.ComparatorsFile != "" {
		if o.Comparators, err = os.ReadFile(o.ComparatorsFile); err != nil {
			return named("--comparators", err)
		}
	}
	if o.TestFile != "" {
		if o.Test, _, err = readRecords(o.TestFile, o.PromptFile); err != nil {
			return named("--test-file", err)
		}
	}
	return o.settleSchema(out)
}

// placeholder is what other programs put the question in the place of.
var placeholder = regexp.MustCompile(`(?i)\{\{?\s*(query|question|input|user_input|user_query|instruction|prompt|text|message|history)\s*\}?\}`)

// readPrompt reads --prompt-file.
func (o *trainOptions) readPrompt() (err error) {
	if o.PromptFile != "" {
		o.Contract.SystemPrompt, err = impulse.ReadPrompt(o.PromptFile)
	}
	return named("--prompt-file", err)
}

// settleSchema resolves --schema: a file, none, or auto, which is the
// schema of IMPULSE's that all answers comply with, if one does. Such answers are
// scored by IMPULSE's rules, unless there is a file of comparators.
func (o *trainOptions) settleSchema(out io.Writer) error {
	variant, fits := fittingVariant(o.Records)
	if fits && o.Comparators == nil {
		name := rules.Published
		if o.Metric == "validity" {
			name = rules.Standard // the published ones read what is not JSON
		}
		var err error
		if o.Task, err = rules.New(name, rules.Options{Schema: impulse.Schema(variant)}); err != nil {
			return err
		}
	}
	switch {
	case o.Schema == "none":
		fmt.Fprintln(out, "answers: no schema")
	case o.Schema != "auto":
		schema, err := readSchema(o.Schema)
		if err != nil {
			return err
		}
		o.Contract.Schema = schema
		fmt.Fprintf(out, "answers: schema %s\n", o.Schema)
	case fits:
		o.Contract.Schema = impulse.Schema(variant)
		o.Contract.RequestValues = map[string]chatml.RequestValue{"meta.original_query": chatml.Question, "meta.lang": chatml.Language}
		o.Contract = withTexts(o.Contract)
		fmt.Fprintf(out, "answers: IMPULSE's schema, variant %s\n", variant)
	default:
		fmt.Fprintln(out, "answers: no schema (--schema FILE keeps answers to one)")
	}
	return nil
}

// fittingVariant is the variant of IMPULSE's schema that all answers comply
// with, if there is one.
func fittingVariant(records []dataset.Record) (impulse.Variant, bool) {
	for _, v := range []impulse.Variant{impulse.Current, impulse.V1} {
		check := violation(impulse.Schema(v))
		fits := true
		for _, r := range records {
			fits = fits && check(r.Answer()) == nil
		}
		if fits {
			return v, true
		}
	}
	return "", false
}

// describeMetric says how the best adapter is found if not by the loss.
func (o *trainOptions) describeMetric(held int) string {
	how := "as the bare model gives them"
	if o.Constrained && o.Metric != "validity" && o.Contract.Schema != nil {
		how = "kept to the schema"
	}
	return fmt.Sprintf("the best adapter is the one with the highest share of %s answers to %d held-out queries, %s, by the rules %s",
		o.Metric, held, how, cmp.Or(o.Task.Name, rules.Generic))
}

// describe gives the figures of an evaluation.
func (o *trainOptions) describe(loss float64, score *float64) string {
	text := fmt.Sprintf("loss %.4f on held-out examples", loss)
	if score != nil {
		text += fmt.Sprintf(", %s %.1f %%", o.Metric, 100**score)
	}
	return text
}
