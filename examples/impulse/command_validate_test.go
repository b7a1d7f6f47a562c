package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// Everything wrong with the flags is reported at once, before a model is loaded.
func TestValidateFlags(t *testing.T) {
	dir := t.TempDir()
	old := filepath.Join(dir, "old.json")
	require.NoError(t, os.WriteFile(old, []byte("{}"), 0o644))

	var out, errs bytes.Buffer
	status := execute(newRootCommand(), []string{
		"validate", "--rules", "strict", "--schema", "none.json", "--save-results", old,
		"--report", filepath.Join(dir, "new", "report.html"), "--temperature", "-1",
		"--batch-size", "0", "--limit", "-1", "--max-new-tokens", "0",
	}, &out, &errs)
	require.Equal(t, 1, status)
	for _, want := range []string{
		"temperature -1", "--batch-size 0, want 1", "--limit -1, want 0", "--max-new-tokens 0, want 1", "--model-path is required", `--rules: rules "strict", want auto, generic or`, "--schema: open none.json",
		"--save-results: " + old + " exists already; add --overwrite to replace it",
	} {
		require.Contains(t, errs.String(), want)
	}
	require.NotContains(t, errs.String(), "--report")

	errs.Reset()
	require.Equal(t, 1, execute(newRootCommand(), []string{"validate", "--model-path", tinyModel, "--test-file", "none.json"}, &out, &errs))
	require.Equal(t, "impulse: open none.json: no such file or directory\n", errs.String())
	require.NotContains(t, out.String(), "backend")
}
