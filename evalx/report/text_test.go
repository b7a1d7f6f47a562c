package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/impulse-salamandra/finetune/evalx"
	"github.com/impulse-salamandra/finetune/internal/page"
)

// anything is a schema that every value complies with.
var anything, _ = evalx.CompileSchema("anything", []byte("{}"))

// passes returns results of which the first right ones have passed.
func passes(language string, right, total int) []evalx.Result {
	task := evalx.Task{Schema: anything, Fields: []evalx.Field{{Path: "year"}}, Groups: []evalx.Group{{Name: "language", Of: func(evalx.Value) string { return language }}}}
	var results []evalx.Result
	for i := range total {
		answer := `{"year": 2023}`
		if i >= right {
			answer = `{"year": null}`
		}
		results = append(results, task.Score(map[string]any{"year": json.Number("2023")}, answer))
	}
	return results
}

func TestWriteText(t *testing.T) {
	results := append(append(passes("CA", 6, 7), passes("ES", 6, 6)...), passes("EN", 6, 7)...)
	var b strings.Builder
	if err := WriteText(&b, Run{Results: results}); err != nil {
		t.Fatal(err)
	}
	want := `TEST RESULTS SUMMARY
================================================================================
Overall:
  Total tests: 20
  Passed: 18 (90.0%)
  Failed: 2 (10.0%)

By language:
  CA: 6/7 (85.7%)
  EN: 6/7 (85.7%)
  ES: 6/6 (100.0%)

Rates (95% interval):
  JSON validity: 20/20 (100.0%), 83.9% to 100.0%
  Schema compliance: 20/20 (100.0%), 83.9% to 100.0%
  All fields correct: 18/20 (90.0%), 69.9% to 97.2%
  Fields correct: 18/20 (90.0%), 69.9% to 97.2%

By field:
  year: 18/20 (90.0%), precision 18/18 (100.0%), recall 18/20 (90.0%), F1 94.7%
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// Runs of the same questions stand side by side, a line that only one has too.
func TestWriteTextColumns(t *testing.T) {
	kept, free := passes("CA", 2, 3), passes("CA", 1, 3)
	free[0].Errors = []evalx.Finding{{Class: "invalid_json"}}
	var b strings.Builder
	if err := WriteText(&b, Run{Constrained: new(true), Results: kept}, Run{Constrained: new(false), Results: free}, Run{Name: "else", Results: kept}); err != nil {
		t.Fatal(err)
	}
	want := `TEST RESULTS SUMMARY
================================================================================
                      kept to the schema             free                           else
  Total tests         3                              3                              3
  Passed              2/3 (66.7%), 20.8% to 93.9%    1/3 (33.3%), 6.1% to 79.2%     2/3 (66.7%), 20.8% to 93.9%
  JSON validity       3/3 (100.0%), 43.9% to 100.0%  3/3 (100.0%), 43.9% to 100.0%  3/3 (100.0%), 43.9% to 100.0%
  Schema compliance   3/3 (100.0%), 43.9% to 100.0%  3/3 (100.0%), 43.9% to 100.0%  3/3 (100.0%), 43.9% to 100.0%
  All fields correct  2/3 (66.7%), 20.8% to 93.9%    1/3 (33.3%), 6.1% to 79.2%     2/3 (66.7%), 20.8% to 93.9%
  Fields correct      2/3 (66.7%), 20.8% to 93.9%    1/3 (33.3%), 6.1% to 79.2%     2/3 (66.7%), 20.8% to 93.9%
By language:
  CA                  2/3 (66.7%)                    1/3 (33.3%)                    2/3 (66.7%)
By field:
  year                2/3 (66.7%), F1 80.0%          1/3 (33.3%), F1 50.0%          2/3 (66.7%), F1 80.0%
Errors:
  invalid_json                                       1 in 1 answers
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// TestNoSchema: where nothing says what complies, no report speaks of compliance.
func TestNoSchema(t *testing.T) {
	task := evalx.Task{Fields: []evalx.Field{{Path: "year"}}, Groups: []evalx.Group{{Name: "language", Of: func(evalx.Value) string { return "CA" }}}}
	var results []evalx.Result
	for i, answer := range []string{`{"year": 2023}`, "no"} {
		r := task.Score(map[string]any{"year": json.Number("2023")}, answer)
		r.ID = strconv.Itoa(i)
		results = append(results, r)
	}
	run := Run{Results: results}
	var text, columns, page, file, table bytes.Buffer
	for i, err := range []error{WriteText(&text, run), WriteText(&columns, run, run), WriteHTML(&page, "t", run), WriteJSON(&file, run), WriteTSV(&table, run)} {
		if err != nil {
			t.Fatal(i, err)
		}
	}
	for name, got := range map[string]string{"text": text.String(), "columns": columns.String(), "page": strings.ReplaceAll(page.String(), ".schema", "")} {
		if strings.Contains(strings.ToLower(got), "schema") {
			t.Errorf("%s speaks of a schema:\n%s", name, got)
		}
	}
	if n := strings.Count(file.String(), `"schema_compliant": null`); n != 4 {
		t.Errorf("null %d times, want overall, by language and for both answers:\n%s", n, file.String())
	}
	if want := "0\tCA\t\t1\t\t1\t1\t1\t\t"; !strings.Contains(table.String(), want) {
		t.Errorf("%q is not in %q", want, table.String())
	}
	read, err := ReadJSON("x", file.Bytes())
	if err != nil || !read.Results[0].NoSchema {
		t.Errorf("%+v, %v", read, err)
	}
	c, err := evalx.Compare(results, results, 1)
	if err != nil || slices.ContainsFunc(c.Measures, func(m evalx.Measure) bool { return m.Name == "schema_compliant" }) {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestWriteTextOfNothing(t *testing.T) {
	var b strings.Builder
	if err := WriteText(&b, Run{}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Total tests: 0\n  Passed: 0 (n/a)\n  Failed: 0 (n/a)\n", "JSON validity: 0/0 (n/a), 0.0% to 100.0%"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in\n%s", want, b.String())
		}
	}
}

func TestWriteResult(t *testing.T) {
	schema := mustSchema(t, `{"properties":{"year":{"pattern":"^[0-9]+$"}}}`)
	task := evalx.Task{Schema: schema, Fields: []evalx.Field{{Path: "year"}, {Path: "place"}, {}}, Groups: []evalx.Group{evalx.GroupBy("language", "lang"), evalx.GroupBy("type", "kind")}}
	want := mustParse(t, `{"year":">=2018","place":null,"lang":"CA"}`)
	tests := []struct{ name, answer, want, reason string }{
		{"violation", `{"year":">=2018","place":null,"lang":"CA"}`,
			"FAILED T1 (language CA, type (none))\n  schema: /year: pattern: \">=2018\" does not match ^[0-9]+$\n", "one line for one fault"},
		{"wrong", `{"year":"2018"}`,
			"FAILED T1 (language CA, type (none))\n  year: want \">=2018\", got \"2018\"\n  place: want null, got nothing\n" +
				"  (whole answer): want {\"lang\":\"CA\",\"place\":null,\"year\":\">=2018\"}, got {\"year\":\"2018\"}\n", "null and nothing differ, > is not escaped"},
		{"unreadable", "{\n  year",
			"FAILED T1 (language CA, type (none))\n  answer, line 2, column 3: syntax error: unexpected 'y', want a key in double quotes\n", "fields are not listed: none was there"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := task.Score(want, tt.answer)
			r.ID = "T1"
			var b strings.Builder
			if err := WriteResult(&b, r); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, b.String()); diff != "" {
				t.Errorf("(-want +got)\n%s%s", diff, tt.reason)
			}
		})
	}
	var b strings.Builder
	if err := WriteResult(&b, evalx.Result{Passed: true}); err != nil || b.String() != "PASSED - ()\n" {
		t.Errorf("%q, %v", b.String(), err)
	}
}

