package lora

import (
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// Through the files, the methods agree with a merge of one adapter, and
// adapters combined first merge to the same.
func TestMergeSeveral(t *testing.T) {
	base := filepath.Join(referenceModels(t), "tiny-mha")
	golden := filepath.Join(base, "golden")
	lora, rslora, patterns := filepath.Join(golden, "adapter-lora"), filepath.Join(golden, "adapter-rslora"), filepath.Join(golden, "adapter-patterns")
	dir := t.TempDir()
	merge := func(opts MergeOptions) (string, MergeReport) {
		opts.Base, opts.Output = base, filepath.Join(dir, fmt.Sprintf("merged-%d", len(names(t, dir))))
		report, err := Merge(t.Context(), opts)
		require.NoError(t, err)
		return opts.Output, report
	}
	values := func(output string) []float32 {
		return readValues(t, output, "model.layers.1.mlp.gate_proj.weight")
	}
	single, _ := merge(MergeOptions{Adapter: lora})
	for _, opts := range []MergeOptions{{}, {Method: MethodCat}, {Method: MethodTIES, Density: 1}, {Method: MethodDARE, Density: 1}} {
		opts.Adapters = []WeightedAdapter{{lora, 1}}
		output, _ := merge(opts)
		require.Equal(t, digest(t, single)["model.safetensors"], digest(t, output)["model.safetensors"], opts.Method)
	}
	full, _ := merge(MergeOptions{Adapters: []WeightedAdapter{{lora, 1}}, Method: MethodSVD, Rank: 8})
	require.InDeltaSlice(t, values(single), values(full), 1e-6)

	list := []WeightedAdapter{{lora, 0.5}, {rslora, -0.25}, {patterns, 1}}
	sum, report := merge(MergeOptions{Adapters: list})
	require.Len(t, report.Adapters, 3)
	require.Equal(t, -0.25, report.Adapters[1].Weight)
	require.Len(t, report.Adapters[2].Files, 2)
	reversed := slices.Clone(list)
	slices.Reverse(reversed)
	again, _ := merge(MergeOptions{Adapters: reversed})
	require.Equal(t, digest(t, sum)["model.safetensors"], digest(t, again)["model.safetensors"], "the order does not matter")
	for _, opts := range []CombineOptions{{Adapters: list}, {Adapters: list, Method: MethodCat}, {Adapters: list, Method: MethodSVD, Rank: 64}} {
		combined, err := Combine(t.Context(), opts)
		require.NoError(t, err)
		at := filepath.Join(dir, fmt.Sprintf("adapter-%s", opts.Method))
		require.NoError(t, combined.Write(at))
		output, _ := merge(MergeOptions{Adapter: at})
		require.InDeltaSlice(t, values(sum), values(output), 1e-6, opts.Method)
	}
	for _, opts := range []CombineOptions{
		{}, {Adapters: list, Method: MethodTIES}, {Adapters: list, Method: MethodSVD}, {Adapters: list, Rank: 2},
		{Adapters: []WeightedAdapter{{lora, math.NaN()}}},
		{Adapters: []WeightedAdapter{{filepath.Join(golden, "adapter-dora"), 1}}},
		{Adapters: []WeightedAdapter{{lora, 1}, {filepath.Join(referenceModels(t), "tiny-gqa", "golden", "adapter-lora"), 1}}},
	} {
		_, err := Combine(t.Context(), opts)
		require.ErrorIs(t, err, errOption, "%+v", opts)
	}
	for _, opts := range []MergeOptions{
		{Adapter: lora, Adapters: list}, {Adapters: list, Method: "mean"}, {Adapters: list, Density: 0.5},
		{Adapters: list, Method: MethodTIES}, {Adapters: list, Method: MethodDARE, Density: 1.5}, {Adapters: list, Method: MethodSVD},
		{Adapters: []WeightedAdapter{{lora, math.Inf(1)}}},
	} {
		opts.Base, opts.Output = base, filepath.Join(dir, "refused")
		_, err := Merge(t.Context(), opts)
		require.ErrorIs(t, err, errOption, "%+v", opts)
	}
	_, err := Merge(t.Context(), MergeOptions{Base: base, Output: filepath.Join(dir, "refused"), Adapters: []WeightedAdapter{{lora, 1}, {filepath.Join(golden, "adapter-dora"), 1}}})
	require.ErrorIs(t, err, errUnsupported)
	require.NoDirExists(t, filepath.Join(dir, "refused"))
}
