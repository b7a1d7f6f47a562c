package impulse

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/dataset/impulse"
	"github.com/impulse-salamandra/finetune/evalx"
	"github.com/impulse-salamandra/finetune/evalx/report"
)

// query is a wanted or given value with one part replaced, written as
// "path=json"; "path=" removes the part.
func query(t testing.TB, changes ...string) map[string]any {
	t.Helper()
	v, err := evalx.Parse(`{"doc_type": "projects",
		"filters": {"programme": null, "funding_level": null, "year": null, "location": null, "location_level": null},
		"organisations": [], "semantic_query": "grafeno", "query_rewrite": "Lista de proyectos sobre grafeno",
		"meta": {"lang": "ES", "original_query": "grafeno", "notes": null}}`)
	require.NoError(t, err)
	for _, change := range changes {
		path, text, _ := strings.Cut(change, "=")
		object, key := v.(map[string]any), path
		if parent, last, nested := strings.Cut(path, "."); nested {
			object, key = object[parent].(map[string]any), last
		}
		if text == "" {
			delete(object, key)
			continue
		}
		object[key], err = evalx.Parse(text)
		require.NoError(t, err, change)
	}
	return v.(map[string]any)
}

func asJSON(t testing.TB, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	require.NoError(t, err)
	return string(data)
}

// Each difference that the package documents, with its example: whether a field
// is right by the published and by the standard rules.
func TestRuleSetsDiffer(t *testing.T) {
	published, standard := goldenRules(t, Published), goldenRules(t, Standard)
	organisation := func(kind, name, place string) string {
		return fmt.Sprintf(`{"type": %s, "name": %s, "location": %s, "location_level": null}`, kind, name, place)
	}
	ub, upc := organisation(`"university"`, `"UB"`, `null`), organisation(`"university"`, `"UPC"`, `null`)
	for _, row := range []struct {
		name, want, got     string
		label               string // of the field, in published rules
		published, standard bool
	}{
		{"year as a number", `filters.year="2023"`, `filters.year=2023.0`, "filters.year", false, true},
		{"year as a whole number", `filters.year="2023"`, `filters.year=2023`, "filters.year", true, true},
		{"another sign", `filters.year=">=2020"`, `filters.year="≥2020"`, "filters.year", false, true},
		{"a blank", `filters.year=">=2020"`, `filters.year=">= 2020"`, "filters.year", false, true},
		{"the same years", `filters.year=">=2020"`, `filters.year=">2019"`, "filters.year", false, true},
		{"other years", `filters.year=">=2020"`, `filters.year="2020"`, "filters.year", false, false},
		{"en dash", `filters.year="2018-2020"`, `filters.year="2018–2020"`, "filters.year", false, true},
		{"the text None", `filters.year=null`, `filters.year="None"`, "filters.year", true, false},
		{"invented year", `filters.year=null`, `filters.year="2023"`, "filters.year", false, false},
		{"empty text", `filters.programme=null`, `filters.programme=""`, "filters.programme", true, false},
		{"missing key", `filters.programme=null`, `filters.programme=`, "filters.programme", true, false},
		{"accents", `filters.location="Andalucía"`, `filters.location="Andalucia"`, "filters.location", false, true},
		{"decomposed", `filters.location="Andalucía"`, `filters.location="Andaluci\u0301a"`, "filters.location", false, true},
		{"inner blanks", `filters.programme="Horizon 2020"`, `filters.programme="Horizon  2020"`, "filters.programme", false, true},
		{"equivalent", `filters.programme="Horizon 2020"`, `filters.programme="H2020"`, "filters.programme", true, true},
		{"order", `organisations=[` + ub + `,` + upc + `]`, `organisations=[` + upc + `,` + ub + `]`, "organisations_exact", false, true},
		{"no name", `organisations=[` + organisation(`"company"`, `null`, `"France"`) + `]`,
			`organisations=[` + organisation(`"hospital"`, `null`, `"Madrid"`) + `]`, "organisations_relaxed", true, false},
		{"one twice", `organisations=[` + ub + `,` + upc + `]`, `organisations=[` + ub + `,` + ub + `]`, "organisations_exact", false, false},
		{"most words", `semantic_query="cancer treatment in children"`, `semantic_query="cancer treatment in adults"`, "semantic_query", true, false},
		{"without", `semantic_query="robots with human help"`, `semantic_query="robots without human help"`, "semantic_query", true, false},
		{"word order", `semantic_query="solar energy"`, `semantic_query="energy, solar"`, "semantic_query", false, true},
		{"Spanish sobre", `meta.lang="ES"`, `query_rewrite="Lista de proyectos sobre energía solar"`, "language", false, true},
		{"Spanish in-", `meta.lang="ES"`, `query_rewrite="Lista de proyectos sobre inteligencia artificial"`, "language", false, true},
		{"unknown", `meta.lang="ES"`, `query_rewrite="CRISPR"`, "language", false, true},
		{"another language", `meta.lang="ES"`, `query_rewrite="List of projects on graphene"`, "language", false, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			want, answer := query(t, row.want), asJSON(t, query(t, row.want, row.got))
			f, ok := published.Score(want, answer).Field(row.label)
			require.True(t, ok)
			require.Equal(t, row.published, f.Correct, "published")
			label, _, _ := strings.Cut(row.label, "_exact")
			label, _, _ = strings.Cut(label, "_relaxed")
			f, ok = standard.Score(want, answer).Field(label)
			require.True(t, ok)
			require.Equal(t, row.standard, f.Correct, "standard")
		})
	}
}

