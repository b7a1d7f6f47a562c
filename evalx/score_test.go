package evalx

import (
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// queryTask scores answers like those of the IMPULSE project.
func queryTask(t testing.TB) Task {
	t.Helper()
	schema, err := CompileSchema("answer_schema.json", readFile(t, "answer_schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	return Task{
		Name:   "query",
		Schema: schema,
		Fields: []Field{
			{Path: "filters.programme", Compare: Folded(programmes(t))},
			{Path: "filters.funding_level"},
			{Path: "filters.year"},
			{Path: "filters.location", Compare: Folded(Fold)},
			{Path: "filters.location_level"},
			{Path: "organisations", Compare: Assignment(Object(
				Field{Path: "type"}, Field{Path: "name", Compare: Folded(FoldAccents)}, Field{Path: "location", Compare: Folded(Fold)}, Field{Path: "location_level"}))},
			{Path: "semantic_query", Compare: TokenOverlap(Words, 0.6)},
		},
		Groups: []Group{GroupBy("language", "meta.lang")},
	}
}

// golds returns the wanted answers of testdata/records.json.
func golds(t testing.TB) []Value {
	t.Helper()
	records := mustParse(t, string(readFile(t, "records.json"))).([]any)
	for _, r := range records {
		delete(r.(map[string]any)["meta"].(map[string]any), "id") // not part of an answer
	}
	return records
}

func marshal(t testing.TB, v Value) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestScoreOfTheGoldIsFullMarks(t *testing.T) {
	task := queryTask(t)
	var results []Result
	for i, gold := range golds(t) {
		r := task.Score(gold, marshal(t, gold))
		if !r.Passed || !r.AllCorrect || !r.Compliant() {
			t.Errorf("record %d: %+v", i, r)
		}
		results = append(results, r)
	}
	s := Summarize(results)
	for _, share := range []Share{s.Overall.Passed, s.Overall.ValidJSON, s.Overall.Compliant, s.Overall.AllCorrect} {
		if share != (Share{8, 8}) {
			t.Errorf("%v, want 8 of 8", share)
		}
	}
	if s.Overall.Fields != (Share{56, 56}) {
		t.Errorf("fields %v, want 7 of each of 8", s.Overall.Fields)
	}
	for _, f := range s.Fields {
		if f.Right != f.Expected || f.Right != f.Given {
			t.Errorf("%+v, want the same three numbers", f)
		}
	}
}

// Nothing is credited to answers that cannot be read, whatever is wanted.
func TestScoreOfUnreadableAnswers(t *testing.T) {
	task := queryTask(t)
	task.Passed = func(Result) bool { return true } // is not asked
	task.Groups = append(task.Groups, Group{Name: "all", Of: func(Value) string { return "x" }})
	for _, answer := range []string{"", "Sorry.", "{}}", `{"a":1,"a":2}`, "```json\n{}\n```", strings.Repeat("[", 100_000)} {
		var results []Result
		for _, gold := range golds(t) {
			r := task.Score(gold, answer)
			var place *ParseError
			if !errors.As(r.ParseError, &place) || r.ValidJSON() || r.Compliant() || r.AllCorrect || r.Passed || r.Violations != nil || len(r.Fields) != 7 {
				t.Fatalf("%.20q: %+v", answer, r)
			}
			for _, f := range r.Fields {
				if f.Correct || f.Got != (Value)(Missing{}) || !Exact(f.Want, Lookup(gold, f.Path)) {
					t.Fatalf("%.20q: %+v", answer, f)
				}
			}
			results = append(results, r)
		}
		got := Summarize(results)
		want := Counts{Passed: Share{0, 8}, ValidJSON: Share{0, 8}, Compliant: Share{0, 8}, AllCorrect: Share{0, 8}, Fields: Share{0, 56}}
		if got.Overall != want || got.Groups[len(got.Groups)-1].Counts != want {
			t.Fatalf("%.20q: %+v, want %+v", answer, got.Overall, want)
		}
	}
}

func TestScore(t *testing.T) {
	schema := mustSchema(t, `{"type":"object","required":["a","b"],"properties":{"a":{"type":["string","null"]},"b":{}}}`)
	task := Task{Schema: schema, Fields: []Field{{Path: "a", Compare: Folded(Fold)}, {Path: "b"}}}
	want := mustParse(t, `{"a":"x","b":null}`)
	tests := []struct {
		name, answer               string
		change                     func(*Task)
		compliant, a, b, all, pass bool
		reason                     string
	}{
		{"right", `{"a":" X","b":null}`, nil, true, true, true, true, true, ""},
		{"wrong field", `{"a":"y","b":null}`, nil, true, false, true, false, false, "one field is enough to fail"},
		{"missing null", `{"a":"x"}`, nil, false, true, false, false, false, "a key left out is not null"},
		{"missing null allowed", `{"a":"x"}`, func(t *Task) { t.Fields[1].Compare = sameOrNull }, false, true, true, true, false, "right, and still against the schema"},
		{"no schema", `{"a":"x"}`, func(t *Task) { t.Schema, t.Fields[1].Compare = nil, sameOrNull }, true, true, true, true, true, "nil accepts everything"},
		{"against the schema", `{"a":1,"b":null}`, nil, false, false, true, false, false, "fields are compared all the same"},
		{"not an object", `["x"]`, nil, false, false, false, false, false, "no field is there"},
		{"lenient", "so: {\"a\":\"x\",\"b\":null}.", func(t *Task) { t.Read = readExtracted }, true, true, true, true, true, "the task's own reading"},
		{"own verdict", `{"a":"x"}`, func(t *Task) { t.Passed = func(r Result) bool { return r.Fields[0].Correct } }, false, true, false, false, true, "the task decides"},
		{"no fields", `1`, func(t *Task) { t.Fields, t.Schema = nil, nil }, true, false, false, true, true, "nothing is wrong"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			task := task
			task.Fields = append([]Field(nil), task.Fields...)
			if tt.change != nil {
				tt.change(&task)
			}
			r := task.Score(want, tt.answer)
			var correct [2]bool
			for i, f := range r.Fields {
				correct[i] = f.Correct
			}
			got := []bool{r.Compliant(), correct[0], correct[1], r.AllCorrect, r.Passed}
			if diff := cmp.Diff([]bool{tt.compliant, tt.a, tt.b, tt.all, tt.pass}, got); diff != "" {
				t.Errorf("compliant, a, b, all, passed (-want +got)\n%s%s", diff, tt.reason)
			}
			if r.ParseError != nil || r.Answer != tt.answer {
				t.Errorf("%+v", r)
			}
		})
	}
}

func readExtracted(answer string) (Value, error) {
	text, err := Extract(answer)
	if err != nil {
		return nil, err
	}
	return Parse(text)
}

// A large answer with everything wrong is scored in linear time.
func TestScoreHostile(t *testing.T) {
	task := queryTask(t)
	task.Read = func(answer string) (Value, error) { // as lenient as can be
		dec := json.NewDecoder(strings.NewReader(answer))
		dec.UseNumber()
		var v any
		err := dec.Decode(&v)
		return v, err
	}
	start := time.Now()
	organisation := `{"type":1e999999999,"name":"\ud800","location":` + strings.Repeat("[", 500) + strings.Repeat("]", 500) + `},`
	for _, answer := range []string{
		`{"organisations":[` + strings.Repeat(organisation, 1000) + `{}]}`,
		`{"filters":{"year":1e999999999,"location":"` + strings.Repeat("x ", 500_000) + `"}}`,
		`{"semantic_query":"` + strings.Repeat("e\u0301", 200_000) + `"}`,
	} {
		for _, gold := range golds(t)[:2] {
			if r := task.Score(gold, answer); r.Passed || r.ParseError != nil {
				t.Errorf("%.40s: passed %v, %v", answer, r.Passed, r.ParseError)
			}
		}
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("took %v", took)
	}
}

// One task serves many goroutines (run with -race).
func TestScoreInParallel(t *testing.T) {
	task := queryTask(t)
	var wait sync.WaitGroup
	for _, gold := range golds(t) {
		answer := marshal(t, gold)
		wait.Go(func() {
			for range 20 {
				if !task.Score(gold, answer).Passed || task.Score(gold, "{}").Passed {
					t.Error("another verdict than by itself")
				}
			}
		})
	}
	wait.Wait()
}

// Values by hand: (p + z²/2n ± z·sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n), z = 1.959964.
func TestWilson(t *testing.T) {
	tests := []struct {
		share     Share
		low, high float64
		reason    string
	}{
		{Share{0, 0}, 0, 1, "nothing is known"},
		{Share{0, 1}, 0, 0.793451, "z²/(1+z²) = 3.841459/4.841459"},
		{Share{1, 1}, 0.206549, 1, "1/(1+z²)"},
		{Share{0, 10}, 0, 0.277533, "z²/(10+z²)"},
		{Share{10, 10}, 0.722467, 1, "10/(10+z²)"},
		{Share{5, 10}, 0.236593, 0.763407, "0.5 ± z/2/sqrt(10+z²), symmetric"},
		{Share{8, 10}, 0.490162, 0.943318, "centre 0.716740, half width 0.226578"},
		{Share{18, 20}, 0.698966, 0.972134, "centre 0.835550, half width 0.136584"},
		{Share{50, 100}, 0.403832, 0.596168, "0.5 ± z/2/sqrt(100+z²)"},
	}
	for _, tt := range tests {
		low, high := tt.share.Wilson()
		if math.Abs(low-tt.low) > 1e-6 || math.Abs(high-tt.high) > 1e-6 {
			t.Errorf("%v: %.6f to %.6f, want %.6f to %.6f: %s", tt.share, low, high, tt.low, tt.high, tt.reason)
		}
	}
	for n := 1; n < 200; n++ {
		for c := 0; c <= n; c++ {
			low, high := Share{c, n}.Wilson()
			otherLow, otherHigh := Share{n - c, n}.Wilson()
			p := float64(c) / float64(n)
			if !(0 <= low && low <= p && p <= high && high <= 1) || math.Abs(low-(1-otherHigh)) > 1e-12 || math.Abs(high-(1-otherLow)) > 1e-12 {
				t.Fatalf("%d of %d: %v to %v, other way %v to %v", c, n, low, high, otherLow, otherHigh)
			}
		}
	}
}

func TestFieldCount(t *testing.T) {
	task := Task{Fields: []Field{{Path: "a", Compare: sameOrNull}}}
	rows := []struct{ want, answer, reason string }{
		{`"x"`, `{"a":"x"}`, "expected, given, right"},
		{`"x"`, `{"a":"y"}`, "expected, given, wrong: costs precision and recall"},
		{`"x"`, `{"a":null}`, "expected, not given"},
		{`"x"`, `not JSON`, "expected, not given"},
		{`null`, `{"a":"x"}`, "invented"},
		{`null`, `{}`, "correct, and nothing to find"},
		{`[]`, `{"a":[]}`, "correct, and nothing to find"},
		{`null`, `not JSON`, "nothing to find and still not correct"},
		{`{"k":0}`, `{"a":{"k":0}}`, "expected, given, right"},
		{`false`, `{"a":false}`, "false is a value"},
		{`0`, `{"a":0}`, "zero is a value"},
	}
	var results []Result
	for _, row := range rows {
		results = append(results, task.Score(map[string]any{"a": mustParse(t, row.want)}, row.answer))
	}
	got := Summarize(results).Fields
	want := []FieldCount{{Name: "a", Correct: Share{6, 11}, Expected: 7, Given: 6, Right: 4}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("(-want +got)\n%s", diff)
	}
	f := got[0]
	f1, ok := f.F1()
	p, _ := f.Precision().Value()
	r, _ := f.Recall().Value()
	if f.Precision() != (Share{4, 6}) || f.Recall() != (Share{4, 7}) || !ok || math.Abs(f1-2*p*r/(p+r)) > 1e-15 {
		t.Errorf("precision %v, recall %v, F1 %v", f.Precision(), f.Recall(), f1)
	}
	if _, ok := (FieldCount{}).F1(); ok {
		t.Error("F1 of nothing has a value")
	}
}

// Counts of the groups add up to the whole, in every order of the results.
func TestSummarizeGroups(t *testing.T) {
	task := queryTask(t)
	task.Groups = append(task.Groups, GroupBy("notes", "meta.notes"))
	var results []Result
	for i, gold := range golds(t) {
		answer := marshal(t, gold)
		switch i % 3 {
		case 1:
			answer = answer[:len(answer)/2]
		case 2:
			answer = strings.Replace(answer, `"doc_type"`, `"type"`, 1)
		}
		results = append(results, task.Score(gold, answer))
	}
	first := Summarize(results)
	for _, name := range []string{"language", "notes"} {
		var sum Counts
		var values []string
		for _, v := range first.Groups {
			if v.Name != name {
				continue
			}
			values = append(values, v.Value)
			for _, pair := range [][2]*Share{{&sum.Passed, &v.Passed}, {&sum.ValidJSON, &v.ValidJSON}, {&sum.Compliant, &v.Compliant}, {&sum.AllCorrect, &v.AllCorrect}, {&sum.Fields, &v.Fields}} {
				pair[0].Count += pair[1].Count
				pair[0].Total += pair[1].Total
			}
		}
		if sum != first.Overall {
			t.Errorf("%s: sum %+v, overall %+v", name, sum, first.Overall)
		}
		want := map[string][]string{"language": {"CA", "EN", "ES"}, "notes": {"", "Count requested; matching projects are listed."}}[name]
		if diff := cmp.Diff(want, values); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", name, diff)
		}
	}
	if first.Overall.Passed != (Share{3, 8}) || first.Overall.ValidJSON != (Share{5, 8}) || first.Overall.Compliant != (Share{3, 8}) || first.Overall.AllCorrect != (Share{5, 8}) {
		t.Errorf("%+v", first.Overall)
	}
	rand.New(rand.NewPCG(5, 6)).Shuffle(len(results), func(i, j int) { results[i], results[j] = results[j], results[i] })
	if diff := cmp.Diff(first, Summarize(results)); diff != "" {
		t.Errorf("another order of results (-first +second)\n%s", diff)
	}
	if diff := cmp.Diff(Summary{}, Summarize(nil)); diff != "" {
		t.Errorf("no results: %s", diff)
	}
}

func BenchmarkScore(b *testing.B) {
	task := queryTask(b)
	gold := golds(b)[5]
	answer := marshal(b, gold)
	for name, run := range map[string]func(){
		"parse": func() { _, _ = Parse(answer) },
		"score": func() { task.Score(gold, answer) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(answer)))
			for b.Loop() {
				run()
			}
		})
	}
}
