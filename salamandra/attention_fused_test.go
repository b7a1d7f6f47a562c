package salamandra_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/salamandra"
	"github.com/impulse-salamandra/finetune/salamandra/salamandratest"
)

func TestFuses(t *testing.T) {
	both := map[compute.OpType]bool{
		compute.OpTypeFusedScaledDotProductAttention:    true,
		compute.OpTypeFusedScaledDotProductAttentionVJP: true,
	}
	forward := map[compute.OpType]bool{compute.OpTypeFusedScaledDotProductAttention: true}
	for _, c := range []struct {
		name       string
		operations map[compute.OpType]bool
		dtype      dtypes.DType
		d, s       int
		want       bool
	}{
		{"Salamandra on CUDA", both, dtypes.BFloat16, 128, 1136, true},
		{"float16", both, dtypes.Float16, 64, 200, true},
		{"float32 stays exact", both, dtypes.Float32, 128, 1136, false},
		{"a CPU", nil, dtypes.BFloat16, 128, 1136, false},
		{"no gradient", forward, dtypes.BFloat16, 128, 1136, false},
		{"heads too large", both, dtypes.BFloat16, 136, 1136, false},
		{"heads not a multiple of 8", both, dtypes.BFloat16, 20, 1136, false},
		{"the shortest rows", both, dtypes.BFloat16, 128, 64, true},
		{"rows too short", both, dtypes.BFloat16, 128, 63, false},
	} {
		require.Equal(t, c.want, salamandra.Fuses(c.operations, shapes.Make(c.dtype, 2*c.s, 16, c.d), c.s), c.name)
	}
}

// TestFusedAttention compares the executor's attention and its gradients with
// those of matrix products, as they are and computed again from checkpoints.
func TestFusedAttention(t *testing.T) {
	const heads, kvHeads, dim = 4, 2, 16
	for _, layout := range []salamandra.SharedPrefix{{B: 3, S: 64}, {P: 65, B: 2, S: 7}, {P: 66, B: 2, S: 64}, {P: 200, B: 1, S: 70}} {
		for dtype, limit := range map[dtypes.DType]float64{dtypes.Float16: 3e-3, dtypes.BFloat16: 2e-2} {
			t.Run(fmt.Sprintf("%+v %s", layout, dtype), func(t *testing.T) {
				salamandratest.OnFused(t, func(t *testing.T, b compute.Backend) {
					n := layout.Tokens()
					inputs := func() []any {
						draw := rand.New(rand.NewPCG(1, 2))
						var in []any
						for _, h := range []int{heads, kvHeads, kvHeads, heads} {
							flat := make([]float32, n*h*dim)
							for i := range flat {
								flat[i] = float32(draw.NormFloat64())
							}
							in = append(in, tensors.FromFlatDataAndDimensions(flat, n, h, dim))
						}
						return in
					}
					results := func(plain, checkpoint bool) []*tensors.Tensor {
						out, err := CallOnceN(b, func(in []*Node) []*Node {
							x := make([]*Node, len(in))
							for i := range in {
								if x[i] = ConvertDType(in[i], dtype); checkpoint {
									x[i] = MulScalar(x[i].Checkpoint(), 1)
								}
							}
							tr := salamandra.Transformer{PlainAttention: plain}
							if checkpoint {
								tr.Keep = salamandra.KeepBlocks
							}
							y := salamandra.Attend(tr, 0, layout, x[0], x[1], x[2])
							if checkpoint {
								y = y.StopCheckpoint()
							}
							require.Equal(t, dtype, y.DType())
							y = ConvertDType(y, dtypes.Float32)
							return append([]*Node{y}, Gradient(ReduceAllSum(Mul(y, Reshape(in[3], y.Shape().Dimensions...))), in[:3]...)...)
						}, inputs()...)
						require.NoError(t, err)
						return out
					}
					want := results(true, false)
					for _, checkpoint := range []bool{false, true} {
						got := results(false, checkpoint)
						for i, name := range []string{"result", "gradient by q", "by k", "by v"} {
							w := tensors.MustCopyFlatData[float32](want[i])
							salamandratest.Near(t, name, tensors.MustCopyFlatData[float32](got[i]), w, 0, limit)
						}
					}
					if f, ok := b.(*salamandratest.FusedAttention); ok {
						want := 2 // one a graph
						if layout.P > 0 && layout.S >= 64 {
							want = 10 // and two for each stretch that rows see, of which one is the pattern
						}
						require.EqualValues(t, want, f.Backward.Load())
					}
				})
			})
		}
	}
}
