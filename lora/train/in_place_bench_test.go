package train

import (
	"slices"
	"testing"

	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/impulse-salamandra/finetune/internal/donation"
	"github.com/impulse-salamandra/finetune/salamandra/salamandratest"
)

// BenchmarkInPlace is the optimiser's step for SmolLM2-135M's adapter of rank 16, 4.9
// million numbers, in the memory of what it replaces and in memory of its own, in turns:
// the median of the processor seconds, and the ratio.
func BenchmarkInPlace(b *testing.B) {
	backend := salamandratest.XLA(b)
	if backend == nil {
		b.Skip("no XLA plugin (set GOMLX_BACKEND=xla:cpu)")
	}
	const n = 4_884_480
	config := DefaultConfig()
	var steps [2]func() float64
	for i, name := range []string{"adamw", donation.Name("adamw", 0, 4)} {
		exec, err := NewExec(backend, func(in []*Node) []*Node { return adamW(config, nil, in[0], in[1], in[2], in[3], in[4]) })
		if err != nil {
			b.Fatal(err)
		}
		defer exec.Finalize()
		exec.WithName(name)
		one, err := NewExec(backend, func(x *Node) *Node { return AddScalar(x, 1) })
		if err != nil {
			b.Fatal(err)
		}
		defer one.Finalize()
		zero := func() *tensors.Tensor { return tensors.FromFlatDataAndDimensions(make([]float32, n), n) }
		state, zeros := []*tensors.Tensor{zero(), zero(), zero()}, zero()
		steps[i] = func() float64 {
			sum, err := one.Call1(zeros)
			if err != nil {
				b.Fatal(err)
			}
			in := make([]any, 5)
			for k, x := range append(slices.Clone(state), sum) {
				if in[k], err = DonateTensorBuffer(x, backend, 0); err != nil {
					b.Fatal(err)
				}
			}
			in[4] = adamScalars(config, 1, 100, 1e-4)
			_, seconds := timed(func() {
				out, err := exec.Call(in...)
				if err != nil {
					b.Fatal(err)
				}
				state = out[:3]
			})
			return seconds
		}
		steps[i]() // compiles; what it replaces is the host's
	}
	var seconds [2][]float64
	for b.Loop() {
		for i, step := range steps {
			seconds[i] = append(seconds[i], step())
		}
	}
	median := func(x []float64) float64 { slices.Sort(x); return x[len(x)/2] }
	b.ReportMetric(median(seconds[1]), "cpu-s")
	b.ReportMetric(median(seconds[0]), "cpu-s-own-memory")
	b.ReportMetric(median(seconds[1])/median(seconds[0]), "cpu/own-memory")
}
