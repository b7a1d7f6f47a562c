package evalx

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMcNemar(t *testing.T) {
	tests := []struct {
		wins, losses int
		want         float64
		reason       string
	}{
		{0, 0, 1, "no difference seen"},
		{1, 0, 1, "2 * 1/2"},
		{5, 0, 0.0625, "2 / 2^5"},
		{0, 6, 0.03125, "2 / 2^6, either side"},
		{8, 2, 0.109375, "2 * (1+10+45) / 2^10"},
		{5, 5, 1, "even, at most 1"},
		{-1, 6, 0.03125, "negative is 0"},
		{1000, 0, 2 * math.Pow(2, -1000), "no underflow"},
		{5000, 5000, 1, "large and even"},
	}
	for _, tt := range tests {
		got := McNemar(tt.wins, tt.losses)
		if math.Abs(got-tt.want) > 1e-9*tt.want {
			t.Errorf("McNemar(%d, %d) = %g, want %g: %s", tt.wins, tt.losses, got, tt.want, tt.reason)
		}
	}
	// Against the sum of binomial coefficients, exact in float64 up to here.
	for n := 1; n <= 50; n++ {
		coefficient, sum := 1.0, 0.0
		for k := 0; 2*k <= n; k++ {
			sum += coefficient
			coefficient *= float64(n-k) / float64(k+1)
			want := min(1, 2*sum/math.Pow(2, float64(n)))
			if got := McNemar(k, n-k); math.Abs(got-want) > 1e-9 {
				t.Errorf("McNemar(%d, %d) = %g, want %g", k, n-k, got, want)
			}
		}
	}
}

func TestBootstrap(t *testing.T) {
	same := Bootstrap([]float64{1, 1, 1}, 100, 1)
	if same != (Interval{1, 1, 1}) {
		t.Errorf("%v: every resample of equal differences has their mean", same)
	}
	if got := Bootstrap(nil, 100, 1); got != (Interval{}) {
		t.Errorf("%v of nothing", got)
	}
	differences := make([]float64, 400)
	for i := range differences {
		differences[i] = float64(i%4) - 1 // mean 0.5, standard deviation sqrt(1.25)
	}
	got := Bootstrap(differences, 4000, 42)
	half := 1.96 * math.Sqrt(1.25/400)
	if got.Estimate != 0.5 || math.Abs(got.Low-0.5+half) > 0.01 || math.Abs(got.High-0.5-half) > 0.01 {
		t.Errorf("%v, want 0.5 and about %.3f to either side", got, half)
	}
	if again := Bootstrap(differences, 4000, 42); again != got {
		t.Errorf("%v and %v: the seed decides", got, again)
	}
	if other := Bootstrap(differences, 4000, 43); other == got {
		t.Error("another seed gives the same interval")
	}
}

// scored returns results whose years are right where the pattern has a 1.
func scored(pattern string) []Result {
	task := Task{Fields: []Field{{Path: "year"}}}
	var results []Result
	for i, c := range pattern {
		r := task.Score(map[string]any{"year": "2023"}, fmt.Sprintf(`{"year":"%d"}`, 2022+int(c-'0')))
		r.ID = fmt.Sprintf("Q%d", i+1)
		results = append(results, r)
	}
	return results
}

func TestCompare(t *testing.T) {
	a, b := scored("110010"), scored("101011")
	b[0], b[5] = b[5], b[0] // paired by ID, not by place
	c, err := Compare(a, b, DefaultCompareOptions())
	if err != nil {
		t.Fatal(err)
	}
	if c.Questions != 6 || len(c.Measures) != 5 {
		t.Fatalf("%+v", c)
	}
	m := c.Measures[0]
	if m.Name != "passed" || m.A != (Share{3, 6}) || m.B != (Share{4, 6}) || m.P != 1 {
		t.Errorf("%+v", m)
	}
	if diff := cmp.Diff([][]string{{"Q3", "Q6"}, {"Q2"}}, [][]string{m.Wins, m.Losses}); diff != "" {
		t.Errorf("wins and losses of B, (-want +got)\n%s", diff)
	}
	back, err := Compare(b, a, DefaultCompareOptions())
	if err != nil {
		t.Fatal(err)
	}
	if r := back.Measures[0]; len(r.Wins) != len(m.Losses) || r.P != m.P || math.Abs(r.Difference.Estimate+m.Difference.Estimate) > 1e-12 {
		t.Errorf("the other way round: %+v", r)
	}
	if last := c.Measures[4]; last.Name != "field year" || last.B != m.B {
		t.Errorf("%+v", last)
	}
	var text strings.Builder
	if err := WriteComparison(&text, "a.json", "b\x1b.json", c); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`B: b\x1b.json`, "3/6 (50.0%)", "+16.7 (", "B wins (passed): Q3, Q6", "B loses (passed): Q2"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is not in\n%s", want, text.String())
		}
	}
}

func TestCompareRefuses(t *testing.T) {
	other := scored("11")
	other[1].Want = map[string]any{"year": "1999"}
	fields := scored("11")
	fields[0].Fields[0].Path = "place"
	tests := []struct {
		name string
		a, b []Result
		want string
	}{
		{"missing", scored("11"), scored("111"), `only the second has "Q3"`},
		{"missing in the second", scored("111"), scored("1"), `only the first has "Q2"; only the first has "Q3"`},
		{"twice", append(scored("1"), scored("1")...), scored("1"), `the first has "Q1" twice`},
		{"wanted", scored("11"), other, `"Q2": the wanted values differ`},
		{"fields", scored("11"), fields, `"Q1": field 1 is "year" in the first and "place" in the second`},
	}
	for _, tt := range tests {
		_, err := Compare(tt.a, tt.b, DefaultCompareOptions())
		if !errors.Is(err, ErrNotComparable) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.want)
		}
	}
}

