package salamandra_test

import (
	"context"
	"math"
	"path/filepath"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/salamandra"
	"github.com/impulse-salamandra/finetune/salamandra/salamandratest"
)

// TestBFloat16 computes in bfloat16: logits are about as far from the float32
// reference as those of Transformers in bfloat16, neither much further nor so
// near that float32 would be at work, and every product takes bfloat16 operands.
func TestBFloat16(t *testing.T) {
	salamandratest.EachModel(t, func(t *testing.T, dir string) {
		path := filepath.Join(dir, "golden", "forward.safetensors")
		golden := salamandratest.Floats(t, path)
		ids, mask := salamandratest.Rows(t, path, "input_ids"), salamandratest.Rows(t, path, "attention_mask")
		layout := salamandra.SharedPrefix{B: len(ids), S: len(ids[0])}
		var flat []int32
		for _, row := range ids {
			flat = append(flat, row...)
		}
		salamandratest.OnEach(t, func(t *testing.T, b compute.Backend) {
			m, err := salamandra.Load(context.Background(), b, dir, salamandra.Options{Dtype: "bfloat16"})
			require.NoError(t, err)
			defer m.Close()
			var g *Graph
			p, err := m.NewProgram("bf16", nil, func(tr salamandra.Transformer, args []*Node) []*Node {
				g = args[0].Graph()
				return []*Node{tr.Logits(tr.Blocks(tr.Embed(args[0]), layout.Positions(g), layout))}
			})
			require.NoError(t, err)
			defer p.Close()
			out, err := p.Call(tokensOf(t, m, flat))
			require.NoError(t, err)
			got := tensors.MustCopyFlatData[float32](out[0])

			want, theirs := golden["logits"], golden["logits_bf16_compute"]
			require.Len(t, theirs, len(got))
			v := m.Config.VocabSize
			var ours, reference float64
			for row := range mask {
				from := row * layout.S * v
				for i := from; i < from+count(mask[row])*v; i++ {
					ours += math.Abs(float64(got[i] - want[i]))
					reference += math.Abs(float64(theirs[i] - want[i]))
				}
			}
			ratio := ours / reference
			t.Logf("mean error %.3f of Transformers' in bfloat16, on %s", ratio, b.Name())
			require.LessOrEqual(t, ratio, 1.1)
			require.GreaterOrEqual(t, ratio, 0.1)

			products := 0
			for _, n := range g.Nodes() {
				if n.Type() != NodeTypeDotGeneral {
					continue
				}
				products++
				for _, x := range n.Inputs() {
					require.Equal(t, dtypes.BFloat16, x.DType(), "operand of %s", n)
				}
			}
			require.Equal(t, 9*m.Config.NumHiddenLayers+1, products, "seven layers and two of attention a block, and the head")
		})
	})
}
