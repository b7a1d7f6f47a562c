package impulse_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/dataset/impulse"
	"github.com/impulse-salamandra/finetune/internal/pyrandom"
)

// readGolden returns the 700 records and the prompt of the golden files.
func readGolden(t *testing.T, opts impulse.Options) ([]impulse.Record, string) {
	t.Helper()
	batches, err := impulse.ReadDir(t.Context(), "testdata/batches", impulse.DefaultPattern, opts)
	require.NoError(t, err)
	require.Empty(t, batches.Warnings)
	require.Equal(t, impulse.Current, batches.Variant)
	require.Len(t, batches.Files, 7)
	system, err := impulse.ReadPrompt("testdata/system_prompt.txt")
	require.NoError(t, err)
	return batches.Records, system
}

func lines(t *testing.T, records []impulse.Record, system string, merge bool) []byte {
	var examples []dataset.Record
	for _, r := range records {
		examples = append(examples, r.Conversation(system, merge))
	}
	return written(t, examples)
}

func written(t *testing.T, examples []dataset.Record) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "lines.jsonl")
	require.NoError(t, dataset.WriteFile(t.Context(), path, examples))
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return data
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func testdata(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	require.NoError(t, err)
	return data
}

func TestGoldenLines(t *testing.T) {
	for _, row := range []struct {
		name, reason string
		opts         impulse.Options
	}{
		{name: "plain", reason: "the peer's output, byte for byte"},
		{name: "validate", opts: impulse.Options{Validate: true}, reason: "checks change nothing"},
		{name: "own schema", opts: impulse.Options{Schema: testdata(t, "schema_record.json")}, reason: "a schema of records sees the further keys of meta"},
	} {
		t.Run(row.name, func(t *testing.T) {
			records, system := readGolden(t, row.opts)
			got := lines(t, records, system, false)
			merged := lines(t, records, system, true)

			n := 0
			for line := range strings.Lines(string(testdata(t, "prepare_golden.jsonl"))) {
				if diff := cmp.Diff(line, string(got[n:n+len(line)])); diff != "" {
					t.Fatalf("%s (-want +got):\n%s", row.reason, diff)
				}
				n += len(line)
			}
			golden := testdata(t, "prepare_golden_merged.jsonl")
			if diff := cmp.Diff(string(golden), string(merged[:len(golden)])); diff != "" {
				t.Fatalf("merged (-want +got):\n%s", diff)
			}

			digests := string(testdata(t, "prepare_golden.sha256.txt"))
			require.Contains(t, digests, "700 lines, 3510981 bytes, sha256 "+digest(got))
			require.Contains(t, digests, "700 lines, sha256 "+digest(merged))
			require.Len(t, got, 3510981)
			perLine := bufio.NewScanner(bytes.NewReader(got))
			perLine.Buffer(nil, 1<<20)
			for i := 0; perLine.Scan(); i++ {
				require.Contains(t, digests, digest(perLine.Bytes())+"  "+records[i].ID+"\n")
			}
		})
	}
}

func TestGoldenShuffle(t *testing.T) {
	records, _ := readGolden(t, impulse.Options{})
	pyrandom.Shuffle(records, 42)
	var ids strings.Builder
	for _, r := range records {
		ids.WriteString(r.ID + "\n")
	}
	if diff := cmp.Diff(string(testdata(t, "prepare_golden_shuffle42_ids.txt")), ids.String()); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

// TestV1Line is the v1 variant's first record, written by hand: metric and
// metric_params stand after semantic_query, numbers are unchanged.
func TestV1Line(t *testing.T) {
	batches, err := impulse.ReadDir(t.Context(), "testdata/v1/batches", impulse.DefaultPattern, impulse.Options{Validate: true})
	require.NoError(t, err)
	require.Equal(t, impulse.V1, batches.Variant)
	require.Empty(t, batches.Warnings)
	require.Len(t, batches.Records, 150)
	query := "rànquing de les 10 entitats que més participen en projectes anteriors al 2010 sobre edició genòmica amb CRISPR"
	answer := `{
  "doc_type": "projects",
  "filters": {
    "programme": null,
    "funding_level": null,
    "year": "<2010",
    "location": null,
    "location_level": null
  },
  "organisations": [],
  "semantic_query": "edició genòmica amb CRISPR",
  "metric": "top_k",
  "metric_params": {
    "k": 10,
    "field": "projects",
    "group_by": "organisation"
  },
  "query_rewrite": "Llista de projectes anteriors al 2010 sobre edició genòmica amb CRISPR",
  "meta": {
    "lang": "CA",
    "original_query": "` + query + `",
    "notes": null
  }
}`
	first := batches.Records[0]
	require.Equal(t, impulse.Record{
		ID: "V1TRAIN_0001", Lang: "CA", Query: query, Answer: answer,
		File: filepath.Join("testdata", "v1", "batches", "batch1.json"), Index: 0,
	}, first)

	quoted := strings.NewReplacer("\n", `\n`, `"`, `\"`).Replace(answer)
	want := `{"id": "V1TRAIN_0001", "messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "` + query +
		`"}, {"role": "assistant", "content": "` + quoted + `"}], "lang": "CA"}` + "\n"
	require.Equal(t, want, string(written(t, []dataset.Record{first.Conversation("S", false)})))
}

func TestLineEscapes(t *testing.T) {
	in := "\"\\/\b\f\n\r\t\x00\x1f\x7f<>&\u2028é😀"
	want := `{"id": "\"\\/\b\f\n\r\t\u0000\u001f` + "\x7f<>&\u2028é😀" + `", "messages": [], "lang": ""}` + "\n"
	require.Equal(t, want, string(written(t, []dataset.Record{{ID: in}})))
}

func TestWriteFile(t *testing.T) {
	records, system := readGolden(t, impulse.Options{})
	var examples []dataset.Record
	for _, r := range records[:20] {
		examples = append(examples, r.Conversation(system, false))
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "train.jsonl")
	require.NoError(t, os.WriteFile(path, []byte("old"), 0o644))
	require.NoError(t, dataset.WriteFile(t.Context(), path, examples))
	got, format, err := dataset.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "messages", format)
	for i := range got {
		require.Equal(t, i+1, got[i].Line)
		got[i].File, got[i].Line = "", 0
	}
	if diff := cmp.Diff(examples, got); diff != "" {
		t.Errorf("read again (-want +got):\n%s", diff)
	}

	require.Error(t, dataset.WriteFile(t.Context(), filepath.Join(dir, "none", "x.jsonl"), examples))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "taken"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "taken", "file"), nil, 0o644))
	require.Error(t, dataset.WriteFile(t.Context(), filepath.Join(dir, "taken"), examples), "rename onto a directory")
	left, err := filepath.Glob(filepath.Join(dir, "*.tmp"))
	require.NoError(t, err)
	require.Empty(t, left, "temporary files are removed after an error")
}
