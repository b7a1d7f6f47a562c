package lora

import (
	"slices"
	"testing"

	"github.com/gomlx/compute"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/salamandra"
	"github.com/impulse-salamandra/finetune/salamandra/salamandratest"
)

// TestBlockByBlock: programs of the ends and of one or two blocks give the logits that
// one program of the whole model gives, with and without adapters; and adapters whose
// blocks differ do not pass for uniform ones.
func TestBlockByBlock(t *testing.T) {
	salamandratest.OnEach(t, func(t *testing.T, b compute.Backend) {
		m := salamandratest.Load(t, b, salamandratest.Reference(t, "models", "tiny-gqa"))
		require.True(t, m.Uniform())
		with := func(change func(c *Config)) *Layers {
			c := DefaultConfig()
			c.Rank = 3
			change(&c)
			l, err := Inject(m, c, 1)
			require.NoError(t, err)
			uniform, err := Uniform(m.Config, c)
			require.NoError(t, err)
			require.Equal(t, l.Uniform(), uniform, "without a model")
			flat := tensors.MustCopyFlatData[float32](l.params)
			for i := range flat {
				flat[i] += 0.05 * float32(i%7-3)
			}
			require.NoError(t, l.SetParams(tensors.FromFlatDataAndDimensions(flat, len(flat))))
			return l
		}
		for name, a := range map[string]salamandra.Adapter{
			"base":         nil,
			"all layers":   with(func(*Config) {}),
			"some modules": with(func(c *Config) { c.TargetModules = []string{"v_proj", "down_proj"} }),
			"dora":         with(func(c *Config) { c.UseDoRA = true }),
		} {
			t.Run(name, func(t *testing.T) {
				require.True(t, a == nil || a.Uniform())
				ids := []int32{3, 1, 4, 1, 5, 9, 2, 6}
				want, err := m.Logits(a, [][]int32{ids})
				require.NoError(t, err)
				for _, n := range []int{1, 2} {
					got := blockByBlock(t, m, a, n, ids)
					require.InDeltaSlice(t, slices.Concat(want[0]...), got, 2e-5, "%d blocks", n)
				}
			})
		}
		require.False(t, with(func(c *Config) { c.TargetPattern = `.*\.1\.self_attn\.q_proj`; c.TargetModules = nil }).Uniform(), "one block")
		require.False(t, with(func(c *Config) { c.RankPattern = map[string]int{"layers.1.self_attn.q_proj": 2} }).Uniform(), "another rank")
		require.False(t, with(func(c *Config) { c.AlphaPattern = map[string]float64{"layers.1.self_attn.q_proj": 2} }).Uniform(), "another scale")
	})
}

// blockByBlock returns the logits of one sequence, by programs of n blocks.
func blockByBlock(t *testing.T, m *salamandra.Model, a salamandra.Adapter, n int, ids []int32) []float32 {
	t.Helper()
	layout := salamandra.SharedPrefix{B: 1, S: len(ids)}
	embed, err := m.NewEndsProgram("embed", func(tr salamandra.Transformer, args []*Node) []*Node { return []*Node{tr.Embed(args[0])} })
	require.NoError(t, err)
	defer embed.Close()
	block, err := m.NewBlocksProgram("blocks", a, n, func(tr salamandra.Transformer, args []*Node) []*Node {
		return []*Node{tr.Blocks(args[0], layout.Positions(args[0].Graph()), layout)}
	})
	require.NoError(t, err)
	defer block.Close()
	head, err := m.NewEndsProgram("head", func(tr salamandra.Transformer, args []*Node) []*Node { return []*Node{tr.Logits(args[0])} })
	require.NoError(t, err)
	defer head.Close()
	tokens, err := m.Tokens(ids)
	require.NoError(t, err)
	x, err := embed.Call(tokens)
	require.NoError(t, err)
	for i := 0; i < m.Config.NumHiddenLayers; i += n {
		x, err = block.CallBlock(a, i, salamandra.Donate(x[0]))
		require.NoError(t, err)
	}
	require.Equal(t, 1, block.Compiled(), "compiled once for all blocks")
	out, err := head.Call(x[0])
	require.NoError(t, err)
	return tensors.MustCopyFlatData[float32](out[0])
}
