package train

import (
	"math"
	"path/filepath"
	"testing"

	"github.com/gomlx/compute"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/salamandra"
	"github.com/impulse-salamandra/finetune/salamandra/salamandratest"
)

// One step with LoRA+ moves A as one at the plain rate does, and B and the
// magnitude as one at the rate times the ratio, decay included.
func TestLoRAPlus(t *testing.T) {
	salamandratest.OnEach(t, func(t *testing.T, b compute.Backend) {
		dir := salamandratest.Reference(t, "models", "tiny-gqa")
		m := salamandratest.Load(t, b, dir)
		for _, kind := range []string{"lora", "dora"} {
			step := func(rate, ratio float64) *lora.Adapter {
				config := DefaultConfig()
				config.Epochs, config.Scheduler, config.WeightDecay = 1, constant, 0.1
				config.LearningRate, config.LoRAPlusRatio = rate, ratio
				tr, layers := newTrainer(t, m, filepath.Join(dir, "golden", "adapter-"+kind), newPlan(t, goldenExamples(t, dir), nil), config)
				require.NoError(t, tr.Run(t.Context(), Hooks{}))
				require.Equal(t, 1, tr.Status().Step)
				a, err := layers.Adapter()
				require.NoError(t, err)
				return a
			}
			plain, fast, plus := step(1e-3, 1), step(8e-3, 1), step(1e-3, 8)
			for i, got := range plus.Modules {
				require.NotEqual(t, plain.Modules[i].B, fast.Modules[i].B)
				require.Equal(t, plain.Modules[i].A, got.A, "%s of %s", got.Name, kind)
				require.Equal(t, fast.Modules[i].B, got.B, "%s of %s", got.Name, kind)
				require.Equal(t, fast.Modules[i].Magnitude, got.Magnitude, "%s of %s", got.Name, kind)
			}
		}
	})
}

// NEFTune's noise is uniform within ±α/√(L·C) and follows from the state.
func TestNEFTune(t *testing.T) {
	salamandratest.OnEach(t, func(t *testing.T, b compute.Backend) {
		const alpha, width = 5, 64
		layout := salamandra.SharedPrefix{P: 10, B: 3, S: 90}
		x := ones(280 * width)
		draw := func(seed uint64, alpha float64) []float32 {
			out, err := CallOnce(b, func(state, x *Node) *Node { return neftune(x, state, layout, alpha) },
				randomState(seed, 1), tensors.FromFlatDataAndDimensions(x, 280, width))
			require.NoError(t, err)
			return tensors.MustCopyFlatData[float32](out)
		}
		limit, sum, square := alpha/math.Sqrt(100*width), 0.0, 0.0
		noisy := draw(1, alpha)
		for i, v := range noisy {
			noise := float64(v - x[i])
			require.LessOrEqual(t, math.Abs(noise), limit+1e-6)
			sum, square = sum+noise, square+noise*noise
		}
		n := float64(len(x))
		require.InDelta(t, 0, sum/n, limit/50)
		require.InEpsilon(t, limit*limit/3, square/n, 0.02, "the variance of a uniform draw")
		require.Equal(t, noisy, draw(1, alpha), "same state, same noise")
		require.NotEqual(t, noisy, draw(2, alpha))
		require.Equal(t, x, draw(1, 0), "no noise")
	})
}

// Noise is for training only.
func TestNEFTuneTrainsOnly(t *testing.T) {
	dir := salamandratest.Reference(t, "models", "tiny-gqa")
	m := salamandratest.Load(t, salamandratest.Go(t), dir)
	losses := func(alpha float64) (step, evaluation float64) {
		config := DefaultConfig()
		config.Epochs, config.NEFTuneAlpha = 1, alpha
		tr, _ := newTrainer(t, m, filepath.Join(dir, "golden", "adapter-lora"), newPlan(t, goldenExamples(t, dir), nil), config)
		e, err := tr.Evaluate(t.Context())
		require.NoError(t, err)
		require.NoError(t, tr.Run(t.Context(), Hooks{Step: func(s Step) error { step = s.Loss; return nil }}))
		return step, e.Loss
	}
	quiet, evaluation := losses(0)
	noisy, same := losses(5)
	require.NotEqual(t, quiet, noisy)
	require.Equal(t, evaluation, same)
}
