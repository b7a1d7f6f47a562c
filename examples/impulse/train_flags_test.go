package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/lora/train"
)

// Errors of the library name flags that there are, and so do the differences of a
// run that is resumed.
func TestErrorsNameFlags(t *testing.T) {
	for field := range flagNames {
		require.True(t, slices.ContainsFunc(newRootCommand().Commands(), func(c *cobra.Command) bool {
			return c.Flags().Lookup(strings.TrimPrefix(flagOf(field), "--")) != nil
		}), field)
	}
	for _, row := range []struct {
		then, now any // settings, as a checkpoint keeps them
		want      string
	}{
		{train.Config{MaxGradNorm: 1}, train.Config{MaxGradNorm: 2}, "--gradient-clip: 1 then, 2 now"},
		{train.Config{GradientCheckpointing: true}, train.Config{}, "--gradient-checkpointing: on then, off now"},
		{lora.Config{Rank: 4}, lora.Config{Rank: 8}, "--lora-r: 4 then, 8 now"},
		{dataset.PlanOptions{SharedPrefix: true}, dataset.PlanOptions{}, "--no-shared-prefix: false then, true now"},
		{dataset.PlanOptions{LossAll: true}, dataset.PlanOptions{}, "--loss: all then, completion now"},
	} {
		var then, now map[string]json.RawMessage
		for object, fields := range map[any]*map[string]json.RawMessage{&row.then: &then, &row.now: &now} {
			text, err := json.Marshal(object)
			require.NoError(t, err)
			require.NoError(t, json.Unmarshal(text, fields))
		}
		for key, value := range then {
			if string(now[key]) != string(value) {
				require.Equal(t, row.want, flagDifference(train.Difference{Setting: key, Then: string(value), Now: string(now[key])}))
			}
		}
	}
	require.Equal(t, "training examples: 3 then, 4 now", flagDifference(train.Difference{Setting: "training examples", Then: "3", Now: "4"}))
}

