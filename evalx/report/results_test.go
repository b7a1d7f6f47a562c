package report

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/impulse-salamandra/finetune/evalx"
)

// What is written and read back is written with the same bytes.
func TestReadJSON(t *testing.T) {
	task := evalx.Task{
		Schema:  mustSchema(t, `{"required":["year"]}`),
		Fields:  []evalx.Field{{Path: "year"}, {Name: "topic", Path: "semantic_query"}},
		Groups:  []evalx.Group{evalx.GroupBy("language", "lang")},
		Classes: []evalx.Class{{Name: "wrong_year", Severity: "critical", Find: wrongYear}},
	}
	var results []evalx.Result
	for _, answer := range []string{`{"year":1.50,"semantic_query":"<a>&\u2028"}`, `{"year":null}`, `{}`, `{"a":NaN}`, ``} {
		results = append(results, task.Score(map[string]any{"year": "2023", "lang": "CA", "semantic_query": nil}, answer))
	}
	results = append(results, evalx.Task{Read: func(string) (evalx.Value, error) { return nil, errBroken }}.Score(nil, "x"))
	var first, second bytes.Buffer
	if err := WriteJSON(&first, Run{Task: "years", Constrained: new(false), Comparators: map[string]string{"year": "exact"}, Results: results}); err != nil {
		t.Fatal(err)
	}
	read, err := ReadJSON("results.json", first.Bytes())
	if err != nil || read.Task != "years" || read.Name != "results.json" || *read.Constrained {
		t.Fatalf("%+v, %v", read, err)
	}
	if err := WriteJSON(&second, read); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(first.String(), second.String()); diff != "" {
		t.Errorf("(-first +second)\n%s", diff)
	}
	for i, r := range read.Results {
		if diff := cmp.Diff(fmt.Sprint(results[i].ParseError), fmt.Sprint(r.ParseError)); diff != "" {
			t.Errorf("(-written +read)\n%s", diff)
		}
	}
	if read.Results[5].ParseError == nil || read.Results[5].ParseError.Error() != "broken" {
		t.Errorf("%v", read.Results[5].ParseError)
	}
}

func TestReadJSONRefuses(t *testing.T) {
	for _, tt := range []struct{ name, data, want string }{
		{"no JSON", `{"version":`, "x.json: not a file of results: not JSON at byte 11"},
		{"version", `{"version":2,"results":[]}`, "version 2, want 1"},
		{"other file", `[]`, "the whole is array"},
		{"two values", `{"version":1}{}`, "not JSON at byte 14"},
		{"a field of another kind", `{"version":1,"results":[{"id":7}]}`, "results.id is number"},
		{"no results", `{"version":1}`, "no list of results"},
		{"bad value", `{"version":1,"results":[{"want":1e99999}]}`, "bad number"},
	} {
		if _, err := ReadJSON("x.json", []byte(tt.data)); err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "x.json: ") {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.want)
		}
	}
}

func TestWriteTSV(t *testing.T) {
	task := evalx.Task{
		Schema:  anything,
		Fields:  []evalx.Field{{Path: "year"}, {Name: "topic", Path: "a"}},
		Groups:  []evalx.Group{evalx.GroupBy("language", "lang")},
		Classes: []evalx.Class{{Name: "wrong_year", Severity: "minor", Find: wrongYear}},
	}
	want := map[string]any{"year": "2023", "lang": "=CA", "a": nil}
	var results []evalx.Result
	for _, answer := range []string{`{"year":"2023","a":null}`, "=cmd|'/C calc'\t\"q\"\n", `{"a":null}`} {
		results = append(results, task.Score(want, answer))
	}
	results[0].ID = "@id"
	var b strings.Builder
	if err := WriteTSV(&b, Run{Constrained: new(true), Results: results}); err != nil {
		t.Fatal(err)
	}
	const table = "id\tlanguage\tconstrained\tvalid_json\tschema_compliant\tyear\ttopic\tall_correct\tpassed\terrors\tanswer\r\n" +
		"'@id\t'=CA\t1\t1\t1\t1\t1\t1\t1\t\t\"{\"\"year\"\":\"\"2023\"\",\"\"a\"\":null}\"\r\n" +
		"\t'=CA\t1\t0\t0\t0\t0\t0\t0\t\t\"'=cmd|'/C calc'\t\"\"q\"\"\r\n\"\r\n" +
		"\t'=CA\t1\t1\t1\t0\t1\t0\t0\tminor.wrong_year\t\"{\"\"a\"\":null}\"\r\n"
	if diff := cmp.Diff(table, b.String()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if err := WriteTSV(brokenWriter{}, Run{Results: results}); !errors.Is(err, errBroken) {
		t.Errorf("%v", err)
	}
}

// FuzzReadJSON: what is read is written and read again as the same.
func FuzzReadJSON(f *testing.F) {
	var b bytes.Buffer
	if err := WriteJSON(&b, Run{Task: "years", Constrained: new(true), Comparators: map[string]string{"": "exact"}, Results: passes("CA", 1, 2)}); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte(`{"version": 1, "results": [{"parse_error": {"offset": -1, "message": "x"}, "fields": [{"path": "a", "got": null}], "want": 1e5}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		read, err := ReadJSON("f", data)
		if err != nil {
			return
		}
		var first, second, page bytes.Buffer
		if err := WriteJSON(&first, read); err != nil {
			t.Fatal(err)
		}
		again, err := ReadJSON("f", first.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if err := WriteJSON(&second, again); err != nil || first.String() != second.String() {
			t.Fatalf("%v\n%s\n%s", err, first.String(), second.String())
		}
		if err := WriteHTML(&page, "f", read, again); err != nil {
			t.Fatal(err)
		}
	})
}
