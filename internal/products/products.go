// Package products builds matrix products in the forms that gomlx and XLA
// compute fast, without copies of their operands.
//
// Every product says what it adds up in: the dtype of its operands. By default
// gomlx computes the gradient of a half-precision product in float32, and go-xla
// copies the second operand of one to float32, weights included.
//
// The package is for graphs: functions panic on misuse, as those of gomlx do.
package products

import (
	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph"
)

func dot(x, y *Node) *DotBuilder { return Dot(x, y).WithAccumulatorDType(x.DType()) }

// Apart returns the operands of a product that is not to be joined with others of
// one of them. XLA joins products on a GPU where one of them is small: it copies the
// operands that differ into one array, at every call.
//
// A barrier of one node alone would not do: gomlx leaves it out where
// checkpointing computes again.
func Apart(x, y *Node) (*Node, *Node) {
	if x.Graph().Backend().HasSharedBuffers() { // a processor
		return x, y
	}
	both := OptimizationBarriers(x, y)
	return both[0], both[1]
}

// Linear is x·Wᵀ for x [N, in] and w [out, in].
func Linear(x, w *Node) *Node { return dot(x, w).General([]int{1}, nil, []int{1}, nil) }

// Times is x·W for x [N, out] and w [out, in].
func Times(x, w *Node) *Node { return dot(x, w).General([]int{1}, nil, []int{0}, nil) }

// TimesFloat32 is [Times] with a result in float32.
func TimesFloat32(x, w *Node) *Node {
	return dot(x, w).WithOutputDType(dtypes.Float32).General([]int{1}, nil, []int{0}, nil)
}

// OverRows is xᵀ·y in float32 for x [N, R] and y [N, out].
//
// XLA has no fast product over the first axes of both on a CPU, so the narrow
// operand, x, is laid out anew.
func OverRows(x, y *Node) *Node { return TimesFloat32(Transposed(x), y) }

// Batched multiplies the matrices of x and y over the given axes; axis 0 counts
// the matrices.
func Batched(x *Node, xAxis int, y *Node, yAxis int) *Node {
	return dot(x, y).General([]int{xAxis}, []int{0}, []int{yAxis}, []int{0})
}

// Transposed swaps the last two axes of x [n, m] or [batch, n, m].
//
// It does so in two halves, which XLA does not fold into the product beside it:
// on a CPU that product would be many times slower. Where both n and m are odd
// it is a plain transpose.
func Transposed(x *Node) *Node {
	dims := x.Shape().Dimensions
	rank := len(dims)
	n, m := dims[rank-2], dims[rank-1]
	batch := dims[:rank-2]
	shape := func(more ...int) []int { return append(append([]int{}, batch...), more...) }
	var halves *Node
	order := []int{0, 1, 2, 3}[:rank-2]
	at := rank - 2
	switch {
	case n%2 == 0: // [n/2, 2, m] to [m, n/2, 2]
		halves = TransposeAllAxes(Reshape(x, shape(n/2, 2, m)...), append(order, at+2, at, at+1)...)
	case m%2 == 0: // [n, m/2, 2] to [m/2, 2, n]
		halves = TransposeAllAxes(Reshape(x, shape(n, m/2, 2)...), append(order, at+1, at+2, at)...)
	default:
		return TransposeAllAxes(x, append(order, at+1, at)...)
	}
	return Reshape(halves, shape(m, n)...)
}
