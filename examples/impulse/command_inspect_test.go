package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/salamandra/llama"
)

// TestInspect looks at IMPULSE's sample, prepared and as it was annotated.
func TestInspect(t *testing.T) {
	page := filepath.Join(t.TempDir(), "inspection.html")
	args := []string{"inspect", "--data", prepared(t, 40), "--model", tinyModel, "--limit", "2", "--tflops", "0.01"}
	status, out, errs := impulseMain(t, append(args, "--html", page, "--output-dir", "as in train", "--learning-rate", "1e-3")...)
	require.Zero(t, status, errs)
	for _, part := range []string{
		"40 records, 40 of them can be trained on", "language CA: ", "training on 36 examples in ", " batches per epoch, shared prefix of 24 tokens", "memory: weights 0.01 GB", "evaluating on 4 examples",
		"% of them padding", "answers: held against IMPULSE's schema, variant current", ", at 0.01 TFLOP/s by --tflops; ",
		"<|im_start|>assistant\n⟦{\n  \"doc_type\": \"projects\"", "}<|im_end|>⟧\n", "wrote " + page,
	} {
		require.Contains(t, out, part)
	}
	require.Contains(t, string(read(t, page)), "<mark>{\n  &#34;doc_type&#34;")
	status, _, errs = impulseMain(t, append(args, "--html", page)...)
	require.Equal(t, 1, status)
	require.Contains(t, errs, "exists already; add --overwrite to replace it")

	// The plan is the one that train makes.
	status, plan, errs := impulseMain(t, append([]string{"train", "--dry-run", "--output-dir", filepath.Join(t.TempDir(), "o")}, args[1:5]...)...)
	require.Zero(t, status, errs)
	_, plan, _ = strings.Cut(plan, "training on ")
	plan, memory, found := strings.Cut(plan, "backend ")
	require.True(t, found)
	require.Contains(t, out, plan)
	memory, _, _ = strings.Cut(memory[strings.Index(memory, "memory: "):], " checkpointing")
	require.Contains(t, out, memory)

	status, out, errs = impulseMain(t, "inspect", "--data", impulseData+"batches/batch1.json", "--model", tinyModel, "--overlong", "drop")
	require.Zero(t, status, errs)
	require.Contains(t, out, "100 records, 99 of them can be trained on")
	require.Contains(t, out, "1 records of more than 2048 tokens, 0 of them shortened:\n")
	require.Contains(t, out, " TFLOP/s by a product of matrices", "the speed is measured here")
}

// TestInspectBad: bad data are described and not trusted, and the status says
// that train would refuse them.
func TestInspectBad(t *testing.T) {
	files, err := filepath.Glob(impulseData + "bad/*.json")
	require.NoError(t, err)
	require.Len(t, files, 22)
	unsafe := regexp.MustCompile("[\x00-\x09\x0b-\x1f\x7f\u0080-\u009f\u202a-\u202e\u2066-\u2069]")
	refused := 0
	for _, file := range files {
		status, out, errs := impulseMain(t, "inspect", "--data", file, "--model", tinyModel, "--max-length", "2048", "--tflops", "1")
		require.NotRegexp(t, unsafe, out+errs, file)
		if status != 0 {
			refused++
			require.Regexp(t, `^impulse: train would refuse .*: [0-9]+ faults?\n$|: no examples\n$`, errs, file)
		}
		trainStatus, _, _ := impulseMain(t, "train", "--dry-run", "--data", file, "--model", tinyModel, "--max-length", "2048", "--output-dir", filepath.Join(t.TempDir(), "o"), "--eval-split", "0")
		require.Equal(t, trainStatus, status, "%s: train says otherwise", file)
	}
	require.Greater(t, refused, 10)

	// Escape sequences in every place of a record.
	evil := "\x1b]0;owned\x07\x1b[31m\u202e\r"
	var lines strings.Builder
	for i := range 3 {
		text, err := json.Marshal(map[string]any{"id": fmt.Sprint(evil, i/2), "lang": evil, "messages": []map[string]string{{"role": "user", "content": evil}, {"role": "assistant", "content": evil + "x"}}})
		require.NoError(t, err)
		fmt.Fprintf(&lines, "%s\n", text)
	}
	data := filepath.Join(t.TempDir(), "evil.jsonl")
	require.NoError(t, os.WriteFile(data, []byte(lines.String()), 0o644))
	status, out, errs := impulseMain(t, "inspect", "--data", data, "--model", tinyModel, "--tflops", "1", "--schema", "none")
	require.Equal(t, 1, status)
	require.NotRegexp(t, unsafe, out+errs)
	require.Contains(t, out, `\x1b]0;owned\a\x1b[31m\u202e\r`)
	require.Contains(t, out, "is the id of records 1 and 2")
}

