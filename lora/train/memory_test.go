package train

import (
	"testing"

	"github.com/gomlx/compute/dtypes"
	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/salamandra"
	"github.com/impulse-salamandra/finetune/salamandra/salamandratest"
)

func memoryJob(t *testing.T, batch int) Job {
	t.Helper()
	config, err := salamandra.ReadConfig(salamandratest.Reference(t, "models", "tiny-gqa"))
	require.NoError(t, err)
	var examples []dataset.Example
	for i := range 40 {
		e := dataset.Example{IDs: make([]int32, 300), Train: make([]bool, 300)}
		e.IDs[200], e.Train[250] = int32(i), true
		examples = append(examples, e)
	}
	opts := dataset.DefaultPlanOptions()
	opts.BatchSize = batch
	plan, eval, err := dataset.NewPlans(examples[:32], examples[32:], opts)
	require.NoError(t, err)
	n, err := lora.CountParameters(config, lora.DefaultConfig())
	require.NoError(t, err)
	return Job{Model: config, Dtype: dtypes.Float32, AdapterSize: n, HeadChunk: 512, Plans: []*dataset.Plan{plan, eval}}
}

// TestCountParameters: the size of an adapter is known before a model is loaded.
func TestCountParameters(t *testing.T) {
	dir := salamandratest.Reference(t, "models", "tiny-gqa")
	layers, err := lora.Inject(salamandratest.Load(t, salamandratest.Go(t), dir), lora.DefaultConfig(), 1)
	require.NoError(t, err)
	require.Equal(t, layers.NumParameters(), memoryJob(t, 4).AdapterSize)
}

// TestChooseMemory: no checkpointing where there is room, checkpointing where
// there is not, and the batch that would fit where neither helps.
func TestChooseMemory(t *testing.T) {
	j := memoryJob(t, 16)
	without, with := PlanMemory(j, false), PlanMemory(j, true)
	require.Less(t, with.Total(), without.Total())
	require.Equal(t, j.Model.NumParameters()*4, without.Weights)
	require.Equal(t, int64(j.AdapterSize)*8, without.Moments)

	for _, limit := range []int64{0, without.Total()} {
		p, err := ChooseMemory(j, limit, false, true)
		require.NoError(t, err)
		require.Equal(t, without, p)
	}
	p, err := ChooseMemory(j, without.Total()-1, false, true)
	require.NoError(t, err)
	require.Equal(t, with, p)

	_, err = ChooseMemory(j, with.Total(), false)
	require.ErrorIs(t, err, ErrMemory)
	require.ErrorContains(t, err, "with gradient checkpointing it would be")

	quarter := PlanMemory(memoryJob(t, 4), true)
	_, err = ChooseMemory(j, quarter.Total(), false, true)
	require.ErrorIs(t, err, ErrMemory)
	require.ErrorContains(t, err, "batches of 4 with gradient checkpointing and 4 times as many accumulated")

	_, err = ChooseMemory(j, without.Weights, true)
	require.ErrorContains(t, err, "even one example at a time")
}

// TestProgramMemory: on the host each shape to train on has a program.
func TestProgramMemory(t *testing.T) {
	examples := func(lengths ...int) (list []dataset.Example) {
		for i, n := range lengths {
			e := dataset.Example{IDs: make([]int32, n), Train: make([]bool, n)}
			e.IDs[0], e.Train[n-1] = int32(i), true
			list = append(list, e)
		}
		return list
	}
	j := memoryJob(t, 4)
	j.OnHost = true
	program := func(lengths ...int) int64 {
		plan, err := dataset.NewPlan(examples(lengths...), dataset.DefaultPlanOptions())
		require.NoError(t, err)
		j.Plans = []*dataset.Plan{plan, nil}
		return PlanMemory(j, true).Program
	}
	one := program(20)
	require.Equal(t, int64(2*programBytesPerBlock*j.Model.NumHiddenLayers), program(20, 60, 200)-one)
	j.OnHost = false
	require.Zero(t, program(20))
}

// TestHalfPrecisionOnHost: there products take more in half precision, and on a
// GPU they do not.
func TestHalfPrecisionOnHost(t *testing.T) {
	j := memoryJob(t, 16)
	j.OnHost = true
	single := PlanMemory(j, false)
	j.Dtype = dtypes.BFloat16
	half := PlanMemory(j, false)
	require.Equal(t, single.Activations, 2*half.Activations)
	require.InDelta(t, single.Program+int64(halfCopies*float64(half.Activations)), half.Program, 1)
	j.OnHost = false
	require.Zero(t, PlanMemory(j, false).Program)
}
