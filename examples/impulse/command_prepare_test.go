package main

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/dataset/impulse"
)

// impulseData holds the batches that dataset/impulse is tested with.
const impulseData = "../../dataset/impulse/testdata/"

// prepareHere are the options of a run into a new directory.
func prepareHere(t *testing.T, inputDir string) prepareOptions {
	t.Helper()
	return prepareOptions{InputDir: inputDir, OutputFile: filepath.Join(t.TempDir(), "train.jsonl"), Pattern: impulse.DefaultPattern, Seed: 42}
}

func TestPrepareGolden(t *testing.T) {
	o := prepareHere(t, impulseData+"batches")
	o.PromptFile, o.Validate = impulseData+"system_prompt.txt", true
	var out bytes.Buffer
	require.NoError(t, runPrepare(t.Context(), o, &out))
	require.Equal(t, `files:   7 of batch*.json in ../../dataset/impulse/testdata/batches
checks:  all, against the built-in schema
variant: current
prompt:  ../../dataset/impulse/testdata/system_prompt.txt, 3870 characters
order:   as in the files
records: 700 (CA 238, EN 231, ES 231)
wrote `+o.OutputFile+"\n", out.String())

	golden, err := os.ReadFile(impulseData + "prepare_golden.jsonl")
	require.NoError(t, err)
	got, err := os.ReadFile(o.OutputFile)
	require.NoError(t, err)
	require.Len(t, got, 3510981)
	require.True(t, bytes.HasPrefix(got, golden))
}

func TestPrepareOptions(t *testing.T) {
	prompts := impulse.SystemPrompt(impulse.Current)
	for _, row := range []struct {
		name, reason string
		set          func(o *prepareOptions)
		first        string // id of the first example
		messages     int
		system       string // what its first message begins with
		out          string
	}{
		{
			name: "plain", set: func(o *prepareOptions) {}, first: "TRAIN_0001", messages: 3, system: prompts,
			out: "prompt:  built-in, ", reason: "no flag but the required ones",
		},
		{
			name: "shuffle", set: func(o *prepareOptions) { o.Shuffle = true }, first: "TRAIN_0416", messages: 3, system: prompts,
			out: "order:   shuffled, seed 42\n", reason: "the order of Python's shuffle",
		},
		{
			name: "merged", set: func(o *prepareOptions) { o.MergeSystemIntoUser = true }, first: "TRAIN_0001", messages: 2, system: prompts + "\n\n",
			out: "records: 700", reason: "two messages",
		},
		{
			name: "v1", set: func(o *prepareOptions) { o.InputDir = impulseData + "v1/batches" }, first: "V1TRAIN_0001", messages: 3,
			system: impulse.SystemPrompt(impulse.V1), out: "variant: v1\n", reason: "another variant has another prompt",
		},
		{
			name: "schema", set: func(o *prepareOptions) { o.Schema = impulseData + "schema_record.json" }, first: "TRAIN_0001", messages: 3,
			system: prompts, out: "checks:  all, against " + impulseData + "schema_record.json\n", reason: "a schema implies the checks",
		},
		{
			name: "pattern", set: func(o *prepareOptions) { o.InputDir, o.Pattern = impulseData, "test_*.json" }, first: "TEST_0001", messages: 3,
			system: prompts, out: "files:   1 of test_*.json in ", reason: "any name",
		},
		{
			name: "warning", set: func(o *prepareOptions) { o.InputDir, o.Pattern = impulseData+"bad", "*06_bom.json" }, first: "BAD_001", messages: 3,
			system: prompts, out: "batch06_bom.json:1: top level: warning: byte-order mark skipped\n", reason: "said, and no obstacle",
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			o := prepareHere(t, impulseData+"batches")
			row.set(&o)
			var out bytes.Buffer
			require.NoError(t, runPrepare(t.Context(), o, &out))
			require.Contains(t, out.String(), row.out, row.reason)
			records, _, err := dataset.ReadFile(o.OutputFile)
			require.NoError(t, err)
			require.Equal(t, row.first, records[0].ID, row.reason)
			require.Len(t, records[0].Messages, row.messages, row.reason)
			require.True(t, strings.HasPrefix(records[0].Messages[0].Content, row.system), row.reason)
		})
	}
}

