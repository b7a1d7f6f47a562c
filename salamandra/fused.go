package salamandra

import (
	"github.com/gomlx/compute"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
)

// This file leaves attention to the executor where that has an operation for
// it, as XLA has on CUDA: cuDNN's flash attention. The operation takes as many
// keys as queries and no mask but the causal one; what is more than that stays
// with the code of attention.go.

// attend runs attention, by the executor's operation where there is one for the
// prefix, or for the rows if there is none.
func (t Transformer) attend(layer int, attention Attention, q, k, v *Node) *Node {
	a, ok := attention.(SharedPrefix)
	if ok && !t.PlainAttention && q.Shape().Dim(0) == a.Tokens() &&
		fuses(q.Graph().Backend().Capabilities().Operations, q.Shape(), a.fusedRows()) {
		return a.fused(layer, q, k, v)
	}
	return attention.Attend(layer, q, k, v)
}

// fuses tells whether an executor with these operations has one for the causal
// attention of queries q [N, H, D] in rows of s tokens, and for its gradient.
// The limits are cuDNN's: 16 bits, at most 128 numbers a head, and no gradient
// for rows below 64 tokens before its version 9.
func fuses(operations map[compute.OpType]bool, q shapes.Shape, s int) bool {
	d := q.Dim(-1)
	return operations[compute.OpTypeFusedScaledDotProductAttention] &&
		operations[compute.OpTypeFusedScaledDotProductAttentionVJP] &&
		q.DType.IsHalfPrecision() && d%8 == 0 && d <= 128 && s >= 64
}

// fusedRows is the length of the rows that [SharedPrefix.fused] leaves to the
// executor.
func (a SharedPrefix) fusedRows() int {
	if a.P > 0 {
		return a.P
	}
	return a.S
}

// fused is Attend with queries for all tokens, where the executor computes the
// prefix, or the rows if there is none.
func (a SharedPrefix) fused(layer int, q, k, v *Node) *Node {
	if a.P == 0 {
		return fusedCausal(q, k, v, a.B)
	}
	first := AxisRange(0, a.P)
	prefix := fusedCausal(SliceAxis(q, 0, first), SliceAxis(k, 0, first), SliceAxis(v, 0, first), 1)
	return joined([]*Node{prefix, a.Attend(layer, rowsFrom(q, a.P), k, v)})
}

// fusedCausal is the executor's causal attention of b rows of queries
// [B*S, H, D] to keys and values [B*S, K, D] of the same rows, [B*S, H*D].
//
// Its gradient needs the result and the logarithms of the sums. Between
// checkpoints it computes them a second time, which costs little beside the
// products with weights.
func fusedCausal(q, k, v *Node, b int) *Node {
	rows := func(x *Node) *Node { // [B, S, heads, D]
		dims := x.Shape().Dimensions
		return Reshape(x, b, dims[0]/b, dims[1], dims[2])
	}
	out, _ := BackendFusedScaledDotProductAttention(rows(q), rows(k), rows(v),
		compute.AttentionAxesLayoutBSHD, &compute.ScaledDotProductAttentionConfig{Causal: true})
	return Reshape(out, q.Shape().Dim(0), -1)
}
