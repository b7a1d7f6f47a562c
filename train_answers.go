package finetune

import (
	"cmp"
	"fmt"

	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/internal/answers"
)

// recordName is the id of a record, or its place as dataset.Builder calls it.
func recordName(r dataset.Record, i int) string { return cmp.Or(r.ID, fmt.Sprintf("#%d", i+1)) }

func recordFault(r dataset.Record, i int, err error) dataset.Fault {
	return dataset.Fault{File: r.File, Line: r.Line, Record: recordName(r, i), Err: err}
}

// settleAnswers takes the layout of answers and the order of keys from the
// records, so that constrained decoding writes what is trained, and refuses
// answers that it would not write. With NormaliseAnswers those that say the same
// in another layout or order are rewritten.
func (r *run) settleAnswers(records []dataset.Record) ([]dataset.Record, error) {
	o, c := &r.o, &r.plan.Contract
	survey := answers.Read(records)
	if survey.JSON > 0 {
		c.Layout = survey.Layout
	}
	schema := o.name("Contract.Schema")
	if c.Schema != nil {
		var err error
		if c.Schema, err = answers.OrderKeys(c.Schema, records); err != nil {
			return nil, fmt.Errorf("%s: %w", schema, err)
		}
	}
	if o.NormaliseAnswers {
		var err error
		if records, r.plan.Rewritten, err = answers.Normalise(records, c.Schema, c.Layout); err != nil {
			return nil, fmt.Errorf("%s: %w", schema, err)
		}
		survey = answers.Read(records)
	}
	r.plan.Answers = survey
	if c.Schema == nil {
		if len(survey.Others) > 0 {
			o.warn(fmt.Sprintf("%d answers are written otherwise than the others (%s rewrites them): %v", len(survey.Others), o.name("NormaliseAnswers"), survey.Others))
		}
		return records, nil
	}
	faults, err := answers.Check(records, c.Schema, c.Layout)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", schema, err)
	case len(faults) > 0:
		turns := ""
		if survey.Answers > len(records) {
			turns = `; answers of earlier turns that are not to be learned have "weight": 0`
		}
		return nil, fmt.Errorf("%s: %d of %d answers do not comply, or are written otherwise than constrained decoding does (these %s rewrites%s): %w",
			schema, len(faults), survey.Answers, o.name("NormaliseAnswers"), turns, faults)
	}
	return records, nil
}