// What is written and read back is written with the same bytes.
func TestReadJSON(t *testing.T) {
	task := Task{
		Schema:  mustSchema(t, `{"required":["year"]}`),
		Fields:  []Field{{Path: "year"}, {Name: "topic", Path: "semantic_query"}},
		Groups:  []Group{GroupBy("language", "lang")},
		Classes: []Class{{Name: "wrong_year", Severity: Critical, Find: WrongValue("year")}},
	}
	var results []Result
	for _, answer := range []string{`{"year":1.50,"semantic_query":"<a>&\u2028"}`, `{"year":null}`, `{}`, `{"a":NaN}`, ``} {
		results = append(results, task.Score(map[string]any{"year": "2023", "lang": "CA", "semantic_query": nil}, answer))
	}
	results = append(results, Task{Read: func(string) (Value, error) { return nil, errBroken }}.Score(nil, "x"))
	var first, second bytes.Buffer
	if err := WriteJSON(&first, "years", results); err != nil {
		t.Fatal(err)
	}
	name, read, err := ReadJSON("results.json", first.Bytes())
	if err != nil || name != "years" {
		t.Fatalf("%q, %v", name, err)
	}
	if err := WriteJSON(&second, name, read); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(first.String(), second.String()); diff != "" {
		t.Errorf("(-first +second)\n%s", diff)
	}
	if !errors.Is(read[3].ParseError, ErrNumber) || errors.Is(read[3].ParseError, ErrSyntax) || !errors.Is(read[4].ParseError, ErrEmpty) {
		t.Errorf("causes: %v, %v", read[3].ParseError, read[4].ParseError)
	}
	if read[5].ParseError == nil || read[5].ParseError.Error() != "broken" {
		t.Errorf("%v", read[5].ParseError)
	}
}

func TestReadJSONRefuses(t *testing.T) {
	for _, tt := range []struct{ name, data, want string }{
		{"no JSON", `{"version":`, "unexpected end"},
		{"version", `{"version":2,"results":[]}`, "version 2, want 1"},
		{"other file", `[]`, "cannot unmarshal"},
		{"no results", `{"version":1}`, "no list of results"},
		{"bad value", `{"version":1,"results":[{"want":1e99999}]}`, "bad number"},
	} {
		if _, _, err := ReadJSON("x.json", []byte(tt.data)); !errors.Is(err, ErrResults) || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "x.json") {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.want)
		}
	}
}

func TestSafeCell(t *testing.T) {
	for _, tt := range []struct{ cell, want, reason string }{
		{`=HYPERLINK("http://x","y")`, `'=HYPERLINK("http://x","y")`, "a formula"},
		{"+1+1", "'+1+1", "a formula"},
		{"-5", "-5", "a number"},
		{"-5+A1", "'-5+A1", "no number"},
		{"@SUM(A1)", "'@SUM(A1)", "a formula of old"},
		{" \t\r\n=1", "' \t\r\n=1", "white space in front is cut by programs"},
		{"\ufeff=1", "'\ufeff=1", "so is a mark that does not show"},
		{"＝1", "'＝1", "full width"},
		{"a\x00=1", "a\ufffd=1", "NUL ends a cell"},
		{"2023", "2023", "text"},
		{"", "", "nothing"},
		{"a=b", "a=b", "inside"},
	} {
		if got := SafeCell(tt.cell); got != tt.want {
			t.Errorf("SafeCell(%q) = %q, want %q: %s", tt.cell, got, tt.want, tt.reason)
		}
	}
}

func TestWriteTSV(t *testing.T) {
	task := Task{
		Fields:  []Field{{Path: "year"}, {Name: "topic", Path: "a"}},
		Groups:  []Group{GroupBy("language", "lang")},
		Classes: []Class{{Name: "wrong_year", Severity: Minor, Find: WrongValue("year")}},
	}
	want := map[string]any{"year": "2023", "lang": "=CA", "a": nil}
	var results []Result
	for _, answer := range []string{`{"year":"2023","a":null}`, "=cmd|'/C calc'\t\"q\"\n", `{"a":null}`} {
		results = append(results, task.Score(want, answer))
	}
	results[0].ID = "@id"
	var b strings.Builder
	if err := WriteTSV(&b, results); err != nil {
		t.Fatal(err)
	}
	const table = "id\tlanguage\tvalid_json\tschema_compliant\tyear\ttopic\tall_correct\tpassed\terrors\tanswer\r\n" +
		"'@id\t'=CA\t1\t1\t1\t1\t1\t1\t\t\"{\"\"year\"\":\"\"2023\"\",\"\"a\"\":null}\"\r\n" +
		"\t'=CA\t0\t0\t0\t0\t0\t0\t\t\"'=cmd|'/C calc'\t\"\"q\"\"\r\n\"\r\n" +
		"\t'=CA\t1\t1\t0\t1\t0\t0\tminor.wrong_year\t\"{\"\"a\"\":null}\"\r\n"
	if diff := cmp.Diff(table, b.String()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if err := WriteTSV(brokenWriter{}, results); !errors.Is(err, errBroken) {
		t.Errorf("%v", err)
	}
}
