package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/chatml"
	rules "github.com/impulse-salamandra/finetune/evalx/impulse"
	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/salamandra/device"
)

// tinyModel is the demonstration's model.
const tinyModel = "demo/tiny-salamandra"

// impulseMain runs a command line and returns its exit status and output.
func impulseMain(t *testing.T, args ...string) (status int, out, errs string) {
	t.Helper()
	t.Setenv("GOMLX_BACKEND", "go")
	var o, e bytes.Buffer
	status = execute(newRootCommand(), args, &o, &e)
	return status, o.String(), e.String()
}

// prepared writes n training examples of the demonstration.
func prepared(t *testing.T, n int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "all.jsonl")
	o := prepareOptions{InputDir: "demo/data/batches", OutputFile: path, Pattern: "batch*.json", PromptFile: "demo/data/system_prompt.txt"}
	require.NoError(t, runPrepare(t.Context(), o, io.Discard))
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	lines := strings.SplitAfter(string(data), "\n")
	require.NoError(t, os.WriteFile(path, []byte(strings.Join(lines[:n], "")), 0o644))
	return path
}

// TestTrainMergeValidate runs the guide's commands, short, and looks at every
// file they leave.
func TestTrainMergeValidate(t *testing.T) {
	dir := t.TempDir()
	adapter, merged := filepath.Join(dir, "adapter"), filepath.Join(dir, "merged")
	status, out, errs := impulseMain(t, "train", "--model", tinyModel, "--data", prepared(t, 4), "--output-dir", adapter,
		"--epochs", "1", "--max-steps", "2", "--batch-size", "1", "--lora-r", "2", "--lora-alpha", "4", "--eval-split", "0.25", "--learning-rate", "1e-3", "--report-samples", "0", "--use-wandb")
	require.Zero(t, status, errs)
	for _, part := range []string{"backend go:ops_sequential (GOMLX_BACKEND)", "Weights & Biases: wandb sync " + adapter, "IMPULSE's schema, variant current", "adapter written to " + adapter} {
		require.Contains(t, out, part)
	}

	a, err := lora.ReadAdapter(adapter)
	require.NoError(t, err)
	require.Equal(t, 2, a.Config.Rank)
	require.Len(t, a.Modules, 42)
	contract, err := chatml.ReadContract(filepath.Join(adapter, chatml.ContractFile))
	require.NoError(t, err)
	require.Equal(t, "Parse the query to JSON.", contract.SystemPrompt)
	require.NotEmpty(t, contract.Schema)
	checkMetrics(t, filepath.Join(adapter, metricsFile))

	// training_args.json repeats the run, byte for byte.
	again := filepath.Join(dir, "again")
	status, _, errs = impulseMain(t, "train", "--config", filepath.Join(adapter, trainingArgsFile), "--output-dir", again)
	require.Zero(t, status, errs)
	require.Equal(t, read(t, filepath.Join(adapter, lora.WeightsFile)), read(t, filepath.Join(again, lora.WeightsFile)), "same seed, same bytes")

	status, out, errs = impulseMain(t, "merge", "--adapter-path", adapter, "--output-path", merged)
	require.Zero(t, status, errs)
	require.Contains(t, out, "merged 42 of 57 tensors")

	results := filepath.Join(dir, "results.json")
	status, out, errs = impulseMain(t, "validate", "--model-path", merged, "--limit", "2", "--max-new-tokens", "240", "--verbose",
		"--save-results", results, "--tsv", filepath.Join(dir, "r.tsv"), "--report", filepath.Join(dir, "r.html"))
	require.Zero(t, status, errs)
	for _, part := range []string{"TEST RESULTS SUMMARY", "Total tests: 2", "By language:", "By type:", "FAILED SAMPLE_01", "wrote " + results} {
		require.Contains(t, out, part)
	}
	require.NotContains(t, out, "no prompt.json", "merge carries it over")
	var saved struct {
		Summary struct {
			Overall map[string]struct{ Share float64 }
		}
	}
	require.NoError(t, json.Unmarshal(read(t, results), &saved))
	require.Equal(t, 1.0, saved.Summary.Overall["schema_compliant"].Share, "answers are kept to the schema: %v", saved.Summary.Overall)
	require.Contains(t, string(read(t, filepath.Join(dir, "r.html"))), "Content-Security-Policy")

	status, out, errs = impulseMain(t, "verify", merged)
	require.Zero(t, status, out+errs)
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return data
}

