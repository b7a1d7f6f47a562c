package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestExport(t *testing.T) {
	for _, row := range []struct {
		name, reason string
		options      exportOptions
		out          string // part, before the file's name
	}{
		{name: "model", options: exportOptions{ModelPath: referenceModel, Type: "q8_0"}, out: "wrote 39 tensors as q8_0 to ", reason: "all of them"},
		{name: "adapter", options: exportOptions{ModelPath: referenceModel, AdapterPath: referenceModel + "/golden/adapter-lora", Type: "f16"}, out: "wrote 56 tensors as f16 to ", reason: "A and B of 28 layers"},
		{name: "patterns", options: exportOptions{ModelPath: referenceModel, AdapterPath: referenceModel + "/golden/adapter-patterns", Type: "f32"}, out: "wrote ", reason: "they are folded"},
	} {
		t.Run(row.name, func(t *testing.T) {
			row.options.Output = filepath.Join(t.TempDir(), "x.gguf")
			var out, log bytes.Buffer
			require.NoError(t, runExport(t.Context(), row.options, &out, &log))
			require.Contains(t, out.String(), row.out, row.reason)
			content, err := os.ReadFile(row.options.Output)
			require.NoError(t, err)
			require.Equal(t, "GGUF", string(content[:4]))
		})
	}
	dir := t.TempDir()
	for _, row := range []struct {
		name    string
		options exportOptions
		want    []string
	}{
		{"nothing", exportOptions{}, []string{"--output is required", "--model-path or --adapter-path is required", "--type"}},
		{"DoRA", exportOptions{ModelPath: referenceModel, AdapterPath: referenceModel + "/golden/adapter-dora", Type: "f32", Output: filepath.Join(dir, "x")}, []string{"use_dora"}},
		{"no model", exportOptions{ModelPath: dir, Type: "f32", Output: filepath.Join(dir, "x")}, []string{dir}},
	} {
		err := runExport(t.Context(), row.options, &bytes.Buffer{}, &bytes.Buffer{})
		for _, want := range row.want {
			require.ErrorContains(t, err, want, row.name)
		}
	}
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries)
}
