package impulse

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/impulse-salamandra/finetune/dataset"
)

// Formats returns the two variants of annotated records as formats of
// [dataset.Reader], by itself or beside others: each record becomes its
// [Record.Conversation] with the system prompt of its variant, or with the one
// given if that is not empty. Records stand alone on lines, in an array, or in an
// object under "queries". Checks are those of opts, except that ids are compared
// when examples are built; fields that disagree are the record's Warnings whatever
// opts are. It fails if the schema of opts is none.
func Formats(system string, opts Options) ([]dataset.Format, error) {
	r, err := newReader(opts)
	if err != nil {
		return nil, err
	}
	r.warns = true
	var formats []dataset.Format
	for _, v := range []Variant{Current, V1} {
		f := dataset.Format{Name: "impulse " + string(v), Keys: []string{"doc_type", "filters", metaKey}, List: queriesKey}
		if v == V1 {
			f.Keys = append(f.Keys, "metric")
		}
		f.Read = func(value json.RawMessage) (dataset.Record, dataset.Faults) {
			one := *r
			one.batches, one.ids = Batches{Variant: r.batches.Variant}, map[string]*Record{}
			return one.conversation(value, v, system)
		}
		formats = append(formats, f)
	}
	return formats, nil
}

// conversation reads a single record of a variant.
func (r *reader) conversation(value []byte, v Variant, system string) (dataset.Record, dataset.Faults) {
	r.read("", append(append([]byte("["), value...), ']'))
	found := r.batches.Warnings
	batches, err := r.result()
	if err != nil {
		return dataset.Record{}, recordFaults(found, false)
	}
	if batches.Variant != v {
		return dataset.Record{}, dataset.Faults{{Record: batches.Records[0].ID, Err: fmt.Errorf("%w: %s, want %s", errVariant, batches.Variant, v)}}
	}
	if system == "" {
		system = SystemPrompt(v)
	}
	record := batches.Records[0].Conversation(system, false)
	record.Warnings = recordFaults(found, true)
	return record, nil
}

// recordFaults returns the warnings among the faults of a single record, or those
// that are none, as the faults of a data set.
func recordFaults(found []Fault, warnings bool) dataset.Faults {
	var faults dataset.Faults
	for _, f := range found {
		if f.Warning == warnings {
			faults = append(faults, dataset.Fault{Line: f.Line - 1, Record: f.ID, Field: f.Path, Err: errors.New(f.Message)})
		}
	}
	return faults
}
