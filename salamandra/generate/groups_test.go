package generate_test

import (
	"testing"

	"github.com/gomlx/gomlx/core/tensors"
	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/salamandra"
	"github.com/impulse-salamandra/finetune/salamandra/generate"
	"github.com/impulse-salamandra/finetune/salamandra/salamandratest"
)

// A device with memory of its own, as a GPU, answers as the host's processor does: by
// programs of several blocks, here four of eight, which write the cache too.
func TestGroupsOfBlocksDoNotMatter(t *testing.T) {
	b := salamandratest.XLA(t)
	if b == nil {
		t.Skip("needs XLA on a CPU")
	}
	dir := salamandratest.Random(t, salamandratest.Shape{Vocabulary: 128, Hidden: 16, Intermediate: 24, Layers: 8, Heads: 2, KVHeads: 1, OwnHead: true})
	prompts := [][]int32{{4, 57, 98, 14, 79}, {4, 57, 98, 14, 90}}
	answers := func(separate bool) (ids [][]int32) {
		m, err := salamandra.Load(t.Context(), &salamandratest.FusedAttention{Backend: b, Separate: separate}, dir, salamandra.Options{Dtype: "float32"})
		require.NoError(t, err)
		defer func() { require.NoError(t, m.Close()) }()
		config := lora.DefaultConfig()
		config.Rank = 2
		layers, err := lora.Inject(m, config, 1)
		require.NoError(t, err)
		flat := tensors.MustCopyFlatData[float32](layers.Params())
		for i := range flat {
			flat[i] += 0.1 * float32(i%7-3)
		}
		require.NoError(t, layers.SetParams(tensors.FromFlatDataAndDimensions(flat, len(flat))))
		g := generate.New(m, layers)
		defer g.Close()
		require.NoError(t, g.Warm(t.Context(), prompts[0][:4]))
		opts := generate.DefaultOptions()
		opts.MaxNewTokens = 12
		got, err := g.Generate(t.Context(), prompts, opts)
		require.NoError(t, err)
		for _, a := range got {
			ids = append(ids, a.IDs)
		}
		return ids
	}
	require.Equal(t, answers(false), answers(true))
}

func TestGPUGroup(t *testing.T) {
	for blocks, want := range map[int]int{1: 0, 4: 0, 8: 4, 10: 5, 22: 11, 24: 8, 26: 13, 30: 6, 31: 0, 32: 8, 48: 8} {
		require.Equal(t, want, generate.GPUGroup(blocks), "%d blocks", blocks)
	}
}