// checkMetrics looks at every line of metrics.jsonl.
func checkMetrics(t *testing.T, path string) {
	t.Helper()
	steps, evaluations := 0, 0
	for line := range bytes.Lines(read(t, path)) {
		var m map[string]any
		require.NoError(t, json.Unmarshal(line, &m))
		if _, ok := m["eval_loss"]; ok {
			evaluations++
			continue
		}
		steps++
		for _, key := range []string{"step", "epoch", "time", "loss", "grad_norm", "learning_rate", "tokens", "trained_tokens", "tokens_per_second", "peak_memory_bytes"} {
			require.Contains(t, m, key)
		}
	}
	require.Equal(t, 2, steps)
	require.Equal(t, 1, evaluations)
}

// TestTrainRefuses checks that every wrong flag is named, on lines of their
// own, with exit status 1.
func TestTrainRefuses(t *testing.T) {
	data := prepared(t, 4)
	full := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(full, "x"), nil, 0o644))
	config := filepath.Join(t.TempDir(), "c.json")
	require.NoError(t, os.WriteFile(config, []byte(`{"lora-r": "many", "lora_x": 1}`), 0o644))
	bare := t.TempDir()
	empty := filepath.Join(t.TempDir(), "empty.jsonl")
	require.NoError(t, os.WriteFile(empty, nil, 0o644))
	twice := filepath.Join(t.TempDir(), "twice.jsonl")
	first, _, _ := bytes.Cut(read(t, data), []byte("\n"))
	require.NoError(t, os.WriteFile(twice, append(read(t, data), first...), 0o644))
	tests := overlapping(t)
	for _, row := range []struct {
		name string
		args []string
		want []string
	}{
		{"nothing given", nil, []string{"--model is required", "--data is required", "--output-dir is required"}},
		{"quantised base", []string{"--quantize", "3bit"}, []string{`--quantize "3bit", want none, 4bit or 8bit`}},
		{"numbers out of range", []string{"--epochs", "0", "--learning-rate", "-1", "--lora-r", "0", "--gradient-accumulation-steps", "0"},
			[]string{"0 epochs", "learning rate -1", "r: 0, want at least 1", "accumulation over 0"}},
		{"output in use", []string{"--model", tinyModel, "--data", data, "--output-dir", full}, []string{"is not empty; choose another or say --overwrite"}},
		{"a directory that is no model", []string{"--model", bare, "--data", data, "--output-dir", "out"}, []string{bare + " is not a model directory"}},
		{"no data", []string{"--model", tinyModel, "--data", "none.jsonl", "--output-dir", "out"}, []string{"none.jsonl"}},
		{"empty data", []string{"--model", tinyModel, "--data", empty, "--output-dir", "out"}, []string{"empty.jsonl: no examples"}},
		{"too long", []string{"--model", tinyModel, "--data", data, "--output-dir", "out", "--max-length", "100"}, []string{"TRAIN_0001", "100"}},
		{"faults of a config file", []string{"--config", config}, []string{"no flag --lora-x", "lora-r"}},
		{"data out of range", []string{"--batch-size", "0", "--max-length", "0", "--max-shapes", "0", "--eval-split", "2", "--date", "today", "--prompt-file", "none.txt", "--schema", "none.json", "--allow-test-overlap"},
			[]string{"--batch-size 0", "--max-length 0", "--max-shapes 0", "--eval-split 2", `--date "today"`, "--prompt-file: stat none.txt", "--schema: stat none.json", "--allow-test-overlap goes with"}},
		{"a directory of data", []string{"--model", tinyModel, "--data", "demo/data/batches", "--output-dir", "out"}, []string{"demo/data/batches is a directory", "impulse prepare --input-dir"}},
		{"not in the model", []string{"--model", tinyModel, "--data", data, "--output-dir", "out", "--target-modules", "q_proj,k", "--max-length", "4096"},
			[]string{"--target-modules k: the model has no such layer; want some of q_proj", "the model has 2048 positions"}},
		{"an id twice", []string{"--model", tinyModel, "--data", twice, "--output-dir", "out"}, []string{"TRAIN_0001", "records 1 and 5"}},
		{"tested on what was trained", []string{"--model", tinyModel, "--data", data, "--output-dir", "out", "--test-file", tests}, []string{
			"2 of 3 test queries are in the training data", `test query same "AGRICULTURA de precisió: universitats, centres de recerca"`, "record TRAIN_0001 is the same",
			"test query near", "record TRAIN_0015 resembles it", "--allow-test-overlap",
		}},
		{"means of nothing", []string{"--average-checkpoints", "1", "--average-method", "x", "--average-rank", "-1"},
			[]string{"--average-checkpoints 1", `--average-method "x"`, "--average-rank -1"}},
		{"unknown backend", []string{"--model", tinyModel, "--data", data, "--output-dir", filepath.Join(bare, "o"), "--backend", "tpu9"}, []string{"backend tpu9"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			status, _, errs := impulseMain(t, append([]string{"train"}, row.args...)...)
			require.Equal(t, 1, status)
			for _, want := range row.want {
				require.Contains(t, errs, want)
			}
			for line := range strings.Lines(errs) {
				require.True(t, strings.HasPrefix(line, "impulse: "), "%q", line)
			}
			require.NoDirExists(t, "out")
		})
	}
}

