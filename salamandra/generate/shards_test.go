package generate_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/salamandra"
	"github.com/impulse-salamandra/finetune/salamandra/generate"
	"github.com/impulse-salamandra/finetune/salamandra/salamandratest"
)

// A model divided among devices answers as one that is on one: prompts of one
// beginning together, while the cache grows, and one alone, with and without drafts.
func TestShardsDoNotMatter(t *testing.T) {
	b := salamandratest.XLA(t)
	if b == nil || b.NumDevices() < 2 {
		t.Skip("needs several devices: XLA on a CPU has them (GOMLX_BACKEND=xla:cpu)")
	}
	dir := salamandratest.Random(t, salamandratest.Shape{Vocabulary: 512, Hidden: 32, Intermediate: 48, Layers: 1, Heads: 4, KVHeads: 2, OwnHead: true})
	prompts := [][]int32{{4, 57, 98, 134, 79, 96, 200, 201}, {4, 57, 98, 134, 79, 96, 90}, {77}}
	answers := func(shards int) [][]int32 {
		m, err := salamandra.Load(t.Context(), b, dir, salamandra.Options{Dtype: "float32", Shards: shards})
		require.NoError(t, err)
		defer func() { require.NoError(t, m.Close()) }()
		require.Equal(t, shards, m.Shards())
		g := generate.New(m, nil)
		defer g.Close()
		opts := generate.DefaultOptions()
		opts.MaxNewTokens = 70 // more than the cache has places for at first
		var ids [][]int32
		for _, ask := range [][][]int32{prompts, prompts[2:]} {
			got, err := g.Generate(t.Context(), ask, opts)
			require.NoError(t, err)
			for _, a := range got {
				ids = append(ids, a.IDs)
			}
		}
		return ids
	}
	require.Equal(t, answers(1), answers(2))
}
