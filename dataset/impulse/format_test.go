package impulse_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/dataset/impulse"
)

func allFormats(t *testing.T, system string) []dataset.Format {
	t.Helper()
	annotated, err := impulse.Formats(system, impulse.Options{Validate: true})
	require.NoError(t, err)
	return annotated
}

// TestFormats reads every batch file, in each of its layouts, as ReadFiles does.
func TestFormats(t *testing.T) {
	for pattern, name := range map[string]string{"testdata/batches/*.json": "impulse current", "testdata/v1/batches/*.json": "impulse v1"} {
		files, err := filepath.Glob(pattern)
		require.NoError(t, err)
		require.NotEmpty(t, files)
		for _, file := range files {
			batches, err := impulse.ReadFiles(t.Context(), []string{file}, impulse.Options{Validate: true})
			require.NoError(t, err)
			got, format, err := dataset.ReadFile(file, allFormats(t, "S")...)
			require.NoError(t, err)
			require.Equal(t, name, format)
			require.Len(t, got, len(batches.Records))
			for i, r := range batches.Records {
				want := r.Conversation("S", false)
				want.File, want.Line, want.Warnings = got[i].File, got[i].Line, got[i].Warnings
				require.Equal(t, want, got[i])
			}
			own, _, err := dataset.ReadFile(file, allFormats(t, "")...)
			require.NoError(t, err)
			require.Equal(t, impulse.SystemPrompt(batches.Variant), own[0].Messages[0].Content)
		}
	}
}

// What is odd about records, but no fault, comes with them, validated or not.
func TestFormatsWarnings(t *testing.T) {
	file := filepath.Join(t.TempDir(), "odd.json")
	require.NoError(t, os.WriteFile(file, []byte(`[
{"doc_type": "projects", "filters": {"programme": null, "funding_level": null, "year": "2020-2018", "location": "Girona", "location_level": null},
 "organisations": [], "semantic_query": "aigua", "query_rewrite": "Projectes d'aigua", "meta": {"id": "q1", "lang": "CA", "original_query": "projectes d'aigua"}}]`), 0o600))
	batches, err := impulse.ReadFiles(t.Context(), []string{file}, impulse.Options{Validate: true})
	require.NoError(t, err)
	require.Len(t, batches.Warnings, 2)
	for _, opts := range []impulse.Options{{}, {Validate: true}} {
		formats, err := impulse.Formats("", opts)
		require.NoError(t, err)
		records, _, err := dataset.ReadFile(file, formats...)
		require.NoError(t, err)
		var got dataset.Faults
		for _, r := range records {
			got = append(got, r.Warnings...)
		}
		require.Len(t, got, len(batches.Warnings))
		for i, w := range batches.Warnings {
			require.Equal(t, dataset.Fault{File: file, Line: w.Line, Record: w.ID, Field: w.Path, Err: errors.New(w.Message)}, got[i])
		}
	}
}

func TestFormatsFaults(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.json")
	require.NoError(t, err)
	alone := 0
	for _, file := range files {
		_, wantErr := impulse.ReadFiles(t.Context(), []string{file}, impulse.Options{Validate: true})
		var want *impulse.FaultsError
		if !errors.As(wantErr, &want) {
			continue
		}
		_, _, err := dataset.ReadFile(file, allFormats(t, "S")...)
		if strings.Contains(file, "duplicate_ids") {
			continue // compared when examples are built
		}
		if strings.Contains(file, "empty") {
			require.NoError(t, err, file) // no record
			continue
		}
		require.Error(t, err, file)
		var got dataset.Faults
		require.True(t, errors.As(err, &got), file)
		for _, f := range want.Faults {
			for _, g := range got {
				if g.Line == f.Line && g.Field == f.Path && strings.Contains(g.Err.Error(), f.Message) {
					alone++
				}
			}
		}
	}
	require.Greater(t, alone, 20, "faults keep their lines, fields and causes")
	_, err = impulse.Formats("", impulse.Options{Schema: []byte("{")})
	require.ErrorContains(t, err, "schema of the records: line 1, column 2")
}

func TestFormatsMixed(t *testing.T) {
	read := func(path string) string {
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		return string(data)
	}
	current, v1 := read("testdata/batches/batch1.json"), read("testdata/v1/batches/batch1.json")
	item := func(list string) string { return list[strings.Index(list, "{") : strings.Index(list, "\n  },")+4] }
	for name, in := range map[string]string{
		"current first": "[" + item(current) + "," + item(v1) + "]",
		"v1 first":      "[" + item(v1) + "," + item(current) + "]",
	} {
		_, err := dataset.NewReader(strings.NewReader(in), name, allFormats(t, "S")...).ReadAll()
		require.ErrorContains(t, err, "want one in all the file", name)
	}
}