// TestInspectRefuses names every wrong flag.
func TestInspectRefuses(t *testing.T) {
	status, _, errs := impulseMain(t, "inspect", "--limit", "-1", "--tflops", "NaN", "--overlong", "cut", "--backend", "tpu9")
	require.Equal(t, 1, status)
	for _, part := range []string{"--model is required", "--data is required", "--limit -1", "--tflops NaN", `--overlong "cut"`, "backend tpu9"} {
		require.Contains(t, errs, part)
	}
	data := prepared(t, 3)
	status, _, errs = impulseMain(t, "inspect", "--data", data, "--model", tinyModel, "--max-length", "100")
	require.Equal(t, 1, status)
	require.Contains(t, errs, ": 3 records too long")
	status, _, errs = impulseMain(t, "inspect", "--data", data+"2", "--model", tinyModel)
	require.Equal(t, 1, status)
	require.Contains(t, errs, "no such file")
}

// TestMaxLengthBelowInstruction: a limit that the instruction fills is said as
// such, once, with the way out.
func TestMaxLengthBelowInstruction(t *testing.T) {
	for _, command := range []string{"train", "inspect"} {
		for _, policy := range []string{"error", "drop", "truncate-prompt"} {
			args := []string{command, "--dry-run", "--data", impulseData + "batches/batch1.json", "--model", tinyModel, "--max-length", "1024", "--overlong", policy}
			status, _, errs := impulseMain(t, args...)
			require.Equal(t, 1, status)
			require.Contains(t, errs, "--max-length 1024: the system message by itself takes 1724 tokens of a limit of 1024", args)
			require.Contains(t, errs, "in 100 records, the longest of which has 2081 tokens", args)
			require.Contains(t, errs, "--max-length 2081 takes every record", args)
			require.Equal(t, 2, strings.Count(errs, "\n"), errs)
		}
	}
}

// TestPassOperations counts by hand: one block of width 2 with one head, a
// feed-forward layer of 3, 5 tokens in the vocabulary.
func TestPassOperations(t *testing.T) {
	c := llama.Config{VocabSize: 5, HiddenSize: 2, IntermediateSize: 3, NumHiddenLayers: 1, NumAttentionHeads: 1, NumKeyValueHeads: 1, HeadDim: 2}
	plan := &dataset.Plan{Prefix: make([]int32, 4), Shapes: []dataset.Shape{{B: 2, S: 8, N: 16, Batches: 10}}}
	linear := 2.0 * (4*4 + 3*6) * (4 + 2*8)      // q, k, v, o of 2 x 2; gate, up, down of 2 x 3
	attention := 4.0 * 2 * (4*4/2 + 2*8*(4+8/2)) // two products for each pair
	head := 2.0 * 5 * 2 * 16
	require.Equal(t, 10*(linear+attention+head), passOperations(c, plan, false, false))
	require.Equal(t, 10*(2*linear+3*attention+2*head), passOperations(c, plan, true, false))
	require.Equal(t, 10*(3*linear+4*attention+2*head), passOperations(c, plan, true, true))
}
