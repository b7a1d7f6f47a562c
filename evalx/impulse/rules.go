package impulse

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/impulse-salamandra/finetune/dataset/impulse"
	"github.com/impulse-salamandra/finetune/evalx"
	"github.com/impulse-salamandra/finetune/evalx/report"
)

// Names of the rule sets.
const (
	// Generic are the rules that [evalx.NewTask] derives, for answers to any
	// questions.
	Generic = "generic"
	// Standard compares every part of an IMPULSE answer but its free text.
	Standard = "standard"
	// Published are the rules that the IMPULSE project publishes its figures by.
	Published = "impulse-published"
)

// Options are what a rule set is made with.
type Options struct {
	// Schema is the JSON Schema of the answers; nil for none.
	Schema []byte
	// Equivalences is a directory of equivalence sets for IMPULSE's rules, "" for
	// none: programme_equivalences.json, location_equivalences.json,
	// org_equivalences.json, org_type_equivalences.json, semantic_equivalences.json.
	Equivalences string
	// Answers, Comparators and Ignore are for the generic rules, as in
	// [evalx.TaskOptions].
	Answers     []evalx.Value
	Comparators []byte
	Ignore      []string
}

// ruleSets make the tasks of IMPULSE's rule sets, with the normal form that
// equivalent terms are compared in.
var ruleSets = map[string]struct {
	make   func(equivalences, impulse.Variant) evalx.Task
	normal normal
}{
	Standard:  {newStandard, evalx.FoldAccents},
	Published: {newPublished, publishedNormal},
}

// New returns the rules with a name: [Generic], [Standard], [Published], or "auto",
// which is Standard where the schema is one that package dataset/impulse has built
// in, and Generic elsewhere. The task is called by the name of the rules.
//
// The error lists everything that does not fit: IMPULSE's rules for other answers,
// equivalence sets for generic rules, comparators for IMPULSE's, and the faults of
// these files.
func New(name string, opts Options) (evalx.Task, error) {
	if name == "auto" {
		name = Generic
		if _, ok := Variant(opts.Schema); ok {
			name = Standard
		}
	}
	var schema *evalx.Schema
	if opts.Schema != nil {
		var err error
		if schema, err = evalx.CompileSchema("of the answers", opts.Schema); err != nil {
			return evalx.Task{}, err
		}
	}
	if name == Generic {
		if opts.Equivalences != "" {
			return evalx.Task{}, fmt.Errorf("equivalence sets are for the rules %s; those %s take comparators", known(), Generic)
		}
		return evalx.NewTask(evalx.TaskOptions{
			Name: Generic, Schema: schema, Answers: opts.Answers, Comparators: opts.Comparators, Ignore: opts.Ignore,
		})
	}
	set, ok := ruleSets[name]
	if !ok {
		return evalx.Task{}, fmt.Errorf("rules %q, want auto, %s or %s", name, Generic, known())
	}
	var faults []error
	if opts.Comparators != nil {
		faults = append(faults, fmt.Errorf("comparators are for the rules %s; those %s take equivalence sets", Generic, name))
	}
	variant, ok := variantOf(opts.Schema)
	if !ok {
		faults = append(faults, fmt.Errorf("the rules %s are for IMPULSE's answers, and the schema is of others: use %s", name, Generic))
	}
	sets, err := readEquivalences(opts.Equivalences, set.normal)
	if err := errors.Join(append(faults, err)...); err != nil {
		return evalx.Task{}, err
	}
	task := set.make(sets, variant)
	task.Name, task.Schema = name, schema
	task.Groups = []evalx.Group{evalx.GroupBy("language", "meta.lang"), {Name: "type", Of: queryType}}
	return task, nil
}

func known() string { return strings.Join(slices.Sorted(maps.Keys(ruleSets)), " and ") }

// Variant returns the variant of IMPULSE's answers whose built-in schema this is,
// whatever its blanks and the order of its keys.
func Variant(schema []byte) (impulse.Variant, bool) {
	given, err := evalx.Parse(string(schema))
	if err != nil {
		return "", false
	}
	for _, v := range []impulse.Variant{impulse.Current, impulse.V1} {
		if own, err := evalx.Parse(string(impulse.Schema(v))); err == nil && evalx.Exact(own, given) {
			return v, true
		}
	}
	return "", false
}

// variantOf returns the variant of answers that a schema describes, false if it
// has not their parts.
func variantOf(schema []byte) (impulse.Variant, bool) {
	var outline struct {
		Properties map[string]json.RawMessage `json:"properties"`
	}
	if json.Unmarshal(schema, &outline) != nil {
		return "", false
	}
	for _, key := range []string{"doc_type", "filters", "organisations", "semantic_query", "meta"} {
		if outline.Properties[key] == nil {
			return "", false
		}
	}
	if outline.Properties["metric"] != nil {
		return impulse.V1, true
	}
	return impulse.Current, true
}

// WriteSummary writes the counts of runs for the terminal and, for those by the
// published rules, the totals under the names they are published with.
func WriteSummary(w io.Writer, runs ...report.Run) error {
	if err := report.WriteText(w, runs...); err != nil {
		return err
	}
	for _, r := range runs {
		if r.Task != Published {
			continue
		}
		if err := writePublishedTotals(w, r.Results); err != nil {
			return err
		}
	}
	return nil
}

// WriteTable writes a tab-separated table with a line for each answer: the
// published columns for published rules, byte for byte, and those of
// [report.WriteTSV] for others.
func WriteTable(w io.Writer, r report.Run) error {
	if r.Task == Published {
		return writePublishedTable(w, r.Results)
	}
	return report.WriteTSV(w, r)
}

// queryType names what a query restricts: its one kind of restriction, "mixed"
// for several, "topic" for none.
func queryType(want evalx.Value) string {
	var kinds []string
	for _, k := range []struct{ path, kind string }{
		{"filters.programme", "programme"}, {"filters.funding_level", "funding"}, {"filters.year", "year"}, {"filters.location", "place"},
	} {
		if v := evalx.Lookup(want, k.path); v != nil && v != (evalx.Missing{}) {
			kinds = append(kinds, k.kind)
		}
	}
	if list, ok := evalx.Lookup(want, "organisations").([]any); ok && len(list) > 0 {
		kinds = append(kinds, "organisation")
	}
	if len(kinds) > 1 {
		return "mixed"
	}
	return cmp.Or(strings.Join(kinds, ""), "topic")
}