// overlapping writes test queries: two that are in the training data or nearly
// so, and one that is not.
func overlapping(t *testing.T) string {
	t.Helper()
	var lines strings.Builder
	for _, q := range [][2]string{
		{"same", "AGRICULTURA de precisió: universitats, centres de recerca"},
		{"near", "Quines iniciatives s'han fet sobre energia eòlica marina amb centre de recerca?"},
		{"other", "quantum sensors in Girona"},
	} {
		fmt.Fprintf(&lines, `{"id": %q, "prompt": %q, "completion": "{}"}`+"\n", q[0], q[1])
	}
	path := filepath.Join(t.TempDir(), "tests.jsonl")
	require.NoError(t, os.WriteFile(path, []byte(lines.String()), 0o644))
	return path
}

// TestDryRun plans and writes nothing, and refuses what the run would.
func TestDryRun(t *testing.T) {
	base, dir, data := t.TempDir(), filepath.Join(t.TempDir(), "out"), prepared(t, 4)
	dry := func(args ...string) (int, string, string) {
		return impulseMain(t, append([]string{"train", "--model", tinyModel, "--data", data, "--output-dir", dir, "--dry-run"}, args...)...)
	}
	status, out, errs := dry("--test-file", overlapping(t), "--allow-test-overlap", "--warmup-steps", "9", "--learning-rate", "2", "--lora-r", "4", "--lora-alpha", "99")
	require.Zero(t, status, errs)
	for _, part := range []string{
		"training on 3 examples", "warning: --test-file", "warning: --warmup-steps 9: the run has 6 steps", "warning: --learning-rate 2 is outside what is usual",
		"warning: --lora-alpha 99 and --lora-r 4 scale the adapter by 24.8",
	} {
		require.Contains(t, out, part)
	}
	status, out, errs = dry("--eval-split", "0", "--early-stopping-patience", "2", "--learning-rate", "1e-9")
	require.Zero(t, status, errs)
	require.Contains(t, out, "warning: --early-stopping-patience 2 has no effect: there are no held-out examples")
	require.Contains(t, out, "warning: --learning-rate 1e-09 is outside")
	status, out, errs = dry("--eval-split", "0")
	require.Zero(t, status, errs)
	require.NotContains(t, out, "early-stopping", "nobody asked for it")
	require.NoDirExists(t, dir)

	for _, name := range []string{"config.json", "tokenizer.json", "tokenizer_config.json"} {
		require.NoError(t, os.WriteFile(filepath.Join(base, name), read(t, filepath.Join(tinyModel, name)), 0o644))
	}
	full := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(full, "x"), nil, 0o644))
	for _, row := range []struct {
		name string
		args []string
		want string
	}{
		{"no weights", []string{"--model", base}, "model.safetensors"},
		{"output in use", []string{"--output-dir", full}, "--output-dir " + full + " is not empty"},
		{"output below a file", []string{"--output-dir", filepath.Join(full, "x", "y")}, "not a directory"},
		{"no adapter", []string{"--init-adapter", full}, "--init-adapter: "},
		{"dropout", []string{"--lora-dropout", "1"}, "lora_dropout"},
		{"dtype", []string{"--dtype", "int8"}, `--dtype "int8"`},
	} {
		status, _, errs := dry(row.args...)
		require.Equal(t, 1, status, row.name)
		require.Contains(t, errs, row.want, row.name)
	}
}

