package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/internal/tensorboard"
	"github.com/impulse-salamandra/finetune/lora"
)

// Names of what a run leaves.
const (
	lastDir     = "checkpoint-last"
	metricsFile = "metrics.jsonl"
	reportFile  = "report.html"
	liveFile    = "report.json"
	samplesFile = "samples.jsonl"
	runFile     = "run.json" // in a checkpoint
)

// smallRun are the flags of a run of 6 steps in two epochs, each followed by an
// evaluation.
func smallRun(data, output string) []string {
	return []string{
		"train", "--model", tinyModel, "--data", data, "--output-dir", output, "--epochs", "2", "--batch-size", "1",
		"--lora-r", "1", "--target-modules", "q_proj", "--eval-split", "0.25", "--save-steps", "2", "--learning-rate", "1e-2",
	}
}

// shortData writes four examples of few tokens.
func shortData(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "short.jsonl")
	var text strings.Builder
	for i, word := range []string{"sol", "vent", "aigua", "foc"} {
		fmt.Fprintf(&text, `{"id": "%d", "prompt": "%s", "completion": "%d %s"}`+"\n", i, word, i, word)
	}
	require.NoError(t, os.WriteFile(path, []byte(text.String()), 0o644))
	return path
}

// outcome reads what a run left, without times and memory.
func outcome(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		require.NoError(t, err)
		switch filepath.Base(path) {
		case trainingArgsFile, liveFile: // name the directory
		case tensorboard.FileName, reportFile: // times
		case metricsFile:
			files[name] = comparableMetrics(t, path)
		case samplesFile: // answers are given up when the machine is slow
			for line := range bytes.Lines(read(t, path)) {
				var s map[string]any
				require.NoError(t, json.Unmarshal(line, &s))
				files[name] += fmt.Sprintln(s["step"], s["epoch"], s["id"], s["query"], s["expected"])
			}
		case runFile: // length of metrics.jsonl
		case "trainer_state.json":
			files[name] = comparableState(t, path)
		default:
			files[name] = string(read(t, path))
		}
		return nil
	}))
	return files
}

// comparableState leaves out of a checkpoint's state the hashes of what is
// left out of outcome.
func comparableState(t *testing.T, path string) string {
	t.Helper()
	var state map[string]any
	require.NoError(t, json.Unmarshal(read(t, path), &state))
	hashes := state["files"].(map[string]any)
	delete(hashes, runFile)
	delete(hashes, trainingArgsFile)
	text, err := json.Marshal(state)
	require.NoError(t, err)
	return string(text)
}

// comparableMetrics leaves out of metrics.jsonl what no two runs have in common.
func comparableMetrics(t *testing.T, path string) string {
	t.Helper()
	var b strings.Builder
	for line := range bytes.Lines(read(t, path)) {
		var m map[string]any
		require.NoError(t, json.Unmarshal(line, &m), "%s", line)
		delete(m, "time")
		delete(m, "tokens_per_second")
		delete(m, "peak_memory_bytes")
		text, err := json.Marshal(m)
		require.NoError(t, err)
		b.Write(append(text, '\n'))
	}
	return b.String()
}

