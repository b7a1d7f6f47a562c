package train

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/gomlx/compute/dtypes"
	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/salamandra/llama"
	"github.com/impulse-salamandra/finetune/salamandra/salamandratest"
)

func memoryJob(t *testing.T, batch int) Job {
	t.Helper()
	config, err := llama.ReadConfig(salamandratest.Reference(t, "models", "tiny-gqa"))
	require.NoError(t, err)
	var examples []dataset.Example
	for i := range 40 {
		e := dataset.Example{IDs: make([]int32, 300), Train: make([]bool, 300)}
		e.IDs[200], e.Train[250] = int32(i), true
		examples = append(examples, e)
	}
	opts := dataset.DefaultPlanOptions()
	opts.BatchSize = batch
	plan, eval, err := dataset.NewPlan(examples[:32], examples[32:], opts)
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

// TestQuantizedMemory: the 7B's linear layers take half a byte a weight and a scale
// of 4 bytes for 64, or one byte and a scale for a row. Its embedding stays in its file.
func TestQuantizedMemory(t *testing.T) {
	j := memoryJob(t, 1)
	j.Dtype = dtypes.BFloat16
	j.Model.VocabSize, j.Model.HiddenSize, j.Model.IntermediateSize, j.Model.NumHiddenLayers = 256000, 4096, 11008, 32
	j.Model.NumAttentionHeads, j.Model.NumKeyValueHeads, j.Model.HeadDim, j.Model.TieWordEmbeddings = 32, 8, 128, false
	require.EqualValues(t, 7768117248, j.Model.NumParameters())
	for quantized, gigabytes := range map[string]float64{"": 13.44, "8bit": 7.77, "4bit": 5.288} {
		j.Quantize = quantized
		require.InDelta(t, gigabytes, float64(planMemory(j, true).Weights)/1e9, 0.005, quantized)
	}
}

// TestChooseMemory: no checkpointing where there is room, checkpointing where
// there is not, and the batch that would fit where neither helps.
func TestChooseMemory(t *testing.T) {
	j := memoryJob(t, 16)
	without, with := planMemory(j, false), planMemory(j, true)
	require.Less(t, with.Total(), without.Total())
	require.Equal(t, j.Model.NumParameters()*4-j.embedding(), without.Weights)
	require.Equal(t, int64(j.AdapterSize)*8, without.Moments)

	for _, limit := range []int64{0, without.Total()} {
		p, err := ChooseMemory(j, limit, false, true)
		require.NoError(t, err)
		require.Equal(t, limit, p.Limit)
		p.Limit = 0
		require.Equal(t, without, p)
	}
	p, err := ChooseMemory(j, without.Total()-1, false, true)
	require.NoError(t, err)
	require.True(t, p.Checkpointing)
	require.Equal(t, with.Total(), p.Total())

	host := j
	host.OnHost = true
	for limit, checkpointing := range map[int64]bool{hostShare * planMemory(host, false).Total(): false, hostShare*planMemory(host, false).Total() - 2: true} {
		p, err := ChooseMemory(host, limit, false, true)
		require.NoError(t, err)
		require.Equal(t, checkpointing, p.Checkpointing, "a processor's memory is shared")
		p, err = ChooseMemory(host, limit, false)
		require.NoError(t, err)
		require.False(t, p.Checkpointing, "without a choice it is not shared")
	}

	_, err = ChooseMemory(j, with.Total(), false)
	require.ErrorIs(t, err, ErrMemory)
	require.ErrorContains(t, err, "with gradient checkpointing it would be")

	quarter := planMemory(memoryJob(t, 4), true)
	_, err = ChooseMemory(j, quarter.Total(), false, true)
	require.ErrorIs(t, err, ErrMemory)
	require.ErrorContains(t, err, "batches of 4 with gradient checkpointing and 4 times as many accumulated")

	j.Name, j.GradientAccumulationSteps = func(field string) string { return "--" + field }, 3
	_, err = ChooseMemory(j, quarter.Total(), false, true)
	require.ErrorContains(t, err, "; --Plan.BatchSize 4 --Train.GradientAccumulationSteps 12 --Train.GradientCheckpointing on would be")
	j.Name = nil

	_, err = ChooseMemory(j, without.Weights, true)
	require.ErrorContains(t, err, "even one example at a time")
}

// TestProgramMemory: on the host each shape to train on has a program; on a GPU cuDNN
// takes more for more tokens, and nothing in float16, in which it does not compute.
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
		plan, _, err := dataset.NewPlan(examples(lengths...), nil, dataset.DefaultPlanOptions())
		require.NoError(t, err)
		j.Plans = []*dataset.Plan{plan, nil}
		return planMemory(j, true).Program
	}
	one := program(20)
	require.Equal(t, int64(2*programBytesPerBlock*j.Model.NumHiddenLayers), program(20, 60, 200)-one)
	j.ByBlocks, j.Model.NumHiddenLayers = true, 4*j.Model.NumHiddenLayers+blocksCompiled
	require.Equal(t, int64(2*programBytesPerBlock*blocksCompiled), program(20, 60, 200)-program(20), "whatever the depth")
	j.OnHost = false
	j.Dtype = dtypes.BFloat16
	require.Greater(t, program(20, 200), program(20))
	j.Dtype = dtypes.Float16
	require.Equal(t, int64(gpuProgramBytes), program(20, 200))
}