func TestWholeAnswersDiffer(t *testing.T) {
	published, standard := goldenRules(t, Published), goldenRules(t, Standard)
	want := query(t, `meta.lang="EN"`, `query_rewrite="List of projects on graphene"`)
	good := asJSON(t, want)
	for _, row := range []struct {
		name, answer        string
		published, standard bool // passed
	}{
		{"good", good, true, true},
		{"fence", "```json\n" + good + "\n```", true, false},
		{"doc_type", strings.Replace(good, `"projects"`, `"people"`, 1), true, false},
		{"meta.lang", strings.Replace(good, `"lang":"EN"`, `"lang":"CA"`, 1), true, false},
		{"a key too many", strings.Replace(good, `{`, `{"x":1,`, 1), true, false},
		{"key twice", strings.Replace(good, `{`, `{"doc_type":"x",`, 1), true, false},
		{"none", "Sorry, no idea.", false, false},
	} {
		require.Equal(t, row.published, published.Score(want, row.answer).Passed, "%s, published", row.name)
		require.Equal(t, row.standard, standard.Score(want, row.answer).Passed, "%s, standard", row.name)
	}
	none := standard.Score(want, "Sorry, no idea.")
	for _, f := range none.Fields {
		require.False(t, f.Correct, f.Name)
	}
	empty := published.Score(want, "Sorry, no idea.")
	require.False(t, empty.ValidJSON())
	f, _ := empty.Field("filters.programme")
	require.True(t, f.Correct, "the published score of an empty answer")
}

func TestStandardClasses(t *testing.T) {
	standard := goldenRules(t, Standard)
	const ub = `{"type": "university", "name": "UB", "location": null, "location_level": null}`
	for _, row := range []struct {
		name, want, got string
		errors          []string
	}{
		{"invented", `filters.year=null`, `filters.year="2023"`, []string{"critical.invented_filter:filters.year"}},
		{"place", `filters.location="Italy"`, `filters.location="France"`, []string{"moderate.wrong_location"}},
		{"leak inside a word", `filters.programme="ERC"`, `semantic_query="grafeno comercial"`, []string{"moderate.wrong_semantic_query"}},
		{"leak", `filters.programme="Horizon 2020"`, `semantic_query="grafeno h2020"`, []string{"moderate.extra_filter_in_semantic:programme", "moderate.wrong_semantic_query"}},
		{"kind of organisation", `organisations=[` + ub + `]`, `organisations=[` + strings.Replace(ub, "university", "company", 1) + `]`, []string{"minor.org_type_mismatch"}},
		{"organisation", `organisations=[` + ub + `]`, `organisations=[` + strings.Replace(ub, "UB", "UPC", 1) + `]`, []string{"critical.wrong_organisations"}},
		{"organisations null", `organisations=[]`, `organisations=null`, []string{"critical.wrong_organisations"}},
		{"language", `meta.lang="ES"`, `query_rewrite="List of projects on graphene"`, []string{"moderate.language_mismatch"}},
	} {
		var got []string
		for _, e := range standard.Score(query(t, row.want), asJSON(t, query(t, row.want, row.got))).Errors {
			got = append(got, e.String())
		}
		require.Equal(t, row.errors, got, row.name)
	}
	r := standard.Score(query(t), "{")
	require.Equal(t, []evalx.Finding{{Severity: "critical", Class: "invalid_json"}}, r.Errors, "the rest follows from it")
}