// Nothing that comes from questions or answers acts on the terminal or begins a
// line of its own.
func TestTextIsHarmless(t *testing.T) {
	const evil = "\x1b[2J\r\n\x07\u009b31m\u202eabc\u2028\u200b\x7f\xff"
	task := evalx.Task{
		Schema: mustSchema(t, `{"properties":{"a":{"pattern":"^x$"}},"additionalProperties":false}`),
		Fields: []evalx.Field{{Path: "a"}},
		Groups: []evalx.Group{{Name: "type", Of: func(evalx.Value) string { return evil }}},
	}
	valid := strings.ToValidUTF8(evil, "")
	answers := []string{evil, marshal(t, map[string]any{"a": valid, valid: 1}), `"` + evil}
	var results []evalx.Result
	var text strings.Builder
	for _, answer := range answers {
		r := task.Score(map[string]any{"a": valid}, answer)
		r.ID = evil
		results = append(results, r)
		if err := WriteResult(&text, r); err != nil {
			t.Fatal(err)
		}
	}
	if err := WriteText(&text, Run{Results: results}); err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(text.String(), "\n") {
		if strings.ContainsAny(line, "\x1b\r\x07\u009b\u202e\u2028\u200b\x7f") || strings.Contains(line, "\xff") {
			t.Errorf("%q", line)
		}
		if strings.HasPrefix(line, "abc") || strings.HasPrefix(line, "[2J") {
			t.Errorf("a line break got through: %q", line)
		}
	}
	if want := `  \x1b[2J\r\n\a\u009b31m\u202eabc\u2028\u200b\x7f\xff: 0/3 (0.0%)`; !strings.Contains(text.String(), want) {
		t.Errorf("%s\nis not in\n%s", want, text.String())
	}
	if got := page.Printable("projectes d'energia, ñ, 能, 😀 \ufffd"); got != "projectes d'energia, ñ, 能, 😀 \ufffd" {
		t.Errorf("ordinary text was escaped: %q", got)
	}
}

