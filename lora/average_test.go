package lora

import (
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// adapterOf writes an adapter of these modules, all of one rank, with scale
// alpha/rank.
func adapterOf(t *testing.T, alpha float64, modules ...Module) string {
	t.Helper()
	a := &Adapter{Config: Config{Rank: modules[0].Rank, Alpha: alpha, TargetModules: []string{"q_proj", "v_proj"}}, Modules: modules}
	dir := filepath.Join(t.TempDir(), "adapter")
	require.NoError(t, a.Write(dir))
	return dir
}

// deltaOf is the dense update of an adapter's module.
func deltaOf(t *testing.T, a *Adapter, i int) []float32 {
	t.Helper()
	return updateOf(t, MergeOptions{Method: MethodLinear}, part{a.Modules[i], a.Config.ScaleOf(a.Modules[i].Name), 1})
}

func TestAverageByHand(t *testing.T) {
	one := adapterOf(t, 1, Module{Name: q, In: 2, Out: 2, Rank: 1, A: []float32{1, 0}, B: []float32{1, 0}})
	two := adapterOf(t, 1, Module{Name: q, In: 2, Out: 2, Rank: 1, A: []float32{0, 1}, B: []float32{0, 1}})
	half := 0.5 / 0.7071067811865476 // a distance of 1/2 and a norm of √½
	for _, row := range []struct {
		name, reason string
		opts         AverageOptions
		want         []float32
		rank         int
		result       float64
	}{
		{"delta", "diag(1, 1)/2", AverageOptions{}, []float32{0.5, 0, 0, 0.5}, 2, 0},
		{"factors", "(½, ½)ᵀ(½, ½)", AverageOptions{Method: AverageFactors}, []float32{0.25, 0.25, 0.25, 0.25}, 1, half},
	} {
		t.Run(row.name, func(t *testing.T) {
			row.opts.Dirs = []string{one, two}
			a, report, err := Average(t.Context(), row.opts)
			require.NoError(t, err)
			require.Equal(t, row.rank, a.Modules[0].Rank)
			require.InDeltaSlice(t, row.want, deltaOf(t, a, 0), 1e-7, row.reason)
			require.InDelta(t, 0.7071067811865476, report.Norm, 1e-12)
			require.InDelta(t, half, report.Factors, 1e-12, "the mean of the factors is off by ¼(1, -1)ᵀ(1, -1)")
			require.InDelta(t, row.result, report.Result, 1e-12)
		})
	}
	_, report, err := Average(t.Context(), AverageOptions{Dirs: []string{one, two}, Rank: 1})
	require.NoError(t, err)
	require.InDelta(t, half, report.Result, 1e-7, "either of the two singular values is lost")
}

// The mean of equal adapters is each of them, and any mean is that of the dense
// updates.
func TestAverageLaws(t *testing.T) {
	rng := rand.New(rand.NewPCG(15, 0))
	v := "model.layers.0.self_attn.v_proj"
	var dirs []string
	var dense [2][]float32
	const n = 3
	for range n {
		a, b := randomPart(rng, 3, 1).Module, randomPart(rng, 3, 1).Module
		b.Name = v
		dirs = append(dirs, adapterOf(t, 6, a, b))
		for i, m := range []Module{a, b} {
			for j, x := range updateOf(t, MergeOptions{Method: MethodLinear}, part{m, 2, 1.0 / n}) {
				if len(dense[i]) == j {
					dense[i] = append(dense[i], 0)
				}
				dense[i][j] += x
			}
		}
	}
	for _, rank := range []int{0, 9} {
		a, report, err := Average(t.Context(), AverageOptions{Dirs: dirs, Rank: rank})
		require.NoError(t, err)
		require.InDelta(t, 0, report.Result, 1e-6)
		require.Greater(t, report.Factors, 0.5, "these have nothing in common")
		for i := range dense {
			require.Equal(t, 9, a.Modules[i].Rank)
			require.InDeltaSlice(t, dense[i], deltaOf(t, a, i), 1e-4)
		}
	}
	first, err := ReadAdapter(dirs[0])
	require.NoError(t, err)
	for _, opts := range []AverageOptions{{}, {Rank: 3}, {Method: AverageFactors}} {
		opts.Dirs = []string{dirs[0], dirs[0], dirs[0]}
		same, report, err := Average(t.Context(), opts)
		require.NoError(t, err)
		require.Zero(t, report.Factors, "equal factors have no covariance")
		require.InDelta(t, 0, report.Result, 1e-6)
		for i := range first.Modules {
			require.InDeltaSlice(t, deltaOf(t, first, i), deltaOf(t, same, i), 2e-5)
		}
		if opts.Method == AverageFactors {
			require.Equal(t, first, same, "bit for bit")
		}
	}
}

// squareNorm is that of the dense sum.
func TestSquareNorm(t *testing.T) {
	rng := rand.New(rand.NewPCG(16, 0))
	parts := []part{randomPart(rng, 3, 1), randomPart(rng, 5, -0.7)}
	want := 0.0
	for _, x := range updateOf(t, MergeOptions{Method: MethodLinear}, parts...) {
		want += float64(x) * float64(x)
	}
	require.InEpsilon(t, want, squareNorm(parts), 1e-6)
}

func TestAverageRefuses(t *testing.T) {
	golden := filepath.Join(referenceModels(t), "tiny-mha", "golden")
	lora, dora, patterns := filepath.Join(golden, "adapter-lora"), filepath.Join(golden, "adapter-dora"), filepath.Join(golden, "adapter-patterns")
	for _, row := range []struct {
		opts AverageOptions
		want error
	}{
		{AverageOptions{}, ErrOption},
		{AverageOptions{Dirs: []string{lora}, Method: "models"}, ErrOption},
		{AverageOptions{Dirs: []string{lora}, Method: AverageFactors, Rank: 2}, ErrOption},
		{AverageOptions{Dirs: []string{lora}, Rank: -1}, ErrOption},
		{AverageOptions{Dirs: []string{dora, dora}}, ErrUnsupported},
		{AverageOptions{Dirs: []string{lora, patterns}, Method: AverageFactors}, ErrShape},
		{AverageOptions{Dirs: []string{lora, dora}, Method: AverageFactors}, ErrShape},
	} {
		_, _, err := Average(t.Context(), row.opts)
		require.ErrorIs(t, err, row.want, fmt.Sprintf("%+v", row.opts))
	}
	a, report, err := Average(t.Context(), AverageOptions{Dirs: []string{lora, patterns}})
	require.NoError(t, err, "updates can be averaged whatever the ranks")
	require.True(t, math.IsNaN(report.Factors))
	require.NotEmpty(t, a.Modules)
	a, _, err = Average(t.Context(), AverageOptions{Dirs: []string{dora, dora}, Method: AverageFactors})
	require.NoError(t, err)
	want, err := ReadAdapter(dora)
	require.NoError(t, err)
	require.Equal(t, want, a, "magnitudes too")
}
