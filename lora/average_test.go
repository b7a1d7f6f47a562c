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
	a := &Adapter{Config: Config{Rank: modules[0].Rank, Alpha: alpha, TargetModules: []string{"gate_proj", "v_proj"}}, Modules: modules}
	dir := filepath.Join(t.TempDir(), "adapter")
	require.NoError(t, a.Write(dir))
	return dir
}

// updateOf is scale*B*A of a module, [Out, In].
func updateOf(m Module, scale float64) []float32 {
	u := make([]float32, m.Out*m.In)
	for i := range m.Out {
		for r := range m.Rank {
			for j := range m.In {
				u[i*m.In+j] += float32(scale) * m.B[i*m.Rank+r] * m.A[r*m.In+j]
			}
		}
	}
	return u
}

// deltaOf is the dense update of an adapter's module.
func deltaOf(a *Adapter, i int) []float32 {
	return updateOf(a.Modules[i], a.Config.ScaleOf(a.Modules[i].Name))
}

// randomModule is a module of out 70 and in 41.
func randomModule(rng *rand.Rand, name string, rank int) Module {
	m := Module{Name: name, In: 41, Out: 70, Rank: rank, A: make([]float32, rank*41), B: make([]float32, 70*rank)}
	for i := range m.A {
		m.A[i] = float32(rng.NormFloat64())
	}
	for i := range m.B {
		m.B[i] = float32(rng.NormFloat64())
	}
	return m
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
			require.InDeltaSlice(t, row.want, deltaOf(a, 0), 1e-7, row.reason)
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
		a, b := randomModule(rng, q, 3), randomModule(rng, v, 3)
		dirs = append(dirs, adapterOf(t, 6, a, b))
		for i, m := range []Module{a, b} {
			for j, x := range updateOf(m, 2.0/n) {
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
			require.InDeltaSlice(t, dense[i], deltaOf(a, i), 1e-4)
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
			require.InDeltaSlice(t, deltaOf(first, i), deltaOf(same, i), 2e-5)
		}
		if opts.Method == AverageFactors {
			require.Equal(t, first, same, "bit for bit")
		}
	}
}

func TestAverageRefuses(t *testing.T) {
	golden := filepath.Join(referenceModels(t), "tiny-mha", "golden")
	lora, dora, patterns := filepath.Join(golden, "adapter-lora"), filepath.Join(golden, "adapter-dora"), filepath.Join(golden, "adapter-patterns")
	for _, row := range []struct {
		opts AverageOptions
		want error
	}{
		{AverageOptions{}, errOption},
		{AverageOptions{Dirs: []string{lora}, Method: "models"}, errOption},
		{AverageOptions{Dirs: []string{lora}, Method: AverageFactors, Rank: 2}, errOption},
		{AverageOptions{Dirs: []string{lora}, Rank: -1}, errOption},
		{AverageOptions{Dirs: []string{dora, dora}}, errUnsupported},
		{AverageOptions{Dirs: []string{lora, patterns}, Method: AverageFactors}, errShape},
		{AverageOptions{Dirs: []string{lora, dora}, Method: AverageFactors}, errShape},
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