type brokenWriter struct{}

var errBroken = errors.New("broken")

func (brokenWriter) Write([]byte) (int, error) { return 0, errBroken }

func TestWriteErrors(t *testing.T) {
	if err := WriteText(brokenWriter{}, Run{}); !errors.Is(err, errBroken) {
		t.Errorf("WriteText: %v", err)
	}
	if err := WriteResult(brokenWriter{}, evalx.Result{}); !errors.Is(err, errBroken) {
		t.Errorf("WriteResult: %v", err)
	}
	if err := WriteJSON(brokenWriter{}, Run{}); !errors.Is(err, errBroken) {
		t.Errorf("WriteJSON: %v", err)
	}
	var b bytes.Buffer
	results := []evalx.Result{{Fields: []evalx.FieldResult{{Want: func() {}}}}}
	if err := WriteJSON(&b, Run{Results: results}); err == nil || b.Len() != 0 {
		t.Errorf("a wanted value that is not JSON: %v, %d bytes written", err, b.Len())
	}
}

const wantResults = `{
  "version": 1,
  "task": "year",
  "constrained": true,
  "summary": {
    "overall": {
      "passed": {"count": 1, "total": 3, "share": 0.333333, "low": 0.061492, "high": 0.79234},
      "valid_json": {"count": 2, "total": 3, "share": 0.666667, "low": 0.20766, "high": 0.938508},
      "schema_compliant": {"count": 1, "total": 3, "share": 0.333333, "low": 0.061492, "high": 0.79234},
      "all_correct": {"count": 1, "total": 3, "share": 0.333333, "low": 0.061492, "high": 0.79234},
      "fields_correct": {"count": 1, "total": 3, "share": 0.333333, "low": 0.061492, "high": 0.79234}
    },
    "groups": [{"name": "language", "values": [{
      "value": "CA",
      "passed": {"count": 1, "total": 3, "share": 0.333333, "low": 0.061492, "high": 0.79234},
      "valid_json": {"count": 2, "total": 3, "share": 0.666667, "low": 0.20766, "high": 0.938508},
      "schema_compliant": {"count": 1, "total": 3, "share": 0.333333, "low": 0.061492, "high": 0.79234},
      "all_correct": {"count": 1, "total": 3, "share": 0.333333, "low": 0.061492, "high": 0.79234},
      "fields_correct": {"count": 1, "total": 3, "share": 0.333333, "low": 0.061492, "high": 0.79234}
    }]}],
    "fields": [{
      "path": "year",
      "correct": {"count": 1, "total": 3, "share": 0.333333, "low": 0.061492, "high": 0.79234},
      "expected": 0, "given": 0, "right": 0, "precision": null, "recall": null, "f1": null
    }], "errors": []
  },
  "results": [
    {
      "id": "T1", "groups": [{"name": "language", "value": "CA"}],
      "passed": true, "valid_json": true, "schema_compliant": true, "all_correct": true,
      "violations": [], "fields": [{"path": "year", "want": null, "got": null, "correct": true}],
      "errors": [], "want": {"year": null}, "answer": "{\"year\":null, \"x\": \"<a>=2018\"}"
    },
    {
      "id": "T2", "groups": [{"name": "language", "value": "CA"}],
      "passed": false, "valid_json": true, "schema_compliant": false, "all_correct": false,
      "violations": [{"path": "/year", "keyword": "required", "message": "missing"}],
      "fields": [{"path": "year", "want": null, "correct": false}],
      "errors": [], "want": {"year": null}, "answer": "{}"
    },
    {
      "id": "T3", "groups": [{"name": "language", "value": "CA"}],
      "passed": false, "valid_json": false, "schema_compliant": false, "all_correct": false,
      "parse_error": {"offset": 2, "line": 2, "column": 1, "message": "answer ends too early: want a key in double quotes"},
      "violations": [], "fields": [{"path": "year", "want": null, "correct": false}],
      "errors": [], "want": {"year": null}, "answer": "{\n"
    }
  ]
}`