// TestDrift checks that an adapter is not served otherwise than it was trained.
func TestDrift(t *testing.T) {
	adapter := filepath.Join(t.TempDir(), "adapter")
	status, _, errs := impulseMain(t, "train", "--model", tinyModel, "--data", prepared(t, 2), "--output-dir", adapter,
		"--epochs", "1", "--lora-r", "1", "--eval-split", "0", "--target-modules", "q_proj")
	require.Zero(t, status, errs)

	other := filepath.Join(t.TempDir(), "other")
	require.NoError(t, os.CopyFS(other, os.DirFS(tinyModel)))
	weights := read(t, filepath.Join(other, "model.safetensors"))
	weights[len(weights)-1] ^= 1
	require.NoError(t, os.WriteFile(filepath.Join(other, "model.safetensors"), weights, 0o644))
	tok := bytes.Replace(read(t, filepath.Join(other, "tokenizer.json")), []byte("{"), []byte("{ "), 1)
	require.NoError(t, os.WriteFile(filepath.Join(other, "tokenizer.json"), tok, 0o644))

	validate := []string{"validate", "--model-path", adapter, "--base-model", other, "--limit", "1", "--max-new-tokens", "1", "--constrained=false"}
	for _, args := range [][]string{
		validate,
		{"merge", "--adapter-path", adapter, "--base-model", other, "--output-path", filepath.Join(t.TempDir(), "m")},
	} {
		status, _, errs := impulseMain(t, args...)
		require.Equal(t, 1, status)
		for _, want := range []string{"tokenizer_sha256", "base_sha256", "--allow-drift"} {
			require.Contains(t, errs, want)
		}
	}
	status, out, errs := impulseMain(t, append(validate, "--allow-drift")...)
	require.Zero(t, status, errs)
	require.Contains(t, out, "warning: prompt differs from training")

	prompt := filepath.Join(t.TempDir(), "p.txt")
	require.NoError(t, os.WriteFile(prompt, []byte("Altra cosa."), 0o644))
	schema := filepath.Join(t.TempDir(), "s.json")
	require.NoError(t, os.WriteFile(schema, []byte(`{"type": "object"}`), 0o644))
	status, out, errs = impulseMain(t, "validate", "--model-path", adapter, "--limit", "1", "--max-new-tokens", "1", "--constrained=false", "--prompt-file", prompt, "--schema", schema, "--test-file", "demo/data/test_set.json")
	require.Zero(t, status, errs)
	require.Contains(t, out, "warning: the system prompt differs")
	require.Contains(t, out, "warning: the schema differs")
}

// TestValidatePredictions scores written answers by both rule sets without a
// model.
func TestValidatePredictions(t *testing.T) {
	dir := t.TempDir()
	answers := filepath.Join(dir, "answers.jsonl")
	require.NoError(t, os.WriteFile(answers, []byte(`{"id": "SAMPLE_01", "response": "no idea"}`+"\n"), 0o644))
	for _, rules := range []string{rules.Standard, rules.Published} {
		status, out, errs := impulseMain(t, "validate", "--predictions", answers, "--rules", rules, "--tsv", filepath.Join(dir, "new", "deep", rules+".tsv"))
		require.Zero(t, status, errs)
		require.Contains(t, out, "19 queries have no answer")
		require.Contains(t, out, "Total tests: 1")
	}
	status, _, errs := impulseMain(t, "validate", "--predictions", answers, "--save-results", dir)
	require.Equal(t, 1, status)
	require.Contains(t, errs, "not a regular file")
	status, _, errs = impulseMain(t, "validate", "--predictions", answers, "--rules", "mine", "--model-path", "x")
	require.Equal(t, 1, status)
	require.Contains(t, errs, "exclude each other")
}

func TestColour(t *testing.T) {
	require.Equal(t, "\x1b[32m  Passed: 1\x1b[0m\n\x1b[31m  Failed: 2\x1b[0m\nother\n", colour("  Passed: 1\n  Failed: 2\nother\n"))
}

func TestDoctor(t *testing.T) {
	status, out, errs := impulseMain(t, "doctor")
	require.Zero(t, status, errs)
	for _, part := range []string{"Go backend", "go:ops_sequential (GOMLX_BACKEND)", "float32"} {
		require.Contains(t, out, part)
	}
}

func TestFusedAttentionOption(t *testing.T) {
	if !slices.Contains(device.Plugins(), "cpu") {
		t.Log("training with the option is not tried: no XLA plugin for the CPU (PJRT_PLUGIN_LIBRARY_PATH)")
		return
	}
	status, out, errs := impulseMain(t, "train", "--backend", "xla:cpu,fused_attention=false", "--model", tinyModel, "--data", prepared(t, 4),
		"--output-dir", t.TempDir(), "--max-steps", "2", "--batch-size", "2", "--eval-split", "0", "--report-samples", "0")
	require.Zero(t, status, out+errs)
	require.Contains(t, out, "attention from matrix products")
}