// Annotations given as answers are right by the standard rules in every part;
// by the published ones, 18 of 100 fail for their language.
func TestAnnotationsAsAnswers(t *testing.T) {
	published, standard := goldenRules(t, Published), goldenRules(t, Standard)
	batches, err := impulse.ReadFiles(t.Context(), []string{filepath.Join(scoresDir(), "test_set.json")}, impulse.Options{})
	if os.Getenv("IMPULSE_SCORES") != "" && err != nil {
		batches, err = impulse.ReadFiles(t.Context(), []string{filepath.Join(scoresDir(), "..", "test_set.json")}, impulse.Options{})
	}
	require.NoError(t, err)
	for _, r := range batches.Records {
		want, err := evalx.Parse(r.Answer)
		require.NoError(t, err)
		require.True(t, standard.Score(want, r.Answer).Passed, r.ID)
		result := published.Score(want, r.Answer)
		require.True(t, result.Passed, r.ID)
		language, _ := result.Field("language") // guessed from the text, which can be too short
		require.Equal(t, language.Correct, result.AllCorrect, r.ID)
		for _, f := range result.Fields {
			require.True(t, f.Correct || f.Name == "language", "%s: %s", r.ID, f.Name)
		}
	}
}

func TestParseYears(t *testing.T) {
	for _, row := range []struct {
		a, b string // JSON
		same bool
	}{
		{`"2023"`, `2023`, true}, {`"2023"`, `" 2023 "`, true}, {`"2023"`, `"=2023"`, true}, {`"2020-2020"`, `"2020"`, true},
		{`"<=2019"`, `"<2020"`, true}, {`"≤2019"`, `"=< 2019"`, true}, {`"2018-2020"`, `"2018 — 2020"`, true},
		{`"2018-2020"`, `"2020-2018"`, false}, {`">=2018-2020"`, `"2018-2020"`, false}, {`"2023"`, `"23"`, false}, {`"2023"`, `"+2023"`, false},
		{`"2023"`, `2023.5`, false}, {`"2023"`, `1e9999`, false}, {`"2023"`, `[2023]`, false}, {`null`, `null`, true}, {`null`, `2023`, false},
		{`"soon"`, `"soon"`, true}, {`"soon"`, `"Soon"`, false}, {`">>2020"`, `">2020"`, false}, {`""`, `null`, false}, {`"２０２３"`, `"2023"`, false},
	} {
		a, err := evalx.Parse(row.a)
		require.NoError(t, err)
		b, err := evalx.Parse(row.b)
		require.NoError(t, err)
		require.Equal(t, row.same, sameYears(a, b), "%s and %s", row.a, row.b)
		require.Equal(t, row.same, sameYears(b, a), "%s and %s", row.b, row.a)
	}
}

// What does not fit a rule set is refused, all of it at once.
func TestRulesRefuse(t *testing.T) {
	own := []byte(`{"type": "object", "properties": {"topic": {"type": "string"}}}`)
	current := impulse.Schema(impulse.Current)
	for _, row := range []struct {
		name string
		opts Options
		want []string
	}{
		{"strict", Options{Schema: current}, []string{`rules "strict", want auto, generic or impulse-published and standard`}},
		{Standard, Options{Schema: own, Comparators: []byte(`{}`), Equivalences: "none"}, []string{
			"comparators are for the rules generic", "the rules standard are for IMPULSE's answers, and the schema is of others: use generic", "equivalence sets: open none"}},
		{Standard, Options{}, []string{"for IMPULSE's answers"}},
		{Published, Options{Schema: own}, []string{"for IMPULSE's answers"}},
		{Generic, Options{Schema: own, Equivalences: "none"}, []string{"equivalence sets are for the rules impulse-published and standard"}},
		{"auto", Options{Schema: own, Comparators: []byte(`{"topci": "exact"}`)}, []string{"topci: no answer has this path"}},
		{"auto", Options{Schema: []byte(`{"type": 1}`)}, []string{"schema of the answers"}},
	} {
		_, err := New(row.name, row.opts)
		for _, want := range row.want {
			require.ErrorContains(t, err, want, row.name)
		}
	}
}

// The rules without a name are IMPULSE's for its schemas, whatever their layout,
// and generic for all others.
func TestAutomaticRules(t *testing.T) {
	var compact bytes.Buffer
	require.NoError(t, json.Compact(&compact, impulse.Schema(impulse.V1)))
	for _, row := range []struct{ schema, want string }{
		{string(impulse.Schema(impulse.Current)), Standard}, {compact.String(), Standard}, {"", Generic}, {`{"type": "object"}`, Generic},
		{strings.Replace(string(impulse.Schema(impulse.Current)), `"CA"`, `"OC"`, 1), Generic},
	} {
		opts := Options{Schema: []byte(row.schema)}
		if row.schema == "" {
			opts.Schema = nil
		}
		task, err := New("auto", opts)
		require.NoError(t, err)
		require.Equal(t, row.want, task.Name, row.schema)
	}
}