// TestResume says how a run that was not finished is gone on with, and what
// stands in the way.
func TestResume(t *testing.T) {
	dir, data := t.TempDir(), shortData(t)
	whole, cut := filepath.Join(dir, "whole"), filepath.Join(dir, "cut")
	status, out, errs := impulseMain(t, smallRun(data, whole)...)
	require.Zero(t, status, errs)
	want := outcome(t, whole)
	require.Contains(t, want, filepath.Join(lastDir, lora.WeightsFile))
	require.Contains(t, out, "the last, after 6 steps, is in "+filepath.Join(whole, lastDir))

	// As if killed after step 4: its checkpoint, more metrics, a half-written
	// checkpoint and a half-written file.
	require.NoError(t, os.CopyFS(cut, os.DirFS(whole)))
	for _, name := range []string{"checkpoint-6", lastDir, lora.ConfigFile, lora.WeightsFile} {
		require.NoError(t, os.RemoveAll(filepath.Join(cut, name)))
	}
	require.NoError(t, os.Mkdir(filepath.Join(cut, "checkpoint-6.tmp-00000000"), 0o755))
	for _, name := range []string{"prompt.json.tmp-00000000", "prompt.json.tmp3380319676"} {
		require.NoError(t, os.WriteFile(filepath.Join(cut, name), nil, 0o644))
	}

	status, _, errs = impulseMain(t, smallRun(data, cut)...)
	require.Equal(t, 1, status)
	require.Contains(t, errs, "holds a run that was not finished: go on with --resume, or start anew with --overwrite")
	status, out, errs = impulseMain(t, append(smallRun(data, cut), "--resume", "--lora-dropout", "0.5")...)
	require.Equal(t, 1, status)
	require.Contains(t, out, "warning: removed checkpoint-6.tmp-00000000, which was not finished")
	require.Contains(t, errs, "--lora-dropout: 0.05 then, 0.5 now")
	require.Contains(t, errs, "--resume-anyway goes on all the same; --overwrite starts anew")
	status, _, errs = impulseMain(t, "train", "--resume", "--output-dir", cut, "--data", prepared(t, 5))
	require.Equal(t, 1, status)
	require.Contains(t, errs, "training examples: 3 then, 4 now")

	status, out, errs = impulseMain(t, "train", "--resume", "--output-dir", cut)
	require.Zero(t, status, errs)
	require.Contains(t, out, "going on after step 4 of 6")
	require.Equal(t, want, outcome(t, cut))
	page := string(read(t, filepath.Join(cut, reportFile)))
	for _, part := range []string{"finished: 6 of 6 steps", "after 1 epochs, 3 steps", "after 2 epochs, 6 steps", "loss: between ", "from step 1 to 6"} {
		require.Contains(t, page, part, "what was before the checkpoint is there too")
	}

	status, _, errs = impulseMain(t, smallRun(data, cut)...)
	require.Equal(t, 1, status)
	require.Contains(t, errs, "is not empty; choose another or say --overwrite")
	status, _, errs = impulseMain(t, append(smallRun(data, cut), "--overwrite", "--save-total-limit", "1", "--eval-split", "0", "--epochs", "1")...)
	require.Zero(t, status, errs)
	require.NoDirExists(t, filepath.Join(cut, "checkpoint-6"))
	require.DirExists(t, filepath.Join(cut, "checkpoint-4"))

	other := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(other, "notes"), nil, 0o644))
	status, _, errs = impulseMain(t, append(smallRun(data, other), "--resume")...)
	require.Equal(t, 1, status)
	require.Contains(t, errs, "holds other files and no run to resume")
}

// TestTrainAverages says what the mean of checkpoints is, and how far the mean
// of the factors is from it.
func TestTrainAverages(t *testing.T) {
	data := shortData(t)
	for method, rank := range map[string]int{"delta": 2, "factors": 1} {
		dir := filepath.Join(t.TempDir(), method)
		status, out, errs := impulseMain(t, append(smallRun(data, dir), "--epochs", "1", "--save-steps", "1", "--save-total-limit", "1", "--average-checkpoints", "2", "--average-method", method)...)
		require.Zero(t, status, errs)
		for _, want := range []string{
			"mean of checkpoint-2, checkpoint-3, method " + method, "where averaging the factors A and B is", "the mean has loss",
			"adapter written to " + dir + ": the mean of checkpoints", "is in " + filepath.Join(dir, "checkpoint-3"), "is in " + filepath.Join(dir, lastDir),
		} {
			require.Contains(t, out, want)
		}
		a, err := lora.ReadAdapter(dir)
		require.NoError(t, err)
		require.Equal(t, rank, a.Config.Rank)
		require.DirExists(t, filepath.Join(dir, "checkpoint-2"), "more are kept than the limit")
	}
	status, _, errs := impulseMain(t, append(smallRun(data, filepath.Join(t.TempDir(), "o")), "--average-checkpoints", "9")...)
	require.Equal(t, 1, status)
	require.Contains(t, errs, "--average-checkpoints 9: this run writes 4")
}