// tickets writes n chat records whose answers are JSON.
func tickets(t *testing.T, n int) string {
	t.Helper()
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"messages": [{"role": "user", "content": "question %d"}, {"role": "assistant", "content": "{\"n\": %d}"}]}`+"\n", i, i)
	}
	path := filepath.Join(t.TempDir(), "tickets.jsonl")
	require.NoError(t, os.WriteFile(path, []byte(b.String()), 0o644))
	return path
}

// tiny are the flags of a run of a step.
func tiny(data, dir string, args ...string) []string {
	return append([]string{"train", "--model", tinyModel, "--data", data, "--output-dir", dir, "--max-steps", "1", "--eval-split", "0", "--report-samples", "0", "--max-length", "128"}, args...)
}

// What --init-adapter brings is not asked for otherwise: a flag that differs is
// refused with both values, one that is equal is taken, and what is kept of the
// run says what was done.
func TestInitAdapterFlags(t *testing.T) {
	data, dir := tickets(t, 2), t.TempDir()
	first, second := filepath.Join(dir, "first"), filepath.Join(dir, "second")
	status, _, errs := impulseMain(t, tiny(data, first, "--lora-r", "2", "--lora-alpha", "8", "--target-modules", "q_proj,v_proj")...)
	require.Zero(t, status, errs)

	status, _, errs = impulseMain(t, tiny(data, second, "--init-adapter", first, "--lora-r", "16", "--lora-alpha", "99", "--use-rslora", "--target-modules", "q_proj", "--lora-dropout", "0.3")...)
	require.Equal(t, 1, status)
	for _, want := range []string{
		"--lora-r 16: the adapter of --init-adapter " + first + " has 2", "--lora-alpha 99: the adapter of --init-adapter " + first + " has 8",
		"--use-rslora true: ", "has false", "--target-modules q_proj: ", "has q_proj,v_proj",
	} {
		require.Contains(t, errs, want)
	}
	require.NotContains(t, errs, "dropout", "that is not the adapter's to say")
	require.NoDirExists(t, second)

	status, _, errs = impulseMain(t, tiny(data, second, "--init-adapter", first, "--lora-r", "2", "--target-modules", "v_proj,q_proj")...)
	require.Zero(t, status, errs)
	var args map[string]any
	require.NoError(t, json.Unmarshal(read(t, filepath.Join(second, trainingArgsFile)), &args))
	require.EqualValues(t, 2, args["lora-r"])
	require.EqualValues(t, 8, args["lora-alpha"])
	require.Equal(t, first, args["init-adapter"])
	require.Contains(t, []any{"on", "off"}, args["gradient-checkpointing"], "what auto came to: less memory later is no reason not to go on")
	a, err := lora.ReadAdapter(second)
	require.NoError(t, err)
	require.Equal(t, 2, a.Config.Rank)
	require.Equal(t, 8.0, a.Config.Alpha)
	require.ElementsMatch(t, []string{"q_proj", "v_proj"}, a.Config.TargetModules)
}

// Every target is adapted, or refused before anything is computed.
func TestTargetsAreDone(t *testing.T) {
	for _, target := range []string{"lm_head", "embed_tokens", "input_layernorm", "model.norm", "nosuch"} {
		dir := filepath.Join(t.TempDir(), "out")
		status, _, errs := impulseMain(t, tiny(tickets(t, 2), dir, "--target-modules", "q_proj,"+target)...)
		require.Equal(t, 1, status, target)
		require.Contains(t, errs, "--target-modules "+target+": ")
		require.NotContains(t, errs, "--target-modules q_proj: ")
		require.NoDirExists(t, dir)
	}
}

// Targets may be listed with blanks, and all of them as PEFT calls them.
func TestTargetsAsTyped(t *testing.T) {
	data, out := tickets(t, 2), filepath.Join(t.TempDir(), "out")
	free := regexp.MustCompile(`, of [\d.]+ GB`) // what the machine has left changes from run to run
	plan := func(targets string) string {
		status, text, errs := impulseMain(t, tiny(data, out, "--dry-run", "--target-modules", targets)...)
		require.Equal(t, 0, status, errs)
		return free.ReplaceAllString(text, "")
	}
	all := plan("q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj")
	require.Equal(t, all, plan("all-linear"))
	require.Equal(t, all, plan("q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj"))
	require.NotEqual(t, all, plan("q_proj"))
}

// A prompt with a place for the question is taken as it is, with a warning.
func TestPromptPlaceholder(t *testing.T) {
	prompt := filepath.Join(t.TempDir(), "p.txt")
	for text, warned := range map[string]bool{"Parse {query} as JSON.": true, "Parse {{ Question }}.": true, `Answer {"query": "..."} or {}.`: false} {
		require.NoError(t, os.WriteFile(prompt, []byte(text), 0o600))
		status, out, errs := impulseMain(t, tiny(tickets(t, 2), filepath.Join(t.TempDir(), "out"), "--dry-run", "--prompt-file", prompt)...)
		require.Equal(t, 0, status, errs)
		require.Equal(t, warned, strings.Contains(out, "stays as it is written: the question is a message of its own"), text)
	}
}

// --prompt-file is the system prompt of records that have none, and refused where
// they have another.
func TestPromptFileIsUsed(t *testing.T) {
	dir := t.TempDir()
	prompt := filepath.Join(dir, "p.txt")
	require.NoError(t, os.WriteFile(prompt, []byte("Answer in JSON."), 0o644))
	status, _, errs := impulseMain(t, tiny(tickets(t, 2), filepath.Join(dir, "out"), "--prompt-file", prompt,
		"--title", "Tickets", "--description", "Files tickets.", "--examples", "broken, order 3", "--examples", "late")...)
	require.Zero(t, status, errs)
	contract, err := chatml.ReadContract(filepath.Join(dir, "out", chatml.ContractFile))
	require.NoError(t, err)
	require.Equal(t, "Answer in JSON.", contract.SystemPrompt)
	require.Equal(t, []string{"Tickets", "Files tickets.", "broken, order 3", "late"}, append([]string{contract.Title, contract.Description}, contract.Examples...))

	status, _, errs = impulseMain(t, tiny(prepared(t, 2), filepath.Join(dir, "other"), "--prompt-file", prompt, "--max-length", "512")...)
	require.Equal(t, 1, status)
	require.Contains(t, errs, "--prompt-file does not apply: ")
	require.Contains(t, errs, `record "TRAIN_0001": the record has a system prompt of its own; also `)
	require.NoDirExists(t, filepath.Join(dir, "other"))
}

// A run goes on from another directory than it was begun in, and its adapter is
// found from anywhere.
func TestAnyDirectory(t *testing.T) {
	root := t.TempDir()
	require.NoError(t, os.CopyFS(filepath.Join(root, "model"), os.DirFS(tinyModel)))
	require.NoError(t, os.Rename(tickets(t, 2), filepath.Join(root, "tickets.jsonl")))
	elsewhere := t.TempDir()
	t.Chdir(root)
	status, _, errs := impulseMain(t, "train", "--model", "model", "--data", "tickets.jsonl", "--output-dir", "out", "--max-steps", "2", "--epochs", "2", "--batch-size", "1",
		"--eval-split", "0", "--max-length", "128", "--lora-r", "1", "--save-steps", "1")
	require.Zero(t, status, errs)
	for _, name := range []string{"checkpoint-2", lora.ConfigFile, lora.WeightsFile} {
		require.NoError(t, os.RemoveAll(filepath.Join("out", name)))
	}
	t.Chdir(elsewhere)
	out := filepath.Join(root, "out")
	status, said, errs := impulseMain(t, "train", "--resume", "--output-dir", out)
	require.Zero(t, status, errs)
	require.Contains(t, said, "going on after step 1 of 2")
	a, err := lora.ReadAdapter(out)
	require.NoError(t, err)
	require.True(t, filepath.IsAbs(a.Config.BaseModelNameOrPath), a.Config.BaseModelNameOrPath)
	for key, value := range settings(t, out) {
		if slices.Contains([]string{"model", "data", "output-dir"}, key) {
			require.True(t, filepath.IsAbs(value.(string)), "%s %s", key, value)
		}
	}
}

func settings(t *testing.T, dir string) map[string]any {
	t.Helper()
	var args map[string]any
	require.NoError(t, json.Unmarshal(read(t, filepath.Join(dir, trainingArgsFile)), &args))
	return args
}
