package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/salamandra/tokenizer"
)

// TestQuantizedBaseIsNamed: merge and validate name both bases of an adapter, the one
// it was trained on and the one it is on.
func TestQuantizedBaseIsNamed(t *testing.T) {
	dir := t.TempDir()
	adapter := filepath.Join(dir, "adapter")
	require.NoError(t, os.CopyFS(adapter, os.DirFS(filepath.Join(referenceModel, "golden", "adapter-lora"))))
	tok, err := tokenizer.Load(referenceModel)
	require.NoError(t, err)
	c, err := chatml.NewContract("", nil, tok.Hash())
	require.NoError(t, err)
	c.BaseQuantization = "4bit"
	require.NoError(t, c.Write(filepath.Join(adapter, chatml.ContractFile)))

	merge := func(name string, more ...string) string {
		args := append([]string{"merge", "--adapter-path", adapter, "--base-model", referenceModel, "--verify", "1", "--backend", "go", "--output-path", filepath.Join(dir, name)}, more...)
		status, out, errs := impulseMain(t, args...)
		require.Zero(t, status, errs)
		return out
	}
	out := merge("stored")
	require.Contains(t, out, "verified beside the base as its files have it: logits after 1 prompts")
	require.Contains(t, out, "beside the base as it was in training, quantised, logits are off by")
	require.Contains(t, merge("dequantised", "--base", "dequantised"), "verified beside the base as it was in training, 4bit: logits after 1 prompts")

	validate := func(path string, more ...string) string {
		args := append([]string{"validate", "--model-path", path, "--test-file", heldTickets, "--limit", "1", "--max-new-tokens", "1", "--constrained=false", "--backend", "go"}, more...)
		status, out, errs := impulseMain(t, args...)
		require.Zero(t, status, errs)
		return out
	}
	of := []string{"--base-model", referenceModel}
	require.Contains(t, validate(adapter, of...), "linear layers of the base: 4bit in training, 4bit here\n")
	require.Contains(t, validate(adapter, append(of, "--quantize", "8bit")...), "linear layers of the base: 4bit in training, 8bit here\n")
	require.Contains(t, validate(filepath.Join(dir, "dequantised")), "linear layers of the base: 4bit in training, not quantised here\n")
	require.NotContains(t, validate(referenceModel), "linear layers of the base")
}
