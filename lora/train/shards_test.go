package train

import (
	"fmt"
	"math"
	"testing"

	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/salamandra"
	"github.com/impulse-salamandra/finetune/salamandra/salamandratest"
)

// A base divided among two and four devices trains as one that is on one: losses,
// gradients' norms, evaluations and the adapter are the same within float32's
// rounding, whatever is kept for the backward pass, with dropout and with DoRA; in
// float16, which cards without bfloat16 train in, within that one's.
func TestShardsDoNotMatter(t *testing.T) {
	b := salamandratest.XLA(t)
	if b == nil || b.NumDevices() < 4 {
		t.Skip("needs four devices: XLA on a CPU has as many (GOMLX_BACKEND=xla:cpu)")
	}
	dir := salamandratest.Random(t, salamandratest.Shape{Vocabulary: 2048, Hidden: 64, Intermediate: 96, Layers: 1, Heads: 8, KVHeads: 4})
	rows := 1
	if salamandratest.Trials() {
		rows = 3
	}
	for _, row := range []struct {
		name, dtype         string
		shards              int
		checkpointing, dora bool
		within              float64
	}{
		{"checkpointing", "float32", 4, true, false, 2e-5},
		{"DoRA", "float32", 2, false, true, 2e-5},
		{"float16", "float16", 2, true, false, 1e-3},
	}[:rows] {
		t.Run(row.name, func(t *testing.T) {
			on := func(n int) *run {
				m, err := salamandra.Load(t.Context(), b, dir, salamandra.Options{Dtype: row.dtype, Shards: n})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() {
					if err := m.Close(); err != nil {
						t.Error(err)
					}
				})
				r := newRun(t, m, "", func(c *Config, a *lora.Config, o *dataset.PlanOptions) {
					c.MaxSteps, c.GradientCheckpointing, a.UseDoRA, o.MaxShapes = 3, row.checkpointing, row.dora, 1
				})
				if err := r.Run(t.Context(), r.hooks); err != nil {
					t.Fatal(err)
				}
				return r
			}
			one, n := on(1), row.shards
			r := on(n)
			near := func(what string, got, want float64) {
				t.Helper()
				if d := math.Abs(got - want); !(d <= row.within*math.Max(1, math.Abs(want))) {
					t.Errorf("%d shards: %s %v, want %v", n, what, got, want)
				}
			}
			for i, s := range r.steps {
				near(fmt.Sprintf("loss of step %d", s.Step), s.Loss, one.steps[i].Loss)
				near(fmt.Sprintf("norm of step %d", s.Step), s.GradNorm, one.steps[i].GradNorm)
			}
			for i, e := range r.evaluations {
				near("evaluation", e.Loss, one.evaluations[i].Loss)
			}
			if len(r.steps) != 3 || len(r.evaluations) != len(one.evaluations) {
				t.Errorf("%d shards: %d steps, %d evaluations", n, len(r.steps), len(r.evaluations))
			}
			near("adapter: cosine", alike(r.numbers(t)[0], one.numbers(t)[0]), 1)
		})
	}
}

// alike is the cosine of the angle between two vectors.
func alike(a, b []float32) float64 {
	var ab, aa, bb float64
	for i, x := range a {
		y := float64(b[i])
		ab, aa, bb = ab+float64(x)*y, aa+float64(x)*float64(x), bb+y*y
	}
	return ab / math.Sqrt(aa*bb)
}
