package finetune_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/impulse-salamandra/finetune"
	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/evalx"
	"github.com/impulse-salamandra/finetune/salamandra/salamandratest"
)

func ticketRecord(id, question, answer string) dataset.Record {
	return dataset.Record{ID: id, Messages: []chatml.Message{{Role: chatml.User, Content: question}, {Role: chatml.Assistant, Content: answer}}}
}

func TestCases(t *testing.T) {
	records := []dataset.Record{ticketRecord("a", "q1", `{"x": {"y": "CA"}, "n": 1}`), ticketRecord("", "q2", `{"x": {"y": null}, "n": 2}`)}
	records[0].Lang, records[0].Extra = "ca", map[string]json.RawMessage{"meta": json.RawMessage(`{"channel": "mail", "n": [1]}`)}
	cases, err := finetune.Cases(records, "meta.channel", "x.y", "n", "meta")
	check(t, err)
	want := []finetune.Case{
		{ID: "a", Question: "q1", Want: records[0].Answer(), Labels: []evalx.Label{
			{Name: "language", Value: "ca"}, {Name: "meta.channel", Value: "mail"}, {Name: "x.y", Value: "CA"}, {Name: "n", Value: "1"}, {Name: "meta", Value: `{"channel":"mail","n":[1]}`}}},
		{ID: "#2", Question: "q2", Want: records[1].Answer(), Labels: []evalx.Label{
			{Name: "language"}, {Name: "meta.channel"}, {Name: "x.y"}, {Name: "n", Value: "2"}, {Name: "meta"}}},
	}
	if !reflect.DeepEqual(cases, want) {
		t.Errorf("%+v\nwant %+v", cases, want)
	}

	turns := ticketRecord("turns", "q2", `{"n": 3}`)
	turns.Messages = append([]chatml.Message{{Role: chatml.System, Content: "S"}, {Role: chatml.User, Content: "q1"}, {Role: chatml.Assistant, Content: "a1"}}, turns.Messages...)
	cases, err = finetune.Cases([]dataset.Record{turns})
	check(t, err)
	if want := (finetune.Case{ID: "turns", System: "S", Before: turns.Messages[1:3], Question: "q2", Want: `{"n": 3}`}); !reflect.DeepEqual(cases[0], want) {
		t.Errorf("%+v\nwant %+v", cases[0], want)
	}
	turns.Messages = turns.Messages[:4]
	bad := []dataset.Record{ticketRecord("a", "q", "{}"), turns, ticketRecord("b", "q", "Sorry."), ticketRecord("c", "q", "Sorry."), ticketRecord("d", "q", "Sorry."), ticketRecord("e", "q", "Sorry.")}
	_, err = finetune.Cases(bad)
	for _, want := range []string{"5 of 6 records cannot be scored", `record "turns": want a question and its answer at the end, got messages of user, assistant, user`, `record "b": the wanted answer is not JSON: answer, line 1, column 1`, " and 1 more"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: want %s", err, want)
		}
	}
	cases, err = finetune.Cases(records)
	check(t, err)
	for _, err := range []error{
		errorOf(finetune.Cases(records, "chanel")), errorOf(finetune.Cases(append(records, records[0]))),
		finetune.CheckCases(cases, schemaOf(t, `{"properties": {"n": {"maximum": 1}}}`)),
	} {
		if err == nil || !strings.Contains(err.Error(), "no record has a field chanel; there are meta, n, x") && !strings.Contains(err.Error(), "used twice: a") &&
			!strings.Contains(err.Error(), `1 of 2 wanted answers do not comply with the schema: record "#2": /n: maximum`) {
			t.Errorf("%v", err)
		}
	}
}

func errorOf[T any](_ T, err error) error { return err }

func schemaOf(t testing.TB, text string) *evalx.Schema {
	t.Helper()
	s, err := evalx.CompileSchema("test", []byte(text))
	check(t, err)
	return s
}

