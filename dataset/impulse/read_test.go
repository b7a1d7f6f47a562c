package impulse_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/dataset/impulse"
)

func TestReadDir(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"batch2.json", "batch10.json", "batchÀ.json", "Batch1.json", "batch1.json.bak", "test.json"} {
		text := "[" + strings.Replace(currentRecord, "q1", name, 1) + "]"
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	require.NoError(t, os.Mkdir(filepath.Join(dir, "batch0.json"), 0o755))

	batches, err := impulse.ReadDir(t.Context(), dir, impulse.DefaultPattern, impulse.Options{Validate: true})
	require.NoError(t, err)
	var ids []string
	for _, r := range batches.Records {
		ids = append(ids, r.ID)
	}
	require.Equal(t, []string{"batch10.json", "batch2.json", "batchÀ.json"}, ids, "code-point order, no directories")
	require.Equal(t, filepath.Join(dir, "batch10.json"), batches.Files[0])

	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, row := range []struct {
		name, dir, pattern string
		ctx                context.Context
		opts               impulse.Options
		err                error
	}{
		{"no such directory", filepath.Join(dir, "none"), "*", t.Context(), impulse.Options{}, fs.ErrNotExist},
		{"nothing fits", dir, "data*.json", t.Context(), impulse.Options{}, nil},
		{"bad pattern", dir, "[", t.Context(), impulse.Options{}, filepath.ErrBadPattern},
		{"canceled", dir, "*", canceled, impulse.Options{}, context.Canceled},
		{"schema is not JSON", dir, "*", t.Context(), impulse.Options{Schema: []byte("{")}, nil},
		{"schema is a list", dir, "*", t.Context(), impulse.Options{Schema: []byte("[]")}, nil},
		{"schema breaks its own rules", dir, "*", t.Context(), impulse.Options{Schema: []byte(`{"type": 7}`)}, nil},
		{"schema refers to nothing", dir, "*", t.Context(), impulse.Options{Schema: []byte(`{"$ref": "#/$defs/x"}`)}, nil},
	} {
		_, err := impulse.ReadDir(row.ctx, row.dir, row.pattern, row.opts)
		require.Error(t, err, row.name)
		if row.err != nil {
			require.ErrorIs(t, err, row.err, row.name)
		}
	}
}

func TestReadTestSets(t *testing.T) {
	for file, n := range map[string]int{"testdata/test_set.json": 100, "testdata/v1/test_set.json": 45} {
		batches, err := impulse.ReadFiles(t.Context(), []string{file}, impulse.Options{Validate: true})
		require.NoError(t, err)
		require.Empty(t, batches.Warnings)
		require.Len(t, batches.Records, n)
	}
}

func TestReadPrompt(t *testing.T) {
	for _, row := range []struct {
		name, text, want, reason string
		bad                      bool
	}{
		{name: "trimmed", text: "\n\u00a0 One.\n\nTwo. \n", want: "One.\n\nTwo.", reason: "white space inside stays"},
		{name: "other editor", text: "\ufeffOne.\r\n\r\nTwo.\rThree.\r\n", want: "One.\n\nTwo.\nThree.", reason: "the same prompt"},
		{name: "empty", text: " \n", bad: true, reason: "no prompt is not a prompt"},
		{name: "bytes", text: "caf\xe8", bad: true, reason: "no replacement characters"},
		{name: "control token", text: "a <|im_end|> b", bad: true, reason: "a rendered chat"},
	} {
		path := filepath.Join(t.TempDir(), "prompt.txt")
		require.NoError(t, os.WriteFile(path, []byte(row.text), 0o644))
		got, err := impulse.ReadPrompt(path)
		require.Equal(t, row.bad, err != nil, row.reason)
		require.Equal(t, row.want, got, row.reason)
	}
	_, err := impulse.ReadPrompt(filepath.Join(t.TempDir(), "none"))
	require.ErrorIs(t, err, fs.ErrNotExist)
}

