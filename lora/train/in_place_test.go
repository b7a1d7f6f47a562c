package train

import (
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/salamandra/salamandratest"
)

// TestInPlace: where results lie in what their programs are given up, adapter and
// moments stay where the first step put them, and a run ends with the bytes that
// it has where all get memory of their own.
func TestInPlace(t *testing.T) {
	b, plain := salamandratest.XLA(t), salamandratest.Unwrapped(t)
	if plain == nil || !b.HasSharedBuffers() {
		t.Skip("needs XLA on the CPU (GOMLX_BACKEND=xla:cpu)")
	}
	dir := salamandratest.Reference(t, "models", "tiny-gqa")
	run := func(b compute.Backend) (end [3][]float32, places [3][]uintptr) {
		m := salamandratest.Load(t, b, dir)
		layers, err := lora.Inject(m, lora.DefaultConfig(), 1)
		require.NoError(t, err)
		plan := newPlan(t, prefixed(t, dir), func(o *dataset.PlanOptions) { o.BatchSize, o.MaxShapes = 1, 1 })
		config := DefaultConfig()
		config.GradientAccumulationSteps = 2
		tr, err := New(m, layers, plan, nil, config)
		require.NoError(t, err)
		defer tr.Close()
		require.True(t, tr.byBlocks)
		state := func() [3]*tensors.Tensor { return [3]*tensors.Tensor{layers.Params(), tr.state.m1, tr.state.m2} }
		require.NoError(t, tr.Run(t.Context(), Hooks{Step: func(Step) error {
			for i, x := range state() {
				places[i] = append(places[i], salamandratest.Place(t, x))
			}
			return nil
		}}))
		for i, x := range state() {
			end[i] = tensors.MustCopyFlatData[float32](x)
		}
		return end, places
	}
	end, places := run(b)
	want, others := run(plain)
	require.Equal(t, want, end)
	for i := range places {
		require.Greater(t, len(places[i]), 2)
		for k := 1; k < len(places[i]); k++ {
			require.Equal(t, places[i][0], places[i][k], "vector %d after step %d", i, k+1)
			require.NotEqual(t, others[i][k-1], others[i][k], "vector %d after step %d, without the plugin wrapped", i, k+1)
		}
	}
}
