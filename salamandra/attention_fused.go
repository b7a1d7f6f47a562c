package salamandra

import (
	"slices"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
)

// This file leaves attention to the executor where that has an operation for
// it, as XLA has on CUDA: cuDNN's flash attention. The operation takes as many
// keys as queries and no mask but the causal one, so that the attention of rows
// behind a prefix is put together from two of them.

// attend runs attention, by the executor's operation where there is one for the
// prefix, or for the rows if there is none. The operation costs little beside the
// products with weights: between checkpoints it is computed again.
func (t Transformer) attend(layer int, attention Attention, q, k, v *Node) *Node {
	a, ok := attention.(SharedPrefix)
	if ok && !t.PlainAttention && (q.Shape().Dim(0) == a.Tokens() || a.fusesRows()) &&
		fuses(q.Graph().Backend().Capabilities().Operations, q.Shape(), a.fusedRows()) {
		out := a.fused(q, k, v, t.Kept, t.Keep == KeepBlocks)
		if t.Kept != nil {
			return out
		}
		return t.keep(KeepProducts, out)
	}
	if ok && t.Kept != nil {
		return a.attend(q, k, v, t.Kept)
	}
	return t.keep(KeepBlocks, attention.Attend(layer, q, k, v))
}

// fuses reports whether an executor with these operations has one for the causal
// attention of queries q [N, H, D] in rows of s tokens, and for its gradient.
// The limits are cuDNN's: 16 bits, at most 128 numbers a head, and no gradient
// for rows below 64 tokens before its version 9.
func fuses(operations map[compute.OpType]bool, q shapes.Shape, s int) bool {
	d := q.Dim(-1)
	return operations[compute.OpTypeFusedScaledDotProductAttention] &&
		operations[compute.OpTypeFusedScaledDotProductAttentionVJP] &&
		q.DType.IsHalfPrecision() && d%8 == 0 && d <= 128 && s >= shortestFused
}

const shortestFused = 64

// fusedRows is the length of the rows that [SharedPrefix.fused] leaves to the
// executor at least.
func (a SharedPrefix) fusedRows() int {
	if a.P > 0 {
		return a.P
	}
	return a.S
}

// fusesRows reports whether [SharedPrefix.fused] leaves the rows behind a prefix to
// the executor as well.
func (a SharedPrefix) fusesRows() bool { return a.P > 0 && a.S >= shortestFused }

// fused is Attend where the executor computes the prefix, or the rows if there is
// none, and rows behind a prefix unless they are short; again is that of fusedBehind.
func (a SharedPrefix) fused(q, k, v *Node, kept *Kept, again bool) *Node {
	if a.Fill > 0 {
		return a.withoutFill(q, k, v, func(a SharedPrefix, q, k, v *Node) *Node { return a.fused(q, k, v, kept, again) })
	}
	if a.P == 0 {
		return fusedCausal(q, k, v, a.B)
	}
	rows := rowsFrom(q, q.Shape().Dim(0)-a.B*a.S)
	var out *Node
	if a.fusesRows() {
		out = a.fusedBehind(rows, k, v, kept, again)
	} else {
		out = a.attend(rows, k, v, kept)
	}
	if q.Shape().Dim(0) < a.Tokens() {
		return out
	}
	first := AxisRange(0, a.P)
	prefix := fusedCausal(SliceAxis(q, 0, first), SliceAxis(k, 0, first), SliceAxis(v, 0, first), 1)
	return joined([]*Node{prefix, out}, 0)
}

// fusedCausal is the executor's causal attention of b rows of queries
// [B*S, H, D] to keys and values [B*S, K, D] of the same rows, [B*S, H*D].
func fusedCausal(q, k, v *Node, b int) *Node {
	rows := func(x *Node) *Node { return Reshape(x, append([]int{b, -1}, x.Shape().Dimensions[1:]...)...) }
	out, _ := BackendFusedScaledDotProductAttention(rows(q), rows(k), rows(v), compute.AttentionAxesLayoutBSHD, &compute.ScaledDotProductAttentionConfig{Causal: true})
	return Reshape(out, q.Shape().Dim(0), -1)
}