func TestPrepareRefuses(t *testing.T) {
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, row := range []struct {
		name, reason string
		ctx          context.Context
		set          func(o *prepareOptions)
		err          error  // nil: any
		text         string // part of the error
	}{
		{
			name: "faults", set: func(o *prepareOptions) { o.InputDir, o.Validate = impulseData+"bad", true },
			text: "files with faults: 22", reason: "every file that has one, the byte-order mark and repeated ids included",
		},
		{
			name: "without checks", set: func(o *prepareOptions) { o.InputDir = impulseData + "bad" },
			text: "batch21_empty_file.json:1: top level: the file is empty (byte offset 0)", reason: "unreadable files are never left out",
		},
		{
			name: "strict", set: func(o *prepareOptions) { o.InputDir, o.Pattern, o.Strict = impulseData+"bad", "*06_bom.json", true },
			text: "errors: 0, warnings: 1, files with faults: 1; --strict refuses warnings", reason: "a warning is enough",
		},
		{
			name: "no files", set: func(o *prepareOptions) { o.Pattern = "x*.json" },
			text: "matches x*.json", reason: "an empty file would be written",
		},
		{
			name: "no flags", set: func(o *prepareOptions) { o.InputDir, o.OutputFile = "", "" },
			text: "--input-dir is required\n--output-file is required", reason: "both are reported",
		},
		{
			name: "no prompt file", set: func(o *prepareOptions) { o.PromptFile = "none.txt" }, err: fs.ErrNotExist,
			text: "none.txt", reason: "not replaced by the built-in one",
		},
		{
			name: "no schema file", set: func(o *prepareOptions) { o.Schema = "none.json" }, err: fs.ErrNotExist,
			text: "none.json", reason: "not replaced by the built-in one",
		},
		{
			name: "bad schema", set: func(o *prepareOptions) { o.Schema = impulseData + "test_set.json" },
			text: "is array, want boolean or object", reason: "a list of records is none",
		},
		{
			name: "no output directory", set: func(o *prepareOptions) { o.OutputFile = filepath.Join(filepath.Dir(o.OutputFile), "none", "x") },
			err: fs.ErrNotExist, text: "none", reason: "a slip in the path",
		},
		{
			name: "canceled", ctx: canceled, set: func(o *prepareOptions) {}, err: context.Canceled, text: "canceled", reason: "Ctrl-C",
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			o := prepareHere(t, impulseData+"batches")
			dir := filepath.Dir(o.OutputFile)
			row.set(&o)
			ctx := row.ctx
			if ctx == nil {
				ctx = t.Context()
			}
			err := runPrepare(ctx, o, new(bytes.Buffer))
			require.ErrorContains(t, err, row.text, row.reason)
			if row.err != nil {
				require.ErrorIs(t, err, row.err, row.reason)
			}
			left, err := os.ReadDir(dir)
			require.NoError(t, err)
			require.Empty(t, left, "nothing is left behind")
		})
	}
}

func TestPrepareOverwrite(t *testing.T) {
	o := prepareHere(t, impulseData+"batches")
	require.NoError(t, os.WriteFile(o.OutputFile, []byte("old"), 0o644))
	require.ErrorContains(t, runPrepare(t.Context(), o, new(bytes.Buffer)), "exists already; add --overwrite")

	o.Overwrite, o.InputDir = true, impulseData+"bad"
	require.Error(t, runPrepare(t.Context(), o, new(bytes.Buffer)))
	kept, err := os.ReadFile(o.OutputFile)
	require.NoError(t, err)
	require.Equal(t, "old", string(kept), "an error leaves the old file as it was")

	o.InputDir = impulseData + "batches"
	require.NoError(t, runPrepare(t.Context(), o, new(bytes.Buffer)))
	records, _, err := dataset.ReadFile(o.OutputFile)
	require.NoError(t, err)
	require.Len(t, records, 700)
}

// Standard input keeps what it holds, above all after a fault.
func TestPrepareLeavesStandardInput(t *testing.T) {
	file := filepath.Join(t.TempDir(), "stdin")
	require.NoError(t, os.WriteFile(file, []byte("y\n"), 0o644))
	input, err := os.Open(file)
	require.NoError(t, err)
	defer input.Close()
	defer func(old *os.File) { os.Stdin = old }(os.Stdin)
	os.Stdin = input

	var out, errs bytes.Buffer
	status := execute(newRootCommand(), []string{"prepare", "--validate", "--input-dir", impulseData + "bad", "--output-file", filepath.Join(t.TempDir(), "x.jsonl")}, &out, &errs)
	require.Equal(t, 1, status)
	at, err := input.Seek(0, io.SeekCurrent)
	require.NoError(t, err)
	require.Zero(t, at)
}
