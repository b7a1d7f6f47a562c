package lora_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/internal/safetensors"
	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/salamandra/salamandratest"
	"github.com/impulse-salamandra/finetune/salamandra/tokenizer"
)

// trainedOn copies an adapter and says what its base was quantised to.
func trainedOn(t *testing.T, adapter, base, quantized string) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS(adapter)))
	tok, err := tokenizer.Load(base)
	require.NoError(t, err)
	c, err := chatml.NewContract("", nil, tok.Hash())
	require.NoError(t, err)
	c.BaseQuantization = quantized
	require.NoError(t, c.Write(filepath.Join(dir, chatml.ContractFile)))
	return dir
}

// TestMergeDequantized: a merge into the dequantised base is one into a model whose
// files hold the values that its codes stood for, rounded once; verified against what
// was trained, where one into the base as it is stored is farther off, and warned of.
func TestMergeDequantized(t *testing.T) {
	base := salamandratest.Reference(t, "models", "tiny-gqa")
	for _, kind := range []string{"adapter-lora", "adapter-dora"} {
		for _, quantized := range []string{"4bit", "8bit"} {
			t.Run(kind+" "+quantized, func(t *testing.T) {
				adapter := trainedOn(t, filepath.Join(base, "golden", kind), base, quantized)
				root := t.TempDir()
				merge := func(o lora.MergeOptions) lora.MergeReport {
					o.Adapter, o.Backend = adapter, "go"
					r, err := lora.Merge(t.Context(), o)
					require.NoError(t, err)
					return r
				}
				got, want := filepath.Join(root, "got"), filepath.Join(root, "want")
				r := merge(lora.MergeOptions{Base: base, Output: got, Dequantized: true, Verify: 2})
				require.Equal(t, quantized, r.Dequantized)
				require.NotNil(t, r.Verified)
				require.Nil(t, r.FromTrained)
				merge(lora.MergeOptions{Base: salamandratest.Dequantized(t, base, quantized), Output: want, Dtype: "bfloat16"})
				requireSameTensors(t, want, got)

				r = merge(lora.MergeOptions{Base: base, Output: filepath.Join(root, "stored"), Verify: 2})
				require.Empty(t, r.Dequantized)
				require.Greater(t, r.FromTrained.Error, r.Verified.Error)
				require.Contains(t, strings.Join(r.Warnings, "\n"), "trained on the base in "+quantized)
			})
		}
	}
	_, err := lora.Merge(t.Context(), lora.MergeOptions{
		Base: base, Adapter: trainedOn(t, filepath.Join(base, "golden", "adapter-lora"), base, ""), Output: filepath.Join(t.TempDir(), "out"), Dequantized: true,
	})
	require.ErrorContains(t, err, "Dequantized goes with an adapter whose prompt.json says that its base was quantised")
}

// requireSameTensors compares all tensors of two models.
func requireSameTensors(t *testing.T, want, got string) {
	t.Helper()
	x, err := safetensors.OpenModel(want)
	require.NoError(t, err)
	defer x.Close()
	y, err := safetensors.OpenModel(got)
	require.NoError(t, err)
	defer y.Close()
	require.ElementsMatch(t, x.Tensors(), y.Tensors())
	for _, info := range x.Tensors() {
		a, err := x.Bytes(info.Name)
		require.NoError(t, err)
		b, err := y.Bytes(info.Name)
		require.NoError(t, err)
		require.Equal(t, a, b, info.Name)
	}
}
