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
	return append(dataset.Formats(), annotated...)
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
				require.Equal(t, r.Conversation("S", false), got[i])
			}
			own, _, err := dataset.ReadFile(file, allFormats(t, "")...)
			require.NoError(t, err)
			require.Equal(t, impulse.SystemPrompt(batches.Variant), own[0].Messages[0].Content)
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
				if g.Line == f.Line && g.Field == f.Path && errors.Is(g, f.Err) {
					alone++
				}
			}
		}
	}
	require.Greater(t, alone, 20, "faults keep their lines, fields and causes")
	_, err = impulse.Formats("", impulse.Options{Schema: []byte("{")})
	require.ErrorIs(t, err, impulse.ErrSchema)
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
		require.ErrorIs(t, err, dataset.ErrMixed, name)
	}
}