// fusedBehind is the attention of the rows' queries [B*S, H, D] to the prefix and
// to their own earlier tokens, of keys and values [P + B*S, K, D]; the result is
// [B*S, H*D].
//
// Both stretches are computed apart and weighed by the sums of their softmax. Their
// gradients are the operation's, which computes its weights from the sums it is
// given: given those of both stretches, they are the weights of one softmax.
// Source: Liu et al. 2023, arXiv:2310.01889.
//
// If again, the backward pass computes results and sums again, from inputs that
// checkpointing computed again.
func (a SharedPrefix) fusedBehind(q, k, v *Node, kept *Kept, again bool) *Node {
	out, logSum := wholeSoftmax(a.stretches(q, k, v))
	groups := out.Shape().Dim(1)
	return kept.withGradient(Reshape(headsFirst(out), q.Shape().Dim(0), -1), []*Node{q, k, v}, func(in []*Node, dOut *Node) []*Node {
		parts, out, logSum := a.stretches(in[0], in[1], in[2]), out, logSum
		if again && kept == nil {
			out, logSum = wholeSoftmax(parts)
		}
		dOut = groupsFirst(Reshape(dOut, in[0].Shape().Dimensions...), groups)
		prefix, own := parts[0].gradients(out, logSum, dOut), parts[1].gradients(out, logSum, dOut)
		return []*Node{
			headsFirst(Add(prefix.q, own.q)),
			Concatenate([]*Node{prefix.k, own.k}, 0),
			Concatenate([]*Node{prefix.v, own.v}, 0),
		}
	})
}

// groupsFirst makes [N, K*G, D] [N, G, K, D], so that the queries of a token and of a
// place in the group are those of a token with K heads: in one order for both
// stretches, which share what is laid out.
func groupsFirst(x *Node, groups int) *Node {
	n, heads, d := x.Shape().Dim(0), x.Shape().Dim(1), x.Shape().Dim(2)
	return TransposeAllAxes(Reshape(x, n, heads/groups, groups, d), 0, 2, 1, 3)
}

// headsFirst undoes groupsFirst.
func headsFirst(x *Node) *Node {
	dims := x.Shape().Dimensions
	return Reshape(TransposeAllAxes(x, 0, 2, 1, 3), dims[0], dims[1]*dims[2], dims[3])
}

// stretches are the attention of the rows to the prefix and to themselves.
func (a SharedPrefix) stretches(q, k, v *Node) [2]stretch {
	first, rest := AxisRange(0, a.P), AxisRange(a.P)
	groups := q.Shape().Dim(1) / k.Shape().Dim(1)
	q = groupsFirst(q, groups)
	b, s := sharedRows(q.Shape().Dim(0)*groups, a.P)
	return [2]stretch{
		{q: q, k: SliceAxis(k, 0, first), v: SliceAxis(v, 0, first), b: b, s: s, shared: true},
		{q: q, k: SliceAxis(k, 0, rest), v: SliceAxis(v, 0, rest), b: a.B, s: a.S},
	}
}

// sharedRows cuts n queries into b rows of s places, at least as many as there are
// keys, which take as many places: the most rows that leave no place over.
func sharedRows(n, keys int) (b, s int) {
	for b = max(1, n/keys); n%b != 0; b-- {
	}
	return b, max(keys, n/b)
}

// stretch is one call of the operation, for queries [N, G, K, D] in b rows of s
// places. In causal ones a row has keys and values of its own, [N, K, D] together, and
// they are repeated for the group. In shared ones all rows have the same, [P, K, D], at
// their beginning: each of a token's G queries takes a place.
type stretch struct {
	q, k, v *Node
	b, s    int
	shared  bool
}

func (f stretch) config() *compute.ScaledDotProductAttentionConfig {
	n := f.k.Shape().Dim(0)
	switch {
	case !f.shared:
		return &compute.ScaledDotProductAttentionConfig{Causal: true}
	case n == f.s:
		return &compute.ScaledDotProductAttentionConfig{}
	}
	each := func(n int) compute.Value {
		return InternalBackendOutputs(Const(f.k.Graph(), slices.Repeat([]int32{int32(n)}, f.b)))[0]
	}
	return &compute.ScaledDotProductAttentionConfig{QuerySeqLen: each(f.s), KeyValueSeqLen: each(n)}
}

