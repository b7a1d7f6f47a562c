package lora

import (
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// updateOf returns the whole update [out*in] that parts make.
func updateOf(t testing.TB, opts MergeOptions, parts ...part) []float32 {
	t.Helper()
	u, err := newUpdater(t.Context(), opts, parts)
	require.NoError(t, err)
	row := u.newRow()
	update := make([]float32, u.out*u.in)
	for i := range u.out {
		row.compute(i, update[i*u.in:(i+1)*u.in])
	}
	return update
}

// dense returns a part whose update is these rows of two: A is the identity.
func dense(weight float64, update ...float32) part {
	m := Module{Name: q, In: 2, Out: len(update) / 2, Rank: 2, A: []float32{1, 0, 0, 1}, B: update}
	return part{m, 1, weight}
}

func TestMethodsByHand(t *testing.T) {
	for _, row := range []struct {
		name, reason string
		opts         MergeOptions
		parts        []part
		want         []float32
	}{
		{name: "linear", opts: MergeOptions{Method: MethodLinear}, parts: []part{dense(0.5, 2, 4), dense(-2, 1, 0)}, want: []float32{-1, 2}, reason: "0.5*2 - 2*1, 0.5*4"},
		{name: "cat", opts: MergeOptions{Method: MethodCat}, parts: []part{dense(0.5, 2, 4), dense(-2, 1, 0)}, want: []float32{-1, 2}, reason: "the same sum"},
		{
			name: "ties elects", opts: MergeOptions{Method: MethodTIES, Density: 1},
			parts: []part{dense(1, 3, 1), dense(1, -1, 2), dense(1, -1, 0)}, want: []float32{3, 1.5},
			reason: "3 outweighs -1 and -1; zeros do not count in the mean",
		},
		{
			name: "ties trims", opts: MergeOptions{Method: MethodTIES, Density: 0.5},
			parts: []part{dense(1, 4, 1, -3, 2), dense(1, 1, 5, 6, -2)}, want: []float32{4, 5, 6, 0},
			reason: "of each the two largest are left: 4 and -3, 5 and 6; 6 outweighs -3",
		},
		{
			name: "ties weighs", opts: MergeOptions{Method: MethodTIES, Density: 1},
			parts: []part{dense(1, 3, 3), dense(2, -2, 2)}, want: []float32{-4, 3.5}, reason: "-4 outweighs 3; the mean of 3 and 4",
		},
		{
			name: "ties negative weight", opts: MergeOptions{Method: MethodTIES, Density: 1},
			parts: []part{dense(1, 1, 1), dense(-1, -3, 3)}, want: []float32{2, -3}, reason: "the mean of 1 and 3; -3 outweighs 1",
		},
		{
			name: "ties undecided", opts: MergeOptions{Method: MethodTIES, Density: 1},
			parts: []part{dense(1, 1, 0), dense(-1, 1, 0)}, want: []float32{0, 0}, reason: "no sign has the majority",
		},
		{
			name: "svd", opts: MergeOptions{Method: MethodSVD, Rank: 1},
			parts: []part{dense(1, 3, 0, 0, 0), dense(-1, 0, 0, 0, 2)}, want: []float32{3, 0, 0, 0}, reason: "diag(3, -2) without the smaller singular value",
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			require.InDeltaSlice(t, row.want, updateOf(t, row.opts, row.parts...), 1e-6, row.reason)
		})
	}
}

// randomPart is a part of out 70 and in 41: more than one block of rows.
func randomPart(rng *rand.Rand, rank int, weight float64) part {
	m := Module{Name: q, In: 41, Out: 70, Rank: rank, A: make([]float32, rank*41), B: make([]float32, 70*rank)}
	for i := range m.A {
		m.A[i] = float32(rng.NormFloat64())
	}
	for i := range m.B {
		m.B[i] = float32(rng.NormFloat64())
	}
	return part{m, 0.5, weight}
}

// One adapter at full density and rank is itself; the order does not matter.
func TestMethodLaws(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 0))
	a, b, c := randomPart(rng, 3, 1), randomPart(rng, 5, -0.7), randomPart(rng, 2, 0.3)
	alone := updateOf(t, MergeOptions{Method: MethodLinear}, a)
	for _, opts := range []MergeOptions{
		{Method: MethodLinear}, {Method: MethodCat}, {Method: MethodSVD, Rank: 3},
		{Method: MethodTIES, Density: 1}, {Method: MethodDARE, Density: 1, Seed: 5},
	} {
		t.Run(string(opts.Method), func(t *testing.T) {
			if opts.Method == MethodSVD {
				require.InDeltaSlice(t, alone, updateOf(t, opts, a), 1e-6)
				opts.Rank = 4
			} else {
				require.Equal(t, alone, updateOf(t, opts, a), "bit for bit")
			}
			if opts.Density > 0 {
				opts.Density = 0.4
			}
			one, other := []part{a, b, c}, []part{c, a, b}
			arrange(one)
			arrange(other)
			require.Equal(t, updateOf(t, opts, one...), updateOf(t, opts, other...), "bit for bit")
		})
	}
}

