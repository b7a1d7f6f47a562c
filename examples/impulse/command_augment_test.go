package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/dataset/impulse"
)

// Variants of examples of any format are written with their sources, the same bytes
// for the same seed, and train reads them.
func TestAugment(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	status, out, errs := impulseMain(t, "augment", "--data", heldTickets, "--output", path("a.jsonl"), "--variants", "3")
	require.Zero(t, status, errs)
	require.Contains(t, out, "held.jsonl: 12 records, format prompt/completion\n12 of 12 records varied, ")
	require.Contains(t, out, "politeness: ")
	status, _, errs = impulseMain(t, "augment", "--data", heldTickets, "--output", path("b.jsonl"), "--variants", "3")
	require.Zero(t, status, errs)
	a, err := os.ReadFile(path("a.jsonl"))
	require.NoError(t, err)
	b, err := os.ReadFile(path("b.jsonl"))
	require.NoError(t, err)
	require.Equal(t, string(a), string(b))
	records, _, err := dataset.ReadFile(path("a.jsonl"))
	require.NoError(t, err)
	require.Greater(t, len(records), 36)
	require.Equal(t, `"mail"`, string(records[1].Extra["channel"]), "what stands beside the conversation stays")

	status, out, errs = impulseMain(t, "train", "--model", tinyModel, "--data", path("a.jsonl"), "--schema", ticketSchema, "--dry-run")
	require.Zero(t, status, errs)
	require.Contains(t, out, "format messages")
}

// Answers of IMPULSE's repeat the question, and then the variant.
func TestAugmentRepeatsTheQuestion(t *testing.T) {
	output := filepath.Join(t.TempDir(), "a.jsonl")
	status, out, errs := impulseMain(t, "augment", "--data", "demo/data/test_set.json", "--output", output)
	require.Zero(t, status, errs)
	require.Contains(t, out, "format impulse current")
	records, _, err := dataset.ReadFile(output)
	require.NoError(t, err)
	require.Greater(t, len(records), 40)
	check := violation(impulse.Schema(impulse.Current))
	for _, r := range records {
		require.NoError(t, check(r.Answer()), r.ID)
		require.Contains(t, r.Answer(), `"original_query": "`+strings.ReplaceAll(r.Question(), `"`, `\"`)+`"`, r.ID)
	}
}

// What a model says in other words is held against the answer: of an untrained one
// nothing is kept that lost a value.
func TestAugmentParaphrases(t *testing.T) {
	t.Setenv("GOMLX_BACKEND", "go")
	output := filepath.Join(t.TempDir(), "a.jsonl")
	status, out, errs := impulseMain(t, "augment", "--data", heldTickets, "--output", output, "--variants", "0", "--model", tinyModel)
	require.Zero(t, status, errs)
	require.Contains(t, out, "paraphrase: ")
	require.Contains(t, out, "not kept:\n")
	records, _, err := dataset.ReadFile(output)
	require.NoError(t, err)
	for _, r := range records {
		require.Contains(t, []string{"", `"paraphrase"`}, string(r.Extra["variant_by"]))
	}
}

func TestAugmentRefuses(t *testing.T) {
	status, _, errs := impulseMain(t, "augment", "--data", "none.jsonl", "--output", "none.jsonl", "--temperature", "-1")
	require.Equal(t, 1, status)
	for _, want := range []string{"--data: stat none.jsonl", "--output is the file of --data", "temperature"} {
		require.Contains(t, strings.ToLower(errs), strings.ToLower(want))
	}
	status, _, errs = impulseMain(t, "augment")
	require.Equal(t, 1, status)
	require.Contains(t, errs, "--data is required")
	require.Contains(t, errs, "--output is required")
	status, _, errs = impulseMain(t, "augment", "--data", heldTickets, "--output", filepath.Join(t.TempDir(), "a"), "--templates", "slang")
	require.Equal(t, 1, status)
	require.Contains(t, errs, `template "slang", want some of accents`)
}
