package evalx

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func unreadable(r Result, _ Value) []string {
	if r.ParseError != nil {
		return []string{""}
	}
	return nil
}

func wrongValue(name string) func(Result, Value) []string {
	return func(r Result, got Value) []string {
		f, _ := r.Field(name)
		if _, unread := got.(Missing); unread || f.Correct || IsEmpty(f.Want) {
			return nil
		}
		return []string{""}
	}
}

func inventedValue(names ...string) func(Result, Value) []string {
	return func(r Result, _ Value) []string {
		var details []string
		for _, name := range names {
			if f, _ := r.Field(name); !f.Correct && IsEmpty(f.Want) && !IsEmpty(f.Got) {
				details = append(details, name)
			}
		}
		return details
	}
}

// sameOrNull is Exact but for a key left out, which counts as null.
func sameOrNull(want, got Value) bool {
	null := func(v Value) Value {
		if v == (Value)(Missing{}) {
			return nil
		}
		return v
	}
	return Exact(null(want), null(got))
}

func TestClasses(t *testing.T) {
	task := Task{
		Fields: []Field{{Path: "year"}, {Name: "topic", Path: "semantic_query"}},
		Classes: []Class{
			{Name: "invalid_json", Severity: "critical", Find: unreadable},
			{Name: "wrong_topic", Severity: "moderate", Find: wrongValue("topic")},
			{Name: "invented", Severity: "moderate", Find: inventedValue("year", "topic")},
			{Name: "wrong_year", Find: wrongValue("year")},
		},
	}
	tests := []struct {
		name, want, answer string
		errors             []string
		reason             string
	}{
		{"right", `{"year":1,"semantic_query":"a"}`, `{"year":1,"semantic_query":"a"}`, nil, "nothing is wrong"},
		{"both wrong", `{"year":1,"semantic_query":"a"}`, `{"year":2}`, []string{"moderate.wrong_topic", "wrong_year"}, "sorted by text; a class needs no severity"},
		{"both invented", `{"year":null,"semantic_query":""}`, `{"year":2,"semantic_query":"b"}`, []string{"moderate.invented:topic", "moderate.invented:year"}, "one finding for each place"},
		{"null as missing", `{"year":null,"semantic_query":"a"}`, `{"semantic_query":"a"}`, nil, "wrong, but neither a lost nor an invented value"},
		{"unreadable", `{"year":1,"semantic_query":"a"}`, `{`, []string{"critical.invalid_json"}, "that it has no year follows from it"},
	}
	var results []Result
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := task.Score(mustParse(t, tt.want), tt.answer)
			results = append(results, r)
			var got []string
			for _, e := range r.Errors {
				got = append(got, e.String())
			}
			if diff := cmp.Diff(tt.errors, got); diff != "" {
				t.Errorf("(-want +got)\n%s%s", diff, tt.reason)
			}
		})
	}
	want := []ErrorCount{
		{"critical", "invalid_json", 1, 1},
		{"moderate", "invented", 2, 1},
		{"moderate", "wrong_topic", 1, 1},
		{"", "wrong_year", 1, 1},
	}
	if diff := cmp.Diff(want, Summarize(results).Errors); diff != "" {
		t.Errorf("the worst first, (-want +got)\n%s", diff)
	}
}

func TestStandIn(t *testing.T) {
	task := Task{
		StandIn: map[string]any{},
		Fields:  []Field{{Path: "year", Compare: sameOrNull}},
		Classes: []Class{{Name: "invalid_json", Find: unreadable}},
		Passed:  func(r Result) bool { return r.AllCorrect },
	}
	r := task.Score(map[string]any{"year": nil}, "none")
	if r.ValidJSON() || r.Compliant() || !r.AllCorrect || !r.Passed || len(r.Errors) != 1 {
		t.Errorf("%+v: want an unreadable answer with the marks of an empty one", r)
	}
	if r := task.Score(map[string]any{"year": "2023"}, "none"); r.AllCorrect || r.Passed {
		t.Errorf("%+v: want it wrong where a value was wanted", r)
	}
}

func TestGiven(t *testing.T) {
	task := Task{Fields: []Field{
		{Name: "language", Path: "lang", Given: func(v Value) Value {
			if text, _ := Lookup(v, "text").(string); strings.HasPrefix(text, "Llista") {
				return "CA"
			}
			return "EN"
		}},
		{Path: "lang"},
	}}
	r := task.Score(map[string]any{"lang": "CA"}, `{"text":"Llista de projectes","lang":"EN"}`)
	want := []FieldResult{
		{Name: "language", Path: "lang", Want: "CA", Got: "CA", Correct: true},
		{Name: "lang", Path: "lang", Want: "CA", Got: "EN"},
	}
	if diff := cmp.Diff(want, r.Fields); diff != "" {
		t.Errorf("what the text shows and what the answer says are two fields, (-want +got)\n%s", diff)
	}
	counts := Summarize([]Result{r}).Fields
	if len(counts) != 2 || counts[0].Name != "language" || counts[1].Name != "lang" {
		t.Errorf("%+v", counts)
	}
}