// rows makes x [N, G, K, ...] rows of the queries, [b, s, heads, ...].
func (f stretch) rows(x *Node) *Node {
	dims := x.Shape().Dimensions
	if !f.shared {
		return Reshape(x, append([]int{f.b, f.s, dims[1] * dims[2]}, dims[3:]...)...)
	}
	x = Reshape(x, append([]int{dims[0] * dims[1]}, dims[2:]...)...)
	if missing := f.b*f.s - x.Shape().Dim(0); missing > 0 {
		x = filled(x, missing)
	}
	return Reshape(x, append([]int{f.b, f.s}, dims[2:]...)...)
}

// tokens undoes rows.
func (f stretch) tokens(x *Node) *Node {
	dims := slices.Concat(f.q.Shape().Dimensions[:3], x.Shape().Dimensions[3:])
	if places := dims[0] * dims[1]; f.shared && places < f.b*f.s {
		x = SliceAxis(Reshape(x, append([]int{f.b * f.s}, x.Shape().Dimensions[2:]...)...), 0, AxisRange(0, places))
	}
	return Reshape(x, dims...)
}

// keys makes keys or values rows [b, s, heads, D].
func (f stretch) keys(x *Node) *Node {
	n, heads, d := x.Shape().Dim(0), x.Shape().Dim(1), x.Shape().Dim(2)
	if !f.shared {
		groups := f.q.Shape().Dim(1)
		x = BroadcastToDims(Reshape(x, f.b, f.s, 1, heads, d), f.b, f.s, groups, heads, d)
		return Reshape(x, f.b, f.s, groups*heads, d)
	}
	if n < f.s {
		x = filled(x, f.s-n)
	}
	return BroadcastToDims(InsertAxes(x, 0), f.b, f.s, heads, d)
}

// ofKeys makes gradients by keys or values [b, s, heads, D] those by what keys got.
func (f stretch) ofKeys(x *Node) *Node {
	dtype := x.DType()
	n, heads, d := f.k.Shape().Dim(0), f.k.Shape().Dim(1), f.k.Shape().Dim(2)
	if !f.shared {
		return ConvertDType(ReduceSum(inFloat32(Reshape(x, n, -1, heads, d)), 1), dtype)
	}
	return ConvertDType(ReduceSum(inFloat32(SliceAxis(x, 1, AxisRange(0, n))), 0), dtype)
}

// attend returns the result [N, G, K, D] and the logarithms of the softmax's sums
// [N, G, K], float32.
func (f stretch) attend() (out, logSum *Node) {
	out, states := BackendFusedScaledDotProductAttention(f.rows(f.q), f.keys(f.k), f.keys(f.v), compute.AttentionAxesLayoutBSHD, f.config())
	return f.tokens(out), f.tokens(Transpose(states[0], 1, 2))
}

// gradients are those by q, k and v, of weights exp(score - logSum) and a result
// out, which both may be of more than this stretch.
//
// gomlx builds the operation's gradient for its own result and sums only: it is
// taken as the pattern that a clone with others is made of.
func (f stretch) gradients(out, logSum, dOut *Node) stretch {
	q, k, v := f.rows(f.q), f.keys(f.k), f.keys(f.v)
	dOut = f.rows(dOut)
	own, _ := BackendFusedScaledDotProductAttention(q, k, v, compute.AttentionAxesLayoutBSHD, f.config())
	pattern := VJPRegistration[NodeTypeFusedScaledDotProductAttention](own.Inputs()[0], []*Node{dOut, nil}, own.Shape())
	clone := pattern[0].Inputs()[0].CloneWithInputs(q, k, v, f.rows(out), Transpose(f.rows(logSum), 1, 2), dOut)
	of := func(i int) *Node { return pattern[i].CloneWithInputs(clone) }
	return stretch{q: f.tokens(of(0)), k: f.ofKeys(of(1)), v: f.ofKeys(of(2))}
}

// wholeSoftmax joins the results of stretches of keys and values that the same
// queries see: their result [N, G, K, D] and the logarithms of the sums [N, G, K].
func wholeSoftmax(parts [2]stretch) (out, logSum *Node) {
	a, la := parts[0].attend()
	b, lb := parts[1].attend()
	top := Max(la, lb)
	logSum = Add(top, Log(Add(Exp(Sub(la, top)), Exp(Sub(lb, top)))))
	share := func(x, l *Node) *Node { return Mul(inFloat32(x), ExpandAxes(Exp(Sub(l, logSum)), -1)) }
	return ConvertDType(Add(share(a, la), share(b, lb)), a.DType()), logSum
}
