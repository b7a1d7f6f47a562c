package lora

import (
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/internal/products"
	"github.com/impulse-salamandra/finetune/salamandra/salamandratest"
)

// TestGradientsOfLinear compares the gradients that a layer computes itself
// with those gomlx finds for the formula, by x, A and B: with and without
// dropout and checkpointing, for sizes that can be halved and that cannot.
func TestGradientsOfLinear(t *testing.T) {
	salamandratest.OnEach(t, func(t *testing.T, b compute.Backend) {
		for _, c := range []struct {
			name                 string
			n, in, out, rank     int
			dropout, checkpoints bool
		}{
			{"even", 6, 4, 8, 2, false, false},
			{"odd", 5, 3, 7, 3, false, false},
			{"odd rows", 5, 4, 8, 2, false, true},
			{"dropout", 6, 4, 7, 1, true, false},
			{"dropout drawn again", 6, 4, 7, 1, true, true},
		} {
			t.Run(c.name, func(t *testing.T) {
				outs, err := CallOnceN(b, func(seeds *Node) []*Node {
					g := seeds.Graph()
					value := func(seed int, dims ...int) *Node {
						return Sin(MulScalar(Add(IotaFull(g, shapes.Make(dtypes.Float32, dims...)), Reshape(Slice(seeds, AxisElem(seed)))), 1.7))
					}
					x, w := value(1, c.n, c.in), value(2, c.out, c.in)
					factorA, factorB := value(3, c.rank, c.in), value(4, c.out, c.rank)
					mask := OnesLike(x)
					bound := &Bound{Factors: []*Node{factorA, factorB}, layers: &Layers{
						layers: []layer{{name: "q", rank: c.rank, in: c.in, out: c.out, scale: 0.5}}, place: map[string]int{"q": 0}}}
					if c.dropout {
						mask = ConvertDType(GreaterThan(value(5, c.n, c.in), ScalarZero(g, dtypes.Float32)), dtypes.Float32)
						bound.Dropout = func(_ int, _, _ *Node) *Node { return mask }
					}
					loss := func(linear func(x *Node) *Node) []*Node {
						h := x
						if c.checkpoints {
							h = h.Checkpoint()
						}
						y := linear(Tanh(h))
						if c.checkpoints {
							y = y.StopCheckpoint()
						}
						l := ReduceAllSum(Mul(y, value(6, c.n, c.out)))
						return append([]*Node{l}, Gradient(l, x, factorA, factorB)...)
					}
					return append(
						loss(func(x *Node) *Node { return bound.Linear("q", x, products.Full{Node: w}) }),
						loss(func(x *Node) *Node {
							low := MatMul(MatMul(Mul(x, mask), Transpose(factorA, 0, 1)), Transpose(factorB, 0, 1))
							return Add(MatMul(x, Transpose(w, 0, 1)), MulScalar(low, 0.5))
						})...)
				}, []float32{0, 1, 2, 3, 4, 5, 6})
				require.NoError(t, err)
				for i, name := range []string{"result", "by x", "by A", "by B"} {
					want, got := tensors.MustCopyFlatData[float32](outs[4+i]), tensors.MustCopyFlatData[float32](outs[i])
					require.InDeltaSlice(t, want, got, 1e-5, name)
				}
			})
		}
	})
}
