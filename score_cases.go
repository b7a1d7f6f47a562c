package finetune

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/evalx"
)

// Case is a question with the answer that is wanted.
type Case struct {
	// ID names the question in results.
	ID string
	// System is the system prompt that the question is asked with; the model's own
	// if it is empty.
	System string
	// Before are the turns before the question, nil for none.
	Before []chatml.Message
	// Question is what is asked.
	Question string
	// Want is the wanted answer, JSON.
	Want string
	// Labels are what the results are grouped by, before the groups of the task.
	Labels []evalx.Label
}

// Cases makes a case of each record: its last answer is the wanted one, to the
// question before it, after the turns before that. They are labelled with the
// language, if records say it, and with the fields in by: keys of records beside
// the conversation, or paths of the wanted answer. The error lists all records that
// do not end with a question and an answer in JSON, and fields that no record has.
func Cases(records []dataset.Record, by ...string) ([]Case, error) {
	var faults dataset.Faults
	cases := make([]Case, len(records))
	wanted := make([]evalx.Value, len(records))
	for i, r := range records {
		var err error
		if cases[i], err = caseOf(r, i); err == nil {
			if wanted[i], err = evalx.Parse(cases[i].Want); err != nil {
				err = fmt.Errorf("the wanted answer is not JSON: %w", err)
			}
		}
		if err != nil {
			faults = append(faults, recordFault(r, i, err))
		}
	}
	if faults != nil {
		return nil, fmt.Errorf("%d of %d records cannot be scored: %w", len(faults), len(records), faults)
	}
	if err := checkIDs(cases); err != nil {
		return nil, err
	}
	return cases, label(cases, records, wanted, by)
}

// caseOf makes a case of a record.
func caseOf(r dataset.Record, i int) (Case, error) {
	c := Case{ID: recordName(r, i)}
	turns := r.Messages
	if len(turns) > 0 && turns[0].Role == chatml.System {
		c.System, turns = turns[0].Content, turns[1:]
	}
	last := len(turns) - 2
	if last < 0 || turns[last].Role != chatml.User || turns[last+1].Role != chatml.Assistant {
		var roles []string
		for _, m := range turns {
			roles = append(roles, string(m.Role))
		}
		return c, fmt.Errorf("want a question and its answer at the end, got messages of %s", cmp.Or(strings.Join(roles, ", "), "nobody"))
	}
	if last > 0 {
		c.Before = turns[:last]
	}
	c.Question, c.Want = turns[last].Content, turns[last+1].Content
	return c, nil
}

// label sets the labels of cases.
func label(cases []Case, records []dataset.Record, wanted []evalx.Value, by []string) error {
	if slices.ContainsFunc(records, func(r dataset.Record) bool { return r.Lang != "" }) {
		for i, r := range records {
			cases[i].Labels = append(cases[i].Labels, evalx.Label{Name: "language", Value: r.Lang})
		}
	}
	var faults []error
	for _, field := range by {
		found := false
		values := make([]evalx.Value, len(records))
		for i, r := range records {
			values[i] = recordField(r, wanted[i], field)
			found = found || values[i] != evalx.Value(evalx.Missing{})
		}
		if !found {
			faults = append(faults, fmt.Errorf("no record has a field %s; there are %s", field, strings.Join(recordFields(records, wanted), ", ")))
			continue
		}
		for i, v := range values {
			cases[i].Labels = append(cases[i].Labels, evalx.Label{Name: field, Value: labelText(v)})
		}
	}
	return errors.Join(faults...)
}

// recordField returns the value of a field: a key of the record, or a path in the
// wanted answer.
func recordField(r dataset.Record, want evalx.Value, field string) evalx.Value {
	if field == "lang" && r.Lang != "" {
		return r.Lang
	}
	key, path, _ := strings.Cut(field, ".")
	if text, ok := r.Extra[key]; ok {
		v, err := evalx.Parse(string(text))
		if v = evalx.Lookup(v, path); err == nil && v != evalx.Value(evalx.Missing{}) {
			return v
		}
	}
	return evalx.Lookup(want, field)
}

// recordFields are the names that recordField knows.
func recordFields(records []dataset.Record, wanted []evalx.Value) []string {
	names := map[string]bool{}
	for i, r := range records {
		for key := range r.Extra {
			names[key] = true
		}
		object, _ := wanted[i].(map[string]any)
		for key := range object {
			names[key] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// labelText is a value as a label: text as it is, others as JSON, nothing as "".
func labelText(v evalx.Value) string {
	switch v := v.(type) {
	case nil, evalx.Missing:
		return ""
	case string:
		return v
	}
	text, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	return string(text)
}

// checkIDs refuses cases without an id of their own.
func checkIDs(cases []Case) error {
	seen := map[string]bool{}
	var repeated []string
	for _, c := range cases {
		if c.ID == "" {
			return errors.New("cases need ids")
		}
		if seen[c.ID] {
			repeated = append(repeated, c.ID)
		}
		seen[c.ID] = true
	}
	if repeated != nil {
		return fmt.Errorf("ids of questions are used twice: %s", firstOf(repeated))
	}
	return nil
}

// asked is how the case is asked.
func (c Case) asked() asked {
	if c.System == "" {
		return asked{c.Before, c.Question}
	}
	system := chatml.Message{Role: chatml.System, Content: c.System}
	return asked{slices.Concat([]chatml.Message{system}, c.Before), c.Question}
}

// checkSystems refuses cases for another system prompt than that of all examples
// that the model was trained on, if these had one.
func (m *Model) checkSystems(cases []Case) error {
	system := m.Contract().SystemPrompt
	var other []string
	for i, c := range cases {
		if system != "" && c.System != "" && c.System != system {
			other = append(other, cmp.Or(c.ID, fmt.Sprintf("#%d", i+1)))
		}
	}
	if other == nil {
		return nil
	}
	text := fmt.Sprintf("%d of %d questions have another system prompt than the model was trained with: %s", len(other), len(cases), firstOf(other))
	if o := &m.base.opts; o.AllowDrift {
		o.warn(text)
		return nil
	}
	return fmt.Errorf("%s (%s asks them with theirs)", text, m.base.opts.name("AllowDrift"))
}

func wantedValues(cases []Case) ([]evalx.Value, error) {
	var faults dataset.Faults
	wanted := make([]evalx.Value, len(cases))
	for i, c := range cases {
		var err error
		if wanted[i], err = evalx.Parse(c.Want); err != nil {
			faults = append(faults, dataset.Fault{Record: c.ID, Err: fmt.Errorf("the wanted answer is not JSON: %w", err)})
		}
	}
	if faults != nil {
		return nil, faults
	}
	return wanted, nil
}

// CheckCases refuses wanted answers that do not comply with a schema: what they
// ask for cannot be answered by a model of that schema.
func CheckCases(cases []Case, schema *evalx.Schema) error {
	wanted, err := wantedValues(cases)
	if err != nil {
		return err
	}
	var faults dataset.Faults
	for i, c := range cases {
		if v := schema.Validate(wanted[i]); len(v) > 0 {
			faults = append(faults, dataset.Fault{Record: c.ID, Err: errors.New(v[0].String())})
		}
	}
	if faults != nil {
		return fmt.Errorf("%d of %d wanted answers do not comply with the schema: %w", len(faults), len(cases), faults)
	}
	return nil
}

// firstOf lists the first names and counts the others.
func firstOf(names []string) string {
	const most = 3
	text := strings.Join(names[:min(len(names), most)], ", ")
	if more := len(names) - most; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