func TestTables(t *testing.T) {
	r := goldenRules(t, Published)
	result := r.Score(query(t), "")
	result.ID = `=HYPERLINK("http://x")`
	var b bytes.Buffer
	require.NoError(t, WriteTable(&b, report.Run{Task: Published, Results: []evalx.Result{result}}))
	require.Contains(t, b.String(), "\r\n'=HYPERLINK", "text, no formula")
	standard := goldenRules(t, Standard)
	b.Reset()
	require.NoError(t, WriteTable(&b, report.Run{Task: Standard, Results: []evalx.Result{standard.Score(query(t), "=1+1")}}))
	require.Contains(t, b.String(), "\tcritical.invalid_json\t'=1+1\r\n")
}

// answersToBreak are answers that readers stumble over.
func answersToBreak(t testing.TB) []string {
	good := asJSON(t, query(t))
	return []string{
		good, "```json\n" + good + "\n```", good + good, good[:len(good)/2], "", "}{", "{", "null", "[]", `{"filters": null}`,
		`{"filters": {"year": NaN}}`, `{"filters": {"year": 1e999999999}}`, `{"filters": {"year": ` + strings.Repeat("9", 5000) + `}}`,
		`{"filters": {"programme": {"value": {}}, "location": {"value": [], "name": 1}}, "organisations": [null, 1, [], {}], "semantic_query": 1, "query_rewrite": []}`,
		`{"a": 1, "a": 2, "filters": {}, "filters": {"year": "\ud800"}}`, "{\"semantic_query\": \"\xff\"}",
		`{"organisations": {}}`, `{"organisations": [{"name": {"a": 1}}]}`, `{"x": ` + strings.Repeat("[", 3000) + strings.Repeat("]", 3000) + `}`,
	}
}

func FuzzScore(f *testing.F) {
	published, standard := goldenRules(f, Published), goldenRules(f, Standard)
	want := query(f, `filters.programme="ERC"`, `filters.location="Italy"`, `organisations=[{"type": null, "name": "UB", "location": null, "location_level": null}]`)
	for _, answer := range answersToBreak(f) {
		f.Add(answer)
	}
	f.Fuzz(func(t *testing.T, answer string) {
		for _, r := range []evalx.Task{published, standard} {
			result := r.Score(want, answer)
			var file, again, page bytes.Buffer
			require.NoError(t, report.WriteJSON(&file, report.Run{Task: r.Name, Results: []evalx.Result{result}}))
			read, err := report.ReadJSON("x", file.Bytes())
			require.NoError(t, err, "what was saved can be read")
			require.NoError(t, report.WriteJSON(&again, read))
			require.Equal(t, file.String(), again.String())
			require.NoError(t, report.WriteHTML(&page, "x", read))
		}
	})
}

// Long answers take time by their length, not by its square.
func TestLargeAnswers(t *testing.T) {
	const size = 1 << 18
	started := time.Now()
	for _, r := range []evalx.Task{goldenRules(t, Published), goldenRules(t, Standard)} {
		for _, part := range []string{"{", "}", "[", `"`, `\`, "{}", `{"a":`, "a ", `{"a":1}`, "9", "d'"} {
			text := strings.Repeat(part, size/len(part))
			for _, answer := range []string{text, "{" + text + "}", `{"x": ` + text + `}`, `{"semantic_query": ` + asJSON(t, text) + `}`} {
				r.Score(query(t), answer)
			}
		}
		many := `{"organisations": [` + strings.TrimSuffix(strings.Repeat("{},", size/3), ",") + `]}`
		r.Score(query(t), many)
	}
	require.Less(t, time.Since(started), time.Minute, "about 25 MB of answers")
}

func BenchmarkScore(b *testing.B) {
	for _, name := range []string{Published, Standard} {
		b.Run(name, func(b *testing.B) {
			r, questions := goldenRules(b, name), scoresQuestions(b)
			lines := jsonLines[answerLine](b, scoresFile(b, "predictions.jsonl"))
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				line := lines[i%len(lines)]
				r.Score(questions[line.TestID], line.Response)
			}
		})
	}
}

// What a run of the answers of real errors looks like; IMPULSE_REPORT names a
// file to keep it in.
func TestReportOfARun(t *testing.T) {
	r := goldenRules(t, Standard)
	lines, results := goldenResults(t, r)
	var run []evalx.Result
	for i, line := range lines {
		if line.Run == "A" {
			run = append(run, results[i])
		}
	}
	var page bytes.Buffer
	require.NoError(t, report.WriteHTML(&page, "run A", report.Run{Task: r.Name, Results: run}))
	require.Contains(t, page.String(), "filters.programme: what was taken for what")
	require.Contains(t, page.String(), `class="query failed unreadable"`)
	if path := os.Getenv("IMPULSE_REPORT"); path != "" {
		require.NoError(t, os.WriteFile(path, page.Bytes(), 0o600))
	}
}
