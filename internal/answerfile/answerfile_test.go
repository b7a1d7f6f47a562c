package answerfile

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestRead(t *testing.T) {
	const lines = `{"id": "P1", "test_id": "T1", "response": "a"}` + "\r\n\n" + `{"test_id": "T2", "response": "\ud800", "other": 1}` + "\n" + `{"id": "P2", "test_id": "T1", "response": ""}`
	got, run, err := Read("p.jsonl", []byte(lines))
	want := []Answer{{"P1", "T1", "a"}, {"T2", "T2", "\ufffd"}, {"P2", "T1", ""}}
	if err != nil || run != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%q, %v, %v; want %q", got, run, err, want)
	}
	const bad = `[]` + "\n" + `{"id": "T1", "response": 1}` + "\n" + `{"id": "T1"}` + "\n" + `{"response": ""}` + "\n" +
		`{"id": "T1", "response": ""}` + "\n" + `{"id": "T1", "response": ""}`
	_, _, err = Read("p.jsonl", []byte(bad))
	for _, want := range []string{
		"p.jsonl:1: not an answer", "p.jsonl:2: not an answer", `p.jsonl:3: not an answer: want its text under "response"`, "p.jsonl:4: not an answer: want the question's id",
		`p.jsonl:6: repeated id: "T1" is in line 5 too`,
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not in %v", want, err)
		}
	}
}

// A journal that ends anywhere is resumed with the answers that were written
// whole, and what is added is as if there had been no interruption.
func TestJournalResumes(t *testing.T) {
	dir := t.TempDir()
	path, run := filepath.Join(dir, "answers.jsonl"), map[string]string{"model": "a", "sampling": "greedy"}
	ids := []string{"one", "two", "\u2028three\""}
	j, err := Open(path, run, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		if err := j.Add(id, "answer\n"+id); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := range len(whole) + 1 {
		if err := os.WriteFile(path, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		j, err := Open(path, run, true)
		if err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		if lines := strings.Count(string(whole[:cut]), "\n"); len(j.Kept()) != max(lines-1, 0) {
			t.Fatalf("cut at %d: %d answers kept of %d lines", cut, len(j.Kept()), lines)
		}
		for _, id := range ids {
			if text, ok := j.Kept()[id]; ok && text != "answer\n"+id {
				t.Fatalf("cut at %d: %q", cut, text)
			} else if !ok {
				if err := j.Add(id, "answer\n"+id); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		if got, _ := os.ReadFile(path); string(got) != string(whole) {
			t.Fatalf("cut at %d: %q\nwant %q", cut, got, whole)
		}
	}
}

func TestJournalRefuses(t *testing.T) {
	dir := t.TempDir()
	path, run := filepath.Join(dir, "answers.jsonl"), map[string]string{"model": "a", "sampling": "greedy", "schema": "s"}
	j, err := Open(path, run, true) // nothing to resume: a new one
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, run, false); !errors.Is(err, ErrExists) || !strings.Contains(err.Error(), path) {
		t.Errorf("%v", err)
	}
	if _, err := Open(path, map[string]string{"model": "b", "sampling": "greedy", "schema": "t"}, true); err == nil || !strings.HasSuffix(err.Error(), ": other model, schema") {
		t.Errorf("%v", err)
	}
	if err := os.WriteFile(path, []byte(`{"id": "a", "response": ""}`+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, run, true); err == nil || !strings.Contains(err.Error(), "does not say how") {
		t.Errorf("%v", err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"run": {"a": "b"}}` + "\n" + `{"id": "a", "response": "b"}`))
	f.Add([]byte(`{"id": "a", "test_id": "c", "response": "\ud800"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		answers, _, err := Read("f", data)
		for _, a := range answers {
			if err != nil || a.ID == "" || a.Question == "" {
				t.Fatalf("%q: %+v, %v", data, a, err)
			}
		}
	})
}
