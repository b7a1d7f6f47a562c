package main

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
	published, standard := goldenRules(t, publishedRules), goldenRules(t, standardRules)
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
			f, ok := published.Task.Score(want, answer).Field(row.label)
			require.True(t, ok)
			require.Equal(t, row.published, f.Correct, "published")
			label, _, _ := strings.Cut(row.label, "_exact")
			label, _, _ = strings.Cut(label, "_relaxed")
			f, ok = standard.Task.Score(want, answer).Field(label)
			require.True(t, ok)
			require.Equal(t, row.standard, f.Correct, "standard")
		})
	}
}

func TestWholeAnswersDiffer(t *testing.T) {
	published, standard := goldenRules(t, publishedRules), goldenRules(t, standardRules)
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
		require.Equal(t, row.published, published.Task.Score(want, row.answer).Passed, "%s, published", row.name)
		require.Equal(t, row.standard, standard.Task.Score(want, row.answer).Passed, "%s, standard", row.name)
	}
	none := standard.Task.Score(want, "Sorry, no idea.")
	for _, f := range none.Fields {
		require.False(t, f.Correct, f.Label())
	}
	empty := published.Task.Score(want, "Sorry, no idea.")
	require.False(t, empty.ValidJSON())
	f, _ := empty.Field("filters.programme")
	require.True(t, f.Correct, "the published score of an empty answer")
}

func TestStandardClasses(t *testing.T) {
	standard := goldenRules(t, standardRules)
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
		for _, e := range standard.Task.Score(query(t, row.want), asJSON(t, query(t, row.want, row.got))).Errors {
			got = append(got, e.String())
		}
		require.Equal(t, row.errors, got, row.name)
	}
	r := standard.Task.Score(query(t), "{")
	require.Equal(t, []evalx.Finding{{Severity: evalx.Critical, Class: "invalid_json"}}, r.Errors, "the rest follows from it")
}

