package salamandra_test

import (
	"fmt"
	"math"
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

// plainAttention is softmax(q·kᵀ/√D + mask)·v over all tokens at once, where a
// token sees those before it in its own row and the prefix.
func plainAttention(a salamandra.SharedPrefix, q, k, v *Node) *Node {
	g, n, nq := q.Graph(), a.Tokens(), q.Shape().Dim(0)
	row := func(i int) int { return max(-1, (i-a.P)/max(1, a.S)-boolInt(i < a.P)) }
	bias := make([][]float32, nq)
	for i := range bias {
		bias[i] = make([]float32, n)
		for j := range n {
			at := i + n - nq
			if j > at || j >= a.P && row(j) != row(at) {
				bias[i][j] = -1e30
			}
		}
	}
	group := q.Shape().Dim(1) / k.Shape().Dim(1)
	heads := func(x *Node, times int) *Node { // [H, n, D]
		x = ExpandAxes(x, 2)
		x = BroadcastToDims(x, x.Shape().Dim(0), x.Shape().Dim(1), times, x.Shape().Dim(3))
		return TransposeAllAxes(Reshape(x, x.Shape().Dim(0), -1, x.Shape().Dim(3)), 1, 0, 2)
	}
	scores := MulScalar(Einsum("hid,hjd->hij", heads(q, 1), heads(k, group)), 1/math.Sqrt(float64(q.Shape().Dim(2))))
	w := Softmax(Add(scores, ExpandAxes(Const(g, bias), 0)), -1)
	return Reshape(TransposeAllAxes(Einsum("hij,hjd->hid", w, heads(v, group)), 1, 0, 2), nq, -1)
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// TestAttention compares attention and its gradients, written by hand, with
// the plain formula and its automatic gradients, for rows so long that they
// are computed in blocks, and with queries of the rows only.
func TestAttention(t *testing.T) {
	const heads, kvHeads, dim = 4, 2, 8
	for _, c := range []struct {
		layout   salamandra.SharedPrefix
		rowsOnly bool
	}{
		{salamandra.SharedPrefix{B: 2, S: 7}, false},
		{salamandra.SharedPrefix{B: 2, S: 601}, false},
		{salamandra.SharedPrefix{P: 5, B: 3, S: 4}, false},
		{salamandra.SharedPrefix{P: 5, B: 3, S: 4}, true},
		{salamandra.SharedPrefix{P: 401, B: 2, S: 390}, false},
		{salamandra.SharedPrefix{P: 401, B: 2, S: 390}, true},
	} {
		t.Run(fmt.Sprintf("%+v %v", c.layout, c.rowsOnly), func(t *testing.T) {
			n := c.layout.Tokens()
			nq := n
			if c.rowsOnly {
				nq -= c.layout.P
			}
			salamandratest.OnEach(t, func(t *testing.T, b compute.Backend) {
				draw := rand.New(rand.NewPCG(1, 2))
				random := func(rows, heads int) *tensors.Tensor {
					flat := make([]float32, rows*heads*dim)
					for i := range flat {
						flat[i] = float32(2 * draw.NormFloat64())
					}
					return tensors.FromFlatDataAndDimensions(flat, rows, heads, dim)
				}
				in := []any{random(nq, heads), random(n, kvHeads), random(n, kvHeads), random(nq, heads)}
				results := func(f func(q, k, v *Node) *Node) []*tensors.Tensor {
					out, err := CallOnceN(b, func(in []*Node) []*Node {
						y := f(in[0], in[1], in[2])
						d := Reshape(in[3], y.Shape().Dimensions...)
						return append([]*Node{y}, Gradient(ReduceAllSum(Mul(y, d)), in[:3]...)...)
					}, in...)
					require.NoError(t, err)
					return out
				}
				got := results(func(q, k, v *Node) *Node { return c.layout.Attend(0, q, k, v) })
				want := results(func(q, k, v *Node) *Node { return plainAttention(c.layout, q, k, v) })
				for i, name := range []string{"result", "gradient by q", "by k", "by v"} {
					w := tensors.MustCopyFlatData[float32](want[i])
					salamandratest.Near(t, name, tensors.MustCopyFlatData[float32](got[i]), w, 0, 1e-5)
				}
			})
		})
	}
}

// TestAttentionKeepsNoScores looks at the graph: nothing as large as the scores
// is used both before and after the gradient arrives.
func TestAttentionKeepsNoScores(t *testing.T) {
	layout := salamandra.SharedPrefix{P: 64, B: 2, S: 32}
	b := salamandratest.Go(t)
	_, err := CallOnceN(b, func(in []*Node) []*Node {
		g := in[0].Graph()
		q, k, v := in[0].Checkpoint(), in[1].Checkpoint(), in[2].Checkpoint()
		y := layout.Attend(0, q, k, v).Checkpoint()
		forward := len(g.Nodes())
		out := Gradient(ReduceAllSum(Square(y)), in...)
		for _, x := range g.Nodes()[forward:] {
			for _, i := range x.Inputs() {
				if int(i.Id()) < forward && i.Type() != NodeTypeConstant {
					require.LessOrEqual(t, i.Shape().Size(), layout.Tokens()*4*8, "kept for the backward pass: %s", i)
				}
			}
		}
		return out
	}, zeros(layout.Tokens(), 4, 8), zeros(layout.Tokens(), 2, 8), zeros(layout.Tokens(), 2, 8))
	require.NoError(t, err)
}

func zeros(dims ...int) *tensors.Tensor {
	return tensors.FromShape(shapes.Make(dtypes.Float32, dims...))
}