// TestScoreResumes: answers that came before an interruption are kept, are scored,
// and are not asked for again.
func TestScoreResumes(t *testing.T) {
	base := salamandratest.Reference(t, "models", "tiny-mha")
	c := contract(t, base)
	m, _ := open(t, copyDir(t, base, &c), finetune.Options{Slots: 1})
	task, err := evalx.NewTask(evalx.TaskOptions{Schema: schemaOf(t, ticketSchema), Ignore: []string{"question"}})
	check(t, err)
	var cases []finetune.Case
	for i := range 30 { // so many that the interruption comes before the last answer
		q := fmt.Sprintf("%02d", i)
		cases = append(cases, finetune.Case{ID: q, Question: q, Want: `{"topic": "other", "urgent": false, "question": ""}`, Labels: []evalx.Label{{Name: "of", Value: q}}})
	}
	whole, err := m.Score(t.Context(), task, cases, finetune.ScoreOptions{})
	check(t, err)

	journal := filepath.Join(t.TempDir(), "answers.jsonl")
	ctx, cancel := context.WithCancel(t.Context())
	opts := finetune.ScoreOptions{Journal: journal}
	answered := 0
	opts.OnAnswer = func(int, finetune.Answer) {
		if answered++; answered == 2 {
			cancel()
		}
	}
	part, err := m.Score(ctx, task, cases, opts)
	if !errors.Is(err, context.Canceled) || len(part) < 2 || len(part) == len(whole) {
		t.Fatalf("%d results, %v", len(part), err)
	}
	sorted := func(results []evalx.Result) []evalx.Result {
		return slices.SortedFunc(slices.Values(results), func(a, b evalx.Result) int { return strings.Compare(a.ID, b.ID) })
	}
	if kept := slices.DeleteFunc(slices.Clone(whole), func(r evalx.Result) bool {
		return !slices.ContainsFunc(part, func(p evalx.Result) bool { return p.ID == r.ID })
	}); !reflect.DeepEqual(part, kept) {
		t.Errorf("%+v\nwant %+v", part, kept)
	}
	if _, err := m.Score(t.Context(), task, cases, opts); err == nil || !strings.Contains(err.Error(), "interrupted run") {
		t.Errorf("%v", err)
	}
	opts.Resume = true
	free := opts
	var asked []int
	opts.OnAnswer = func(i int, _ finetune.Answer) { asked = append(asked, i) }
	again, err := m.Score(t.Context(), task, cases, opts)
	check(t, err)
	if !reflect.DeepEqual(again, whole) || len(asked) != len(cases)-len(part) {
		t.Errorf("asked %v\n%+v\nwant %+v", asked, again, whole)
	}

	free.Unconstrained = true
	if _, err := m.Score(t.Context(), task, cases, free); err == nil || !strings.Contains(err.Error(), "other constrained") {
		t.Errorf("%v", err)
	}
	if _, err := m.Score(t.Context(), task, cases[1:], opts); err == nil || !strings.Contains(err.Error(), "other questions") {
		t.Errorf("%v", err)
	}

	// The journal is a file of answers as others write them, too.
	read, err := finetune.ScoreFile(journal, task, cases)
	check(t, err)
	if !reflect.DeepEqual(sorted(read.Results), whole) || read.Unanswered != nil || read.Constrained == nil || !*read.Constrained {
		t.Errorf("%+v", read)
	}
}

func TestScoreRefuses(t *testing.T) {
	base := salamandratest.Reference(t, "models", "tiny-mha")
	c := contract(t, base)
	m, _ := open(t, copyDir(t, base, &c), finetune.Options{})
	task, err := evalx.NewTask(evalx.TaskOptions{Schema: schemaOf(t, ticketSchema)})
	check(t, err)
	const want = `{"topic": "other", "urgent": false, "question": ""}`
	for _, row := range []struct {
		cases []finetune.Case
		want  string
	}{
		{[]finetune.Case{{ID: "a", Question: "q", Want: `{"topic": "moon"}`}}, "1 of 1 wanted answers do not comply"},
		{[]finetune.Case{{ID: "a", Question: "q", Want: `{`}}, "the wanted answer is not JSON"},
		{[]finetune.Case{{ID: "a", System: "Sort the ticket.", Question: "q", Want: want}, {ID: "b", System: "Be brief.", Question: "q", Want: want}},
			"1 of 2 questions have another system prompt than the model was trained with: b"},
	} {
		if _, err := m.Score(t.Context(), task, row.cases, finetune.ScoreOptions{}); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%v: want %s", err, row.want)
		}
	}
}

func TestScoreFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "answers.jsonl")
	task := evalx.Task{Fields: []evalx.Field{{Path: "n"}}}
	cases := []finetune.Case{{ID: "T1", Question: "q1", Want: `{"n": 1}`}, {ID: "T2", Question: "q2", Want: `{"n": 2}`}, {ID: "T3", Question: "q3", Want: `{"n": 3}`}}
	check(t, os.WriteFile(path, []byte(`{"id": "P1", "test_id": "T1", "response": "{\"n\": 1.0}"}`+"\n"+`{"id": "T2", "response": "?"}`+"\n"+`{"id": "P2", "test_id": "T1", "response": "{}"}`+"\n"), 0o600))
	scores, err := finetune.ScoreFile(path, task, cases)
	check(t, err)
	results := scores.Results
	if len(results) != 3 || results[0].ID != "P1" || results[0].QuestionID != "T1" || results[0].Question != "q1" || !results[0].Passed || results[1].ValidJSON() || results[2].Passed {
		t.Errorf("%+v", results)
	}
	if !reflect.DeepEqual(scores.Unanswered, []string{"T3"}) || scores.Constrained != nil {
		t.Errorf("%+v", scores)
	}
	if _, err := finetune.ScoreFile(path, task, cases[1:]); err == nil || !strings.Contains(err.Error(), "has answers to questions that there are not: T1, T1") {
		t.Errorf("%v", err)
	}
	if _, err := finetune.ScoreFile(path+"x", task, cases); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}