// dare keeps about Density of the entries, each divided by it, and the choice
// depends on seed, tensor and adapter alone.
func TestDARE(t *testing.T) {
	rng := rand.New(rand.NewPCG(12, 0))
	a, b := randomPart(rng, 3, 1), randomPart(rng, 3, 1)
	opts := MergeOptions{Method: MethodDARE, Density: 0.25, Seed: 1}
	whole := updateOf(t, MergeOptions{Method: MethodLinear}, a)
	first := updateOf(t, opts, a)
	kept := 0
	for i, v := range first {
		if v != 0 {
			kept++
			require.InDelta(t, 4*whole[i], v, 1e-5)
		}
	}
	require.InDelta(t, 0.25, float64(kept)/float64(len(whole)), 0.03)
	require.Equal(t, first, updateOf(t, opts, a), "same seed, same choice")

	both, second := updateOf(t, opts, a, b), updateOf(t, opts, b)
	for i := range both {
		require.InDelta(t, first[i]+second[i], both[i], 1e-5, "the choice for one does not depend on the other")
	}
	for name, changed := range map[string]func(){
		"seed":   func() { opts.Seed = 2 },
		"tensor": func() { opts.Seed, a.Name = 1, q+"2" },
	} {
		changed()
		require.NotEqual(t, first, updateOf(t, opts, a), name)
	}
}

// The threshold found by counting is that of sorting.
func TestTIESKeepsTheLargest(t *testing.T) {
	rng := rand.New(rand.NewPCG(13, 0))
	a := randomPart(rng, 4, 1)
	whole := updateOf(t, MergeOptions{Method: MethodLinear}, a)
	for _, density := range []float64{1e-9, 0.01, 0.5, 0.99} {
		trimmed := updateOf(t, MergeOptions{Method: MethodTIES, Density: density}, a)
		smallest, largestLost, kept := math.Inf(1), 0.0, 0
		for i, v := range trimmed {
			if v != 0 {
				kept++
				require.Equal(t, whole[i], v)
				smallest = min(smallest, math.Abs(float64(v)))
			} else {
				largestLost = max(largestLost, math.Abs(float64(whole[i])))
			}
		}
		require.Equal(t, max(1, int(density*70*41)), kept, "density %v", density)
		require.Greater(t, smallest, largestLost)
	}
}

// The truncated module is no worse than the singular values that are left out
// demand, and exact where none is.
func TestTruncate(t *testing.T) {
	rng := rand.New(rand.NewPCG(14, 0))
	a, b := randomPart(rng, 3, 1), randomPart(rng, 5, -2)
	want := updateOf(t, MergeOptions{Method: MethodLinear}, a, b)
	last := math.Inf(1)
	for rank := 1; rank <= 9; rank++ {
		m := truncate([]part{a, b}, rank)
		require.Equal(t, min(rank, 8), m.Rank)
		got := updateOf(t, MergeOptions{Method: MethodLinear}, part{m, 1, 1})
		squares, inner := 0.0, 0.0
		for i := range want {
			rest := float64(want[i]) - float64(got[i])
			squares += rest * rest
			inner += rest * float64(got[i])
		}
		require.Less(t, squares, last+1e-9)
		require.InDelta(t, 0, inner, 1e-3, "what is left out is orthogonal to what is kept")
		last = squares
	}
	require.Less(t, math.Sqrt(last), 1e-4, "of a norm of several hundred")

	twice := truncate([]part{a, a}, 6)
	require.InDeltaSlice(t, updateOf(t, MergeOptions{Method: MethodLinear}, a, a), updateOf(t, MergeOptions{Method: MethodLinear}, part{twice, 1, 1}), 1e-5, "dependent columns")
	a.weight = -1
	nothing := truncate([]part{a, {a.Module, 0.5, 1}}, 2)
	require.InDeltaSlice(t, make([]float32, 70*41), updateOf(t, MergeOptions{Method: MethodLinear}, part{nothing, 1, 1}), 1e-5, "they cancel")
}

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
		return readValues(t, output, "model.layers.1.self_attn.q_proj.weight")
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
		require.ErrorIs(t, err, ErrOption, "%+v", opts)
	}
	for _, opts := range []MergeOptions{
		{Adapter: lora, Adapters: list}, {Adapters: list, Method: "mean"}, {Adapters: list, Density: 0.5},
		{Adapters: list, Method: MethodTIES}, {Adapters: list, Method: MethodDARE, Density: 1.5}, {Adapters: list, Method: MethodSVD},
		{Adapters: []WeightedAdapter{{lora, math.Inf(1)}}},
	} {
		opts.Base, opts.Output = base, filepath.Join(dir, "refused")
		_, err := Merge(t.Context(), opts)
		require.ErrorIs(t, err, ErrOption, "%+v", opts)
	}
	_, err := Merge(t.Context(), MergeOptions{Base: base, Output: filepath.Join(dir, "refused"), Adapters: []WeightedAdapter{{lora, 1}, {filepath.Join(golden, "adapter-dora"), 1}}})
	require.ErrorIs(t, err, ErrUnsupported)
	require.NoDirExists(t, filepath.Join(dir, "refused"))
}