// TestPlanInPlace: without results in place there is room for the old and the new
// adapter and moments beside the sum, also where a batch takes next to nothing; with them
// there are five vectors at most.
func TestPlanInPlace(t *testing.T) {
	for tokens, times := range map[int]int{2: 100, 300: 1} {
		for _, host := range []bool{false, true} {
			j := memoryJob(t, 1)
			j.OnHost, j.HeadChunk, j.AdapterSize = host, 1, times*j.AdapterSize
			e := dataset.Example{IDs: make([]int32, tokens), Train: make([]bool, tokens)}
			e.Train[tokens-1] = true
			j.Plans = []*dataset.Plan{newPlan(t, []dataset.Example{e}, nil)}
			vector := int64(j.AdapterSize) * 4
			without := planMemory(j, true)
			j.InPlace = true
			with := planMemory(j, true)
			optimiser := without.Total() - without.Weights - without.Program
			require.GreaterOrEqual(t, optimiser, 7*vector)
			require.Equal(t, tokens == 2, optimiser == 7*vector)
			require.Equal(t, 5*vector, with.Adapter+with.Moments)
			require.Equal(t, with.Activations, without.Activations)
		}
	}
}

// TestHalfPrecisionOnHost: there products take more in half precision, and on a
// GPU they do not.
func TestHalfPrecisionOnHost(t *testing.T) {
	j := memoryJob(t, 16)
	j.OnHost = true
	single := planMemory(j, false)
	j.Dtype = dtypes.BFloat16
	half := planMemory(j, false)
	require.Equal(t, single.Activations, 2*half.Activations)
	require.InDelta(t, single.Program+int64(halfCopies*float64(half.Activations)), half.Program, 1)
	j.OnHost = false
	j.Dtype = dtypes.Float32 // cuDNN does not compute
	require.Equal(t, int64(gpuProgramBytes), planMemory(j, false).Program)
}

// TestOutOfMemory: what an executor has no room for says which settings take less.
func TestOutOfMemory(t *testing.T) {
	dir := salamandratest.Reference(t, "models", "tiny-gqa")
	m := salamandratest.Load(t, salamandratest.Go(t), dir)
	tr, _ := newTrainer(t, m, filepath.Join(dir, "golden", "adapter-lora"), newPlan(t, prefixed(t, dir), nil), DefaultConfig())
	err := tr.failed(0, errors.New("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 123 bytes"))
	require.ErrorIs(t, err, ErrMemory)
	require.ErrorContains(t, err, "with gradient checkpointing it would be")
	require.ErrorContains(t, err, "123 bytes")
	require.NotErrorIs(t, tr.failed(0, errors.New("INTERNAL")), ErrMemory)

	tr.config.Name = func(field string) string { return "--" + field }
	err = tr.failed(0, errors.New("RESOURCE_EXHAUSTED"))
	require.ErrorContains(t, err, "--Train.GradientCheckpointing on would be")
}

// TestMemoryOfSeveral: gradients of other devices, and one of another process, wait on
// the first device; shards have their part of the weights, and less to compute.
func TestMemoryOfSeveral(t *testing.T) {
	j := memoryJob(t, 4)
	one, vector := planMemory(j, true), int64(4*j.AdapterSize)
	j.Devices = 4
	require.Equal(t, one.Adapter+3*vector, planMemory(j, true).Adapter)
	j.Devices, j.Processes = 1, 8
	require.Equal(t, one.Adapter+vector, planMemory(j, true).Adapter)
	j.Processes, j.Shards = 1, 2
	two := planMemory(j, true)
	require.Equal(t, one.Weights/2, two.Weights)
	require.Equal(t, one.Adapter+one.Moments, two.Adapter+two.Moments)
	j.Shards = 8
	eight := planMemory(j, true)
	require.Less(t, eight.Activations+eight.HeadChunk, two.Activations+two.HeadChunk)
}