// Annotations given as answers are right by the standard rules in every part;
// by the published ones, 18 of 100 fail for their language.
func TestAnnotationsAsAnswers(t *testing.T) {
	published, standard := goldenRules(t, publishedRules), goldenRules(t, standardRules)
	batches, err := impulse.ReadFiles(t.Context(), []string{filepath.Join(scoresDir(), "test_set.json")}, impulse.Options{})
	if os.Getenv("IMPULSE_SCORES") != "" && err != nil {
		batches, err = impulse.ReadFiles(t.Context(), []string{filepath.Join(scoresDir(), "..", "test_set.json")}, impulse.Options{})
	}
	require.NoError(t, err)
	strict := 0
	for _, r := range batches.Records {
		want, err := evalx.Parse(r.Answer)
		require.NoError(t, err)
		require.True(t, standard.Task.Score(want, r.Answer).Passed, r.ID)
		result := published.Task.Score(want, r.Answer)
		require.True(t, result.Passed, r.ID)
		if result.AllCorrect {
			strict++
		}
	}
	require.Equal(t, 82, strict)
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

func TestReadEquivalences(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	_, err := readEquivalences(dir, publishedNormal)
	require.NoError(t, err, "no files, no sets")
	write("README.txt", "not read")
	write("org_equivalences.json", `{"equivalence_sets": [["UB", ""], "x"]}`)
	write("location_equivalences.json", `{`)
	write("programmes.json", `{}`)
	_, err = readEquivalences(dir, publishedNormal)
	require.ErrorIs(t, err, evalx.ErrEquivalences)
	require.ErrorIs(t, err, errEquivalenceFile)
	for _, part := range []string{"org_equivalences.json", "/equivalence_sets/0/1", "/equivalence_sets/1", "location_equivalences.json", "programmes.json", "want location_equivalences.json, org_"} {
		require.ErrorContains(t, err, part, "every fault of every file")
	}
	_, err = readEquivalences(filepath.Join(dir, "none"), publishedNormal)
	require.ErrorIs(t, err, os.ErrNotExist, "a directory that was asked for")
	_, err = newRules("strict", "", impulse.Schema(impulse.Current), impulse.Current)
	require.EqualError(t, err, `--rules "strict", want standard or impulse-published`)
}

func TestScorePredictions(t *testing.T) {
	standard := goldenRules(t, standardRules)
	records := []impulse.Record{{ID: "T1", Answer: asJSON(t, query(t))}, {ID: "T2", Answer: asJSON(t, query(t))}, {ID: "T3", Answer: asJSON(t, query(t))}}
	lines := `{"id": "P1", "test_id": "T1", "response": ` + asJSON(t, asJSON(t, query(t))) + `}` + "\r\n\n" +
		`{"id": "T2", "response": "\ud800"}` + "\n" + `{"id": "P2", "test_id": "T1", "response": ""}`
	results, unanswered, err := scorePredictions(t.Context(), strings.NewReader(lines), "p.jsonl", records, standard.Task)
	require.NoError(t, err)
	require.Equal(t, []string{"T3"}, unanswered)
	require.Len(t, results, 3)
	require.Equal(t, []string{"P1", "T2", "P2"}, []string{results[0].ID, results[1].ID, results[2].ID})
	require.True(t, results[0].Passed)
	require.False(t, results[1].ValidJSON())
	require.Equal(t, "T1", evalx.Lookup(results[0].Want, "meta.id"), "the question, where the id is another")

	bad := `{"id": "T9", "response": ""}` + "\n" + `[]` + "\n" + `{"id": "T1", "response": 1}` + "\n" + `{"id": "T1"}` + "\n" + `{"response": ""}` + "\n" +
		`{"id": "T1", "response": ""}` + "\n" + `{"id": "T1", "response": ""}`
	_, _, err = scorePredictions(t.Context(), strings.NewReader(bad), "p.jsonl", records, standard.Task)
	require.ErrorIs(t, err, errPredictionLine)
	require.ErrorIs(t, err, errPredictionUnknown)
	require.ErrorIs(t, err, errPredictionRepeated)
	for _, part := range []string{`p.jsonl:1: no such question: "T9"`, "p.jsonl:2:", "p.jsonl:3:", `p.jsonl:4: not a prediction: want the answer as text under "response"`, "p.jsonl:5:", `p.jsonl:7: repeated id: "T1" is in line 6 too`} {
		require.ErrorContains(t, err, part)
	}
	_, _, err = scorePredictionsFile(t.Context(), filepath.Join(t.TempDir(), "none"), records, standard.Task)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestTables(t *testing.T) {
	r := goldenRules(t, publishedRules)
	result := r.Task.Score(query(t), "")
	result.ID = `=HYPERLINK("http://x")`
	var b bytes.Buffer
	require.NoError(t, r.writeTable(&b, []evalx.Result{result}))
	require.Contains(t, b.String(), "\r\n'=HYPERLINK", "text, no formula")
	standard := goldenRules(t, standardRules)
	b.Reset()
	require.NoError(t, standard.writeTable(&b, []evalx.Result{standard.Task.Score(query(t), "=1+1")}))
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
	published, standard := goldenRules(f, publishedRules), goldenRules(f, standardRules)
	want := query(f, `filters.programme="ERC"`, `filters.location="Italy"`, `organisations=[{"type": null, "name": "UB", "location": null, "location_level": null}]`)
	for _, answer := range answersToBreak(f) {
		f.Add(answer)
	}
	f.Fuzz(func(t *testing.T, answer string) {
		for _, r := range []rules{published, standard} {
			result := r.Task.Score(want, answer)
			var file, again, page bytes.Buffer
			require.NoError(t, evalx.WriteJSON(&file, r.Name, []evalx.Result{result}))
			_, read, err := evalx.ReadJSON("x", file.Bytes())
			require.NoError(t, err, "what was saved can be read")
			require.NoError(t, evalx.WriteJSON(&again, r.Name, read))
			require.Equal(t, file.String(), again.String())
			require.NoError(t, r.writeReport(&page, "x", []evalx.Result{result}))
		}
	})
}

// Long answers take time by their length, not by its square.
func TestLargeAnswers(t *testing.T) {
	const size = 1 << 18
	started := time.Now()
	for _, r := range []rules{goldenRules(t, publishedRules), goldenRules(t, standardRules)} {
		for _, part := range []string{"{", "}", "[", `"`, `\`, "{}", `{"a":`, "a ", `{"a":1}`, "9", "d'"} {
			text := strings.Repeat(part, size/len(part))
			for _, answer := range []string{text, "{" + text + "}", `{"x": ` + text + `}`, `{"semantic_query": ` + asJSON(t, text) + `}`} {
				r.Task.Score(query(t), answer)
			}
		}
		many := `{"organisations": [` + strings.TrimSuffix(strings.Repeat("{},", size/3), ",") + `]}`
		r.Task.Score(query(t), many)
	}
	require.Less(t, time.Since(started), time.Minute, "about 25 MB of answers")
}

func BenchmarkScore(b *testing.B) {
	for _, name := range []string{publishedRules, standardRules} {
		b.Run(name, func(b *testing.B) {
			r, questions := goldenRules(b, name), scoresQuestions(b)
			lines := jsonLines[answerLine](b, scoresFile(b, "predictions.jsonl"))
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				line := lines[i%len(lines)]
				r.Task.Score(questions[line.TestID], line.Response)
			}
		})
	}
}
