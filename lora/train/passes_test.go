package train

import (
	"math/rand/v2"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/internal/quantize"
	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/salamandra"
	"github.com/impulse-salamandra/finetune/salamandra/salamandratest"
)

// TestByBlocks: programs of one block give the loss, the gradient and the evaluation
// that one program of all blocks gives, by the same draws, within what is rounded
// differently; and a run by them ends with the same bytes as another.
func TestByBlocks(t *testing.T) {
	if testing.Short() {
		t.Skip("long, and nothing in it runs side by side")
	}
	dir := salamandratest.Reference(t, "models", "tiny-gqa")
	examples := prefixed(t, dir)
	salamandratest.OnEach(t, func(t *testing.T, b compute.Backend) {
		for _, row := range []struct {
			name, dtype, quantized string
			trial                  bool
			within                 float64
			change                 func(*Config, *lora.Config)
		}{
			{"products kept", "float32", "", false, 1e-5, func(*Config, *lora.Config) {}},
			{"blocks kept, some modules", "float32", "", false, 1e-5, func(c *Config, l *lora.Config) {
				c.GradientCheckpointing, l.TargetModules = true, []string{"v_proj", "down_proj"}
			}},
			{"noise and sums of two batches", "float32", "", true, 1e-5, func(c *Config, _ *lora.Config) {
				c.NEFTuneAlpha, c.GradientAccumulationSteps = 5, 2
			}},
			{"DoRA", "float32", "", true, 1e-5, func(c *Config, l *lora.Config) { c.GradientCheckpointing, l.UseDoRA = true, true }},
			{"4 bits", "float32", "4bit", false, 1e-5, func(*Config, *lora.Config) {}},
			{"8 bits", "float32", "8bit", true, 1e-5, func(c *Config, _ *lora.Config) { c.GradientCheckpointing = true }},
			{"bfloat16", "bfloat16", "", true, 1e-2, func(*Config, *lora.Config) {}},
			{"float16, its loss scaled", "float16", "", false, 2e-3, func(c *Config, _ *lora.Config) { c.GradientCheckpointing = true }},
		} {
			if row.dtype == "float16" && quantize.OnGo(b) {
				continue // the Go backend does not train in it
			}
			if row.trial && !quantize.OnGo(b) && !salamandratest.Trials() {
				continue // XLA takes long for one program
			}
			t.Run(row.name, func(t *testing.T) {
				m, err := salamandra.Load(t.Context(), b, dir, salamandra.Options{Dtype: row.dtype, Quantize: row.quantized})
				require.NoError(t, err)
				defer m.Close()
				config, adapter := DefaultConfig(), lora.DefaultConfig()
				config.Epochs, adapter.Dropout = 2, 0.2
				row.change(&config, &adapter)
				run := func(byBlocks bool) passesRun { return runPasses(t, m, config, adapter, examples, byBlocks) }
				whole, blocks := run(false), run(true)
				require.InEpsilon(t, whole.loss, blocks.loss, row.within)
				require.InEpsilon(t, whole.evaluation, blocks.evaluation, row.within)
				require.InDelta(t, 1, alike(blocks.gradient, whole.gradient), 10*row.within)
				if row.dtype == "float32" {
					salamandratest.Near(t, "gradient", blocks.gradient, whole.gradient, 1e-5, 1e-4)
				}
				require.Equal(t, blocks, run(true))
			})
		}
	})
}

type passesRun struct {
	loss, evaluation float64
	gradient, end    []float32
}

// runPasses trains an adapter whose B is not zero.
func runPasses(t *testing.T, m *salamandra.Model, config Config, adapter lora.Config, examples []dataset.Example, byBlocks bool) (r passesRun) {
	t.Helper()
	layers, err := lora.Inject(m, adapter, 1)
	require.NoError(t, err)
	flat, draw := tensors.MustCopyFlatData[float32](layers.Params()), rand.New(rand.NewPCG(5, 6))
	for i := range flat {
		flat[i] += 0.05 * float32(draw.NormFloat64())
	}
	require.NoError(t, layers.SetParams(tensors.FromFlatDataAndDimensions(flat, len(flat))))
	plan := newPlan(t, examples, func(o *dataset.PlanOptions) { o.BatchSize, o.MaxShapes = (len(examples)+1)/2, 1 })
	tr, err := New(m, layers, plan, plan, config)
	require.NoError(t, err)
	defer tr.Close()
	tr.byBlocks = byBlocks
	batch, err := plan.Batch(plan.Epoch(0, 0)[0])
	require.NoError(t, err)
	in := inputOf(t, m, batch)
	p, err := tr.gradientProgram(in)
	require.NoError(t, err)
	require.Equal(t, byBlocks, p.backward != nil)
	var scale []any
	if l := tr.state.LossScale; l != nil {
		scale = append(scale, float32(l.Scale))
	}
	sums, err := tr.call(p, in, layers.Params(), scale...)
	require.NoError(t, err)
	e, err := tr.Evaluate(t.Context())
	require.NoError(t, err)
	r = passesRun{loss: sums.loss, evaluation: e.Loss, gradient: tensors.MustCopyFlatData[float32](sums.gradient)}
	require.NoError(t, tr.Run(t.Context(), Hooks{}))
	r.end = tensors.MustCopyFlatData[float32](layers.Params())
	return r
}