// The examples in the built-in prompts are valid answers in the layout of the
// training data.
func TestSystemPromptExamples(t *testing.T) {
	example := regexp.MustCompile(`The question is:\n(.*)\nThe reply is:\n((?s:\{\n.*?\n\}))`)
	for _, v := range []impulse.Variant{impulse.Current, impulse.V1} {
		prompt := impulse.SystemPrompt(v)
		require.Equal(t, strings.TrimSpace(prompt), prompt)
		found := example.FindAllStringSubmatch(prompt, -1)
		require.Len(t, found, 2)
		for _, match := range found {
			record := strings.Replace(match[2], `"lang"`, `"id": "x", "lang"`, 1)
			batches, err := impulse.Parse([]byte("["+record+"]"), "prompt", impulse.Options{Schema: impulse.Schema(v)})
			require.NoError(t, err)
			require.Empty(t, batches.Warnings)
			require.Equal(t, v, batches.Variant)
			require.Equal(t, match[1], batches.Records[0].Query)
			require.Equal(t, match[2], batches.Records[0].Answer)
		}
	}
	require.Empty(t, impulse.SystemPrompt("v2"))
	require.Nil(t, impulse.Schema("v2"))
}

// A schema that refers to another document is refused by its name, also where
// that document could be read.
func TestSchemaOpensNothing(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	path := filepath.Join(dir, "other.json")
	require.NoError(t, os.WriteFile(path, []byte("true"), 0o600))
	for _, ref := range []string{"file://" + filepath.ToSlash(path), "other.json", "./other.json#/$defs/a", filepath.ToSlash(path), "https://example.com/other.json"} {
		schema := fmt.Sprintf(`{"properties": {"filters": {"$ref": %q}}}`, ref)
		_, err := impulse.Parse([]byte("[]"), "r", impulse.Options{Schema: []byte(schema)})
		require.ErrorContains(t, err, "reference to another document", ref)
		require.ErrorContains(t, err, "other.json", ref)
	}
}

func TestSchemaIsACopy(t *testing.T) {
	clear(impulse.Schema(impulse.Current))
	require.True(t, json.Valid(impulse.Schema(impulse.Current)))
}

// TestSchemasAsPublished changes each field of records in many ways and expects
// the built-in schemas to find the same faults as those that define the format.
func TestSchemasAsPublished(t *testing.T) {
	for _, row := range []struct {
		variant          impulse.Variant
		file, definition string
	}{
		{impulse.Current, "test_set.json", "schema.json"},
		{impulse.V1, "v1/test_set.json", "schema_v1.json"},
	} {
		var records []map[string]any
		require.NoError(t, json.Unmarshal(testdata(t, row.file), &records))
		records = slices.DeleteFunc(records, func(r map[string]any) bool { return len(r["organisations"].([]any)) == 0 })
		definition := testdata(t, row.definition)
		tried, refused := 0, 0
		compare := func() {
			data, err := json.Marshal(records[:1])
			require.NoError(t, err)
			_, got := impulse.Parse(data, "r", impulse.Options{Validate: true, Schema: impulse.Schema(row.variant)})
			_, want := impulse.Parse(data, "r", impulse.Options{Validate: true, Schema: definition})
			if diff := cmp.Diff(sortedLines(want), sortedLines(got)); diff != "" {
				t.Fatalf("%s (-defined +built in):\n%s\n%s", row.variant, diff, data)
			}
			tried++
			if got != nil {
				refused++
			}
		}
		compare()
		mutate(records[0], compare)
		require.Greater(t, refused, 400)
		require.Greater(t, tried-refused, 100)
	}
}

// mutate calls try after each of many changes to v, and undoes them.
func mutate(v any, try func()) {
	values := []any{
		nil, true, 0, 1, 2020, 2020.5, 1800, 2200, "", "x", "2020", "20201", ">=2020", "=>2020", "2018-2020", "top_k", "sum", "CA", "ca",
		"city", "province", "nuts1", "ngo", "european", "funding", "year", "projects", []any{}, map[string]any{}, []any{nil},
	}
	switch v := v.(type) {
	case map[string]any:
		for key, old := range v {
			for _, value := range values {
				v[key] = value
				try()
			}
			delete(v, key)
			try()
			v[key] = old
			mutate(old, try)
		}
		if _, isMeta := v["original_query"]; !isMeta { // other keys of meta are free
			v["unknown"] = nil
			try()
			delete(v, "unknown")
		}
	case []any:
		old := v[0]
		for _, value := range values {
			v[0] = value
			try()
		}
		v[0] = old
		mutate(old, try)
	}
}

func sortedLines(err error) []string {
	if err == nil {
		return nil
	}
	lines := strings.Split(err.Error(), "\n")
	slices.Sort(lines)
	return lines
}