func TestWriteJSON(t *testing.T) {
	task := evalx.Task{
		Name:   "year",
		Schema: mustSchema(t, `{"required":["year"]}`),
		Fields: []evalx.Field{{Path: "year"}},
		Groups: []evalx.Group{{Name: "language", Of: func(evalx.Value) string { return "CA" }}},
	}
	var results []evalx.Result
	for i, answer := range []string{`{"year":null, "x": "<a>=2018"}`, `{}`, "{\n"} {
		r := task.Score(map[string]any{"year": nil}, answer)
		r.ID = "T" + string(rune('1'+i))
		results = append(results, r)
	}
	var b, again, want bytes.Buffer
	if err := WriteJSON(&b, Run{Task: task.Name, Constrained: new(true), Results: results}); err != nil {
		t.Fatal(err)
	}
	if err := json.Indent(&want, []byte(wantResults), "", "  "); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.String()+"\n", b.String()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if err := WriteJSON(&again, Run{Task: task.Name, Constrained: new(true), Results: results}); err != nil || !bytes.Equal(b.Bytes(), again.Bytes()) {
		t.Errorf("a second time differs, %v", err)
	}
}

func TestWriteJSONOfOtherErrors(t *testing.T) {
	task := evalx.Task{Read: func(string) (evalx.Value, error) { return nil, errBroken }}
	var b strings.Builder
	if err := WriteJSON(&b, Run{Results: []evalx.Result{task.Score(nil, "x\xff")}}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"offset": -1,`, `"message": "broken"`, "\"answer\": \"x\ufffd\"", `"groups": []`, `"share": null`} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%s is not in\n%s", want, b.String())
		}
	}
	if _, err := evalx.Parse(b.String()); err != nil {
		t.Error(err)
	}
}

func wrongYear(r evalx.Result, _ evalx.Value) []string {
	if f, _ := r.Field("year"); r.ParseError == nil && !f.Correct {
		return []string{""}
	}
	return nil
}

func mustSchema(t testing.TB, text string) *evalx.Schema {
	t.Helper()
	s, err := evalx.CompileSchema("test", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustParse(t testing.TB, text string) evalx.Value {
	t.Helper()
	v, err := evalx.Parse(text)
	if err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return v
}

func marshal(t testing.TB, v evalx.Value) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
