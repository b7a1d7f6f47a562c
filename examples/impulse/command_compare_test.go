package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/dataset/impulse"
	"github.com/impulse-salamandra/finetune/evalx"
	rules "github.com/impulse-salamandra/finetune/evalx/impulse"
	"github.com/impulse-salamandra/finetune/evalx/report"
)

// annotation is an answer that complies with IMPULSE's schema.
const annotation = `{"doc_type": "projects",
	"filters": {"programme": null, "funding_level": null, "year": null, "location": null, "location_level": null},
	"organisations": [], "semantic_query": "grafeno", "query_rewrite": "Lista de proyectos sobre grafeno",
	"meta": {"lang": "ES", "original_query": "grafeno", "notes": null}}`

// newRules are rules without equivalence sets.
func newRules(t *testing.T, name string) evalx.Task {
	t.Helper()
	r, err := rules.New(name, rules.Options{Schema: impulse.Schema(impulse.Current)})
	require.NoError(t, err)
	return r
}

func TestCompareCommand(t *testing.T) {
	dir := t.TempDir()
	want, err := evalx.Parse(annotation)
	require.NoError(t, err)
	standard, published := newRules(t, rules.Standard), newRules(t, rules.Published)
	const good = annotation
	save := func(name string, r evalx.Task, answers ...string) string {
		var results []evalx.Result
		for i, answer := range answers {
			result := r.Score(want, answer)
			result.ID = []string{"T1", "T2", "T3"}[i]
			results = append(results, result)
		}
		var b bytes.Buffer
		require.NoError(t, report.WriteJSON(&b, report.Run{Task: r.Name, Results: results}))
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, b.Bytes(), 0o600))
		return path
	}
	a, b := save("a.json", standard, good, "", good), save("b.json", standard, good, good, `{"query_rewrite": "<script>"}`)
	c := save("c.json", standard, good, good, good)
	html := filepath.Join(dir, "report.html")
	run := func(args ...string) (string, error) {
		var out bytes.Buffer
		cmd := newCompareCommand()
		cmd.SetArgs(args)
		cmd.SetOut(&out)
		cmd.SilenceErrors, cmd.SilenceUsage = true, true
		err := cmd.Execute()
		return out.String(), err
	}

	out, err := run(a, b, c, "--report", html)
	require.NoError(t, err)
	for _, part := range []string{"B: " + b, "B: " + c, "B wins (passed): T2\nB loses (passed): T3", "B wins (passed): T2\nB loses (passed): none", "report written to " + html} {
		require.Contains(t, out, part)
	}
	page, err := os.ReadFile(html)
	require.NoError(t, err)
	require.Contains(t, string(page), "&lt;script&gt;")
	require.NotContains(t, string(page), "<script")

	_, err = run(a, save("other.json", published, good, good, good), save("short.json", standard, good))
	require.ErrorContains(t, err, "scored by different rules: \"standard\" and \"impulse-published\"")
	require.ErrorContains(t, err, "not of the same questions")
	require.ErrorContains(t, err, `only the first has "T2", "T3"`)

	_, err = run(filepath.Join(dir, "none.json"), html)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, "not a file of results", "the faults of both files")

	_, err = run(a)
	require.ErrorContains(t, err, "two or more files")
}
