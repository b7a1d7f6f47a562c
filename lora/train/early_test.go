package train

import (
	"fmt"
	"slices"
	"testing"

	"github.com/gomlx/gomlx/core/tensors"
	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/salamandra/salamandratest"
)

// TestCompileEarly: programs that are compiled beside the steps, or before them, are those that the run
// needs, each once, and change nothing of what it computes.
func TestCompileEarly(t *testing.T) {
	m := salamandratest.Load(t, salamandratest.Go(t), salamandratest.Random(t, salamandratest.Shape{
		Vocabulary: 64, Hidden: 8, Intermediate: 8, Layers: 1, Heads: 1, KVHeads: 1,
	}))
	trained, held := impulse(t, 64, 8)
	opts := dataset.DefaultPlanOptions()
	opts.BatchSize = 16
	train, eval, err := dataset.NewPlan(trained[:160], held, opts)
	require.NoError(t, err)
	require.Greater(t, len(train.Shapes), 2)
	run := func(early, steps int, beside bool) (tr *Trainer, adapter []float32) {
		config := lora.DefaultConfig()
		config.Rank = 1
		layers, err := lora.Inject(m, config, 1)
		require.NoError(t, err)
		c := DefaultConfig()
		c.Epochs, c.MaxSteps = 2, steps
		tr, err = New(m, layers, train, eval, c)
		require.NoError(t, err)
		t.Cleanup(tr.Close)
		tr.early, tr.beside = early, beside
		var phases []string
		require.NoError(t, tr.Run(t.Context(), Hooks{Progress: func(phase string, done, total int64) {
			phases = append(phases, fmt.Sprintf("%s %d/%d", phase, done, total))
		}}))
		for i := range train.Shapes {
			name := fmt.Sprintf("compiling shape %d/%d", i+1, len(train.Shapes))
			require.Equal(t, i == 0 || steps == 0, slices.Contains(phases, name), "each shape is announced when it is needed: %v", phases)
		}
		adapter, err = tensors.CopyFlatData[float32](layers.Params())
		require.NoError(t, err)
		return tr, adapter
	}
	_, want := run(0, 0, true)
	for _, beside := range []bool{true, false} {
		tr, got := run(2, 0, beside)
		require.Equal(t, want, got)
		require.Equal(t, len(train.Shapes), compilations(tr.gradients))
		require.Equal(t, len(eval.Shapes), compilations(tr.losses))
		require.Len(t, tr.gradients, len(train.Shapes))
	}

	tr, _ := run(2, 1, true)
	require.Equal(t, 1, compilations(tr.gradients), "a run of one step needs no other shape")

	// Without a step to wait for them, all but the first are compiled all the same.
	tr.state = state{m1: tr.state.m1, m2: tr.state.m2}
	tr.config.MaxSteps = 0
	for compile := range tr.upcoming(tr.state.position) {
		compile()
	}
	require.Len(t, tr.gradients, len(train.Shapes))
	require.Len(t, tr.losses, len(eval.Shapes))
}
