package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/evalx"
)

func TestCompareCommand(t *testing.T) {
	dir := t.TempDir()
	standard, published := goldenRules(t, standardRules), goldenRules(t, publishedRules)
	good := asJSON(t, query(t))
	save := func(name string, r rules, answers ...string) string {
		var results []evalx.Result
		for i, answer := range answers {
			result := r.Task.Score(query(t), answer)
			result.ID = []string{"T1", "T2", "T3"}[i]
			results = append(results, result)
		}
		var b bytes.Buffer
		require.NoError(t, evalx.WriteJSON(&b, r.Name, results))
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, b.Bytes(), 0o600))
		return path
	}
	a, b := save("a.json", standard, good, "", good), save("b.json", standard, good, good, `{"query_rewrite": "<script>"}`)
	c := save("c.json", standard, good, good, good)
	report := filepath.Join(dir, "report.html")
	run := func(args ...string) (string, error) {
		var out bytes.Buffer
		cmd := newCompareCommand()
		cmd.SetArgs(args)
		cmd.SetOut(&out)
		cmd.SilenceErrors, cmd.SilenceUsage = true, true
		err := cmd.Execute()
		return out.String(), err
	}

	out, err := run(a, b, c, "--report", report)
	require.NoError(t, err)
	for _, part := range []string{"B: " + b, "B: " + c, "B wins (passed): T2\nB loses (passed): T3", "B wins (passed): T2\nB loses (passed): none", "report written to " + report} {
		require.Contains(t, out, part)
	}
	page, err := os.ReadFile(report)
	require.NoError(t, err)
	require.Contains(t, string(page), "&lt;script&gt;")
	require.NotContains(t, string(page), "<script")

	_, err = run(a, save("other.json", published, good, good, good), save("short.json", standard, good))
	require.ErrorIs(t, err, errRulesDiffer)
	require.ErrorIs(t, err, evalx.ErrNotComparable)
	require.ErrorContains(t, err, `only the first has "T2"; only the first has "T3"`)

	_, err = run(filepath.Join(dir, "none.json"), report)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorIs(t, err, evalx.ErrResults, "the faults of both files")

	_, err = run(a)
	require.ErrorContains(t, err, "two or more files")
}

// What a run of the answers of real errors looks like; IMPULSE_REPORT names a
// file to keep it in.
func TestReportOfARun(t *testing.T) {
	r := goldenRules(t, standardRules)
	lines, results := goldenResults(t, r)
	var run []evalx.Result
	for i, line := range lines {
		if line.Run == "A" {
			run = append(run, results[i])
		}
	}
	var page bytes.Buffer
	require.NoError(t, r.writeReport(&page, "run A", run))
	require.Contains(t, page.String(), "filters.programme: what was taken for what")
	require.Contains(t, page.String(), `class="query failed unreadable"`)
	if path := os.Getenv("IMPULSE_REPORT"); path != "" {
		require.NoError(t, os.WriteFile(path, page.Bytes(), 0o600))
	}
}
