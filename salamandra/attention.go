package salamandra

import (
	"fmt"
	"math"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"

	"github.com/impulse-salamandra/finetune/internal/products"
)

// SharedPrefix is the attention of a batch whose rows all begin with the same
// P tokens: tokens [0, P) are the prefix, then follow B rows of S tokens.
// A row attends to the whole prefix and to its own earlier tokens. With P = 0 the
// rows are plain sequences. Rows are padded on the right; padding does not change
// the other tokens.
//
// Fill tokens may follow that belong to no row, for an N that products are fast
// for. They see nothing, and nothing sees them.
type SharedPrefix struct{ P, B, S, Fill int }

// Tokens is the number N of tokens of the batch.
func (a SharedPrefix) Tokens() int { return a.P + a.B*a.S + a.Fill }

// Positions returns the position [N] of each token, int32.
func (a SharedPrefix) Positions(g *Graph) *Node {
	p := make([]int32, a.Tokens())
	for i := range p {
		p[i] = int32(i)
		if i >= a.P { // what fills is as good as another row
			p[i] = int32(a.P + (i-a.P)%a.S)
		}
	}
	return Const(g, p)
}

// Attend implements [Attention]. Queries are those of all tokens, or of the rows
// only.
//
// The gradient computes the scores a second time: only the result and the
// logarithms of the sums are kept for the backward pass.
// Source: Dao et al. 2022, arXiv:2205.14135, appendix B.2.
func (a SharedPrefix) Attend(_ int, q, k, v *Node) *Node { return a.attend(q, k, v, nil) }

// attend is Attend, with what is kept for a program of the backward pass, if that is
// another one.
func (a SharedPrefix) attend(q, k, v *Node, kept *Kept) *Node {
	if a.Fill > 0 {
		return a.withoutFill(q, k, v, func(a SharedPrefix, q, k, v *Node) *Node { return a.attend(q, k, v, kept) })
	}
	if n, nq := k.Shape().Dim(0), q.Shape().Dim(0); n != a.Tokens() || nq != n && nq != n-a.P {
		panic(fmt.Errorf("salamandra: %d queries and %d keys, want %d + %d·%d", nq, n, a.P, a.B, a.S))
	}
	dims := q.Shape().Dimensions
	var outs, logSums []*Node
	for _, r := range a.split(q, k, v) {
		out, logSum := r.attend()
		outs, logSums = append(outs, joinQueries(out)), append(logSums, kept.value(logSum))
	}
	out := kept.value(joined(outs, 0)) // [N, H*D]
	return kept.withGradient(out, []*Node{q, k, v}, func(in []*Node, dOut *Node) []*Node {
		return a.gradients(in, logSums, Reshape(out, dims...), Reshape(dOut, dims...))
	})
}

// withoutFill attends with all tokens but those that fill, whose result is zero.
func (a SharedPrefix) withoutFill(q, k, v *Node, attend func(a SharedPrefix, q, k, v *Node) *Node) *Node {
	fill := a.Fill
	a.Fill = 0
	but := func(x *Node) *Node { return SliceAxis(x, 0, AxisRange(0, x.Shape().Dim(0)-fill)) }
	return filled(attend(a, but(q), but(k), but(v)), fill)
}

// filled adds n rows of zeros to x [N, ...].
func filled(x *Node, n int) *Node {
	axes := make([]PadAxis, x.Rank())
	axes[0].End = n
	return Pad(x, ScalarZero(x.Graph(), x.DType()), axes...)
}

// split parts the tokens into the prefix, where there are queries for it, and
// the rows after it.
func (a SharedPrefix) split(q, k, v *Node) []causalRows {
	n, nq, kvHeads := a.Tokens(), q.Shape().Dim(0), k.Shape().Dim(1)
	q = scaled(q)
	cut := func(x *Node, from, to int) *Node {
		if to-from == x.Shape().Dim(0) {
			return x
		}
		return SliceAxis(x, 0, AxisRange(from, to))
	}
	rows := causalRows{
		q:   splitQueries(cut(q, nq-a.B*a.S, nq), a.B, kvHeads),
		own: keyValues{k: splitRows(cut(k, a.P, n), a.B), v: splitRows(cut(v, a.P, n), a.B)},
	}
	if a.P == 0 {
		return []causalRows{rows}
	}
	prefix := keyValues{k: splitRows(cut(k, 0, a.P), 1), v: splitRows(cut(v, 0, a.P), 1)}
	rows.prefix = &prefix
	if nq < n {
		return []causalRows{rows}
	}
	return []causalRows{{q: splitQueries(cut(q, 0, a.P), 1, kvHeads), own: prefix}, rows}
}

// gradients are those of Attend by q, k and v.
func (a SharedPrefix) gradients(in, logSums []*Node, out, dOut *Node) []*Node {
	kvHeads := in[1].Shape().Dim(1)
	at := 0
	var dq []*Node
	var ofPrefix, ofRows keyValues
	for i, r := range a.split(in[0], in[1], in[2]) {
		b := r.q.Shape().Dim(1)
		tokens := AxisRange(at, at+b*r.q.Shape().Dim(3))
		at += b * r.q.Shape().Dim(3)
		part := func(x *Node) *Node { return splitQueries(SliceAxis(x, 0, tokens), b, kvHeads) }
		d := r.gradients(logSums[i], part(out), part(dOut))
		dq = append(dq, joinQueries(d.q))
		if r.prefix != nil {
			ofRows, ofPrefix = d.own, ofPrefix.plus(*d.prefix)
		} else if a.P > 0 {
			ofPrefix = d.own
		} else {
			ofRows = d.own
		}
	}
	tokensOf := func(prefix, rows *Node) *Node {
		if prefix == nil {
			return joinRows(rows)
		}
		return Concatenate([]*Node{joinRows(prefix), joinRows(rows)}, 0)
	}
	return []*Node{joined(dq, 0), tokensOf(ofPrefix.k, ofRows.k), tokensOf(ofPrefix.v, ofRows.v)}
}

// keyValues is one stretch of keys and values the queries look at, or their
// gradients.
type keyValues struct {
	k, v *Node // [K, B, T, D], or [K, 1, T, D] shared by all rows
	bias *Node // added to the scores, [S, T] or [B, 1, 1, T]; nil for none
	// apart says that scores are not to be joined with those of the same queries and
	// other keys.
	apart bool
}

// upTo are the first n places.
func (kv keyValues) upTo(n int) keyValues {
	if n < kv.k.Shape().Dim(2) {
		kv.k, kv.v = SliceAxis(kv.k, 2, AxisRange(0, n)), SliceAxis(kv.v, 2, AxisRange(0, n))
	}
	return kv
}

// plus adds gradients; those of x may be of fewer places, the first ones.
func (kv keyValues) plus(x keyValues) keyValues {
	if kv.k == nil {
		return x
	}
	return keyValues{k: addAt(kv.k, x.k), v: addAt(kv.v, x.v)}
}

// addAt adds y to the first places of x, both [K, B, T, D].
func addAt(x, y *Node) *Node {
	if missing := x.Shape().Dim(2) - y.Shape().Dim(2); missing > 0 {
		y = Pad(y, ScalarZero(y.Graph(), y.DType()), PadAxis{}, PadAxis{}, PadAxis{End: missing}, PadAxis{})
	}
	return Add(x, y)
}

// causalRows is a batch of rows that see a prefix and their own earlier tokens.
type causalRows struct {
	q      *Node      // [K, B, G, S, D], scaled
	prefix *keyValues // [K, 1, T, D]; nil for none
	own    keyValues  // [K, B, S, D]
}

// blockLength is about how many queries of a row are computed together. A block
// needs no keys after its own, so that short blocks save work, and long ones
// make large products.
const blockLength = 192

// blocks calls f with stretches of queries and what they see, last block first.
func (r causalRows) blocks(f func(part func(*Node) *Node, seen []keyValues)) {
	s := r.q.Shape().Dim(3)
	n := max(1, s/blockLength)
	for i := n - 1; i >= 0; i-- {
		from, to := i*s/n, (i+1)*s/n
		part := func(x *Node) *Node {
			if n == 1 {
				return x
			}
			return SliceAxis(x, 3, AxisRange(from, to))
		}
		own := r.own.upTo(to)
		own.bias = causal(r.q.Graph(), to-from, to)
		seen := []keyValues{own}
		if r.prefix != nil {
			seen = append(seen, *r.prefix)
		}
		f(part, seen)
	}
}

// attend returns the result [K, B, G, S, D] and the logarithm of the sum of
// each softmax, [K, B, G, S, 1] in float32.
func (r causalRows) attend() (out, logSum *Node) {
	var outs, logSums []*Node
	r.blocks(func(part func(*Node) *Node, seen []keyValues) {
		o, l := softmaxOver(part(r.q), seen)
		outs, logSums = append([]*Node{o}, outs...), append([]*Node{l}, logSums...)
	})
	return joined(outs, 3), joined(logSums, 3)
}

// gradients returns those by the queries before they were scaled, the keys and
// the values. With weights w = exp(score - logSum) and r = ⟨out, dOut⟩ they are
//
//	dv = wᵀ·dOut,  dScore = w ∘ (dOut·vᵀ - r),  dq = dScore·k,  dk = dScoreᵀ·q
func (r causalRows) gradients(logSum, out, dOut *Node) causalRows {
	inner := ReduceAndKeep(Mul(inFloat32(out), inFloat32(dOut)), ReduceSum, -1) // [K, B, G, S, 1]
	var d causalRows
	var dq []*Node
	r.blocks(func(part func(*Node) *Node, seen []keyValues) {
		q, dOut := part(r.q), part(dOut)
		var ofQueries *Node
		for i, kv := range seen {
			w := weights(kv.scores(q), part(logSum))
			dScores := Mul(inFloat32(w), Sub(inFloat32(rowsByKeys(dOut, kv.v)), part(inner)))
			dScores = ConvertDType(dScores, q.DType())
			byQuery := rowsByPlaces(dScores, kv.k)
			of := keyValues{k: overRows(dScores, q, kv.k), v: overRows(w, dOut, kv.v)}
			if i == 0 {
				ofQueries, d.own = byQuery, d.own.plus(of)
				continue
			}
			ofQueries = Add(ofQueries, byQuery)
			if d.prefix != nil {
				of = d.prefix.plus(of)
			}
			d.prefix = &of
		}
		dq = append([]*Node{scaled(ofQueries)}, dq...)
	})
	d.q = joined(dq, 3)
	return d
}

// softmaxOver weighs the values of all stretches by one softmax of the scores
// of queries q [K, B, G, S, D]. It returns their sums, of q's shape and dtype,
// and the logarithms of what the weights were divided by, [K, B, G, S, 1] in
// float32.
func softmaxOver(q *Node, stretches []keyValues) (out, logSum *Node) {
	var scores []*Node
	var top, sum *Node
	for _, kv := range stretches {
		x := kv.scores(q)
		scores = append(scores, x)
		largest := inFloat32(ReduceAndKeep(x, ReduceMax, -1))
		if top == nil {
			top = largest
		} else {
			top = Max(top, largest)
		}
	}
	top = StopGradient(top)
	for i, x := range scores {
		w := weights(x, top)
		s, y := ReduceAndKeep(inFloat32(w), ReduceSum, -1), rowsByPlaces(w, stretches[i].v)
		if i == 0 {
			sum, out = s, y
		} else {
			sum, out = Add(sum, s), Add(out, y)
		}
	}
	out = ConvertDType(Div(inFloat32(out), sum), q.DType())
	return out, Add(top, Log(sum))
}

// scores are the products of queries q [K, B, G, S, D] with the keys, biased,
// [K, B, G, S, T].
func (kv keyValues) scores(q *Node) *Node {
	k := kv.k
	if kv.apart {
		q, k = products.Apart(q, k)
	}
	x := rowsByKeys(q, k)
	if kv.bias != nil {
		x = Add(x, ConvertDType(ExpandLeftToRank(kv.bias, 5), x.DType()))
	}
	return x
}

// weights are exp(scores - by). Arrays of their size stay in the scores' dtype:
// half as many bytes to write and read again.
func weights(scores, by *Node) *Node {
	return ConvertDType(Exp(Sub(inFloat32(scores), by)), scores.DType())
}

func inFloat32(x *Node) *Node { return ConvertDType(x, dtypes.Float32) }

// The products of attention are each one batch of plain matrix products: the
// G query heads of a key head stand beside each other, and so do the B rows
// where they share y.

// rowsByKeys multiplies x [K, B, G, S, D] with y [K, B or 1, T, D] over D.
func rowsByKeys(x, y *Node) *Node { return product(x, y, 2) }

// rowsByPlaces multiplies x [K, B, G, S, T] with y [K, B or 1, T, D] over T.
func rowsByPlaces(x, y *Node) *Node { return product(x, y, 1) }

func product(x, y *Node, axis int) *Node {
	dims := append([]int{}, x.Shape().Dimensions...)
	y = Reshape(y, -1, y.Shape().Dim(2), y.Shape().Dim(3))
	dims[4] = y.Shape().Dim(3 - axis)
	x = Reshape(x, y.Shape().Dim(0), -1, x.Shape().Dim(4))
	return Reshape(products.Batched(x, 2, y, axis), dims...)
}

// overRows multiplies x [K, B, G, S, T] with y [K, B, G, S, D] over G and S,
// and over B where like is shared; the result has the shape of like,
// [K, B or 1, T, D].
func overRows(x, y, like *Node) *Node {
	batch, dims := like.Shape().Dim(0)*like.Shape().Dim(1), like.Shape().Dimensions
	x = Reshape(x, batch, -1, x.Shape().Dim(4))
	// The narrow one is laid out anew: over the rows of both, XLA has no fast
	// product on a CPU.
	if dims[1] == 1 {
		y = TransposeAllAxes(y, 0, 4, 1, 2, 3)
	} else {
		y = TransposeAllAxes(y, 0, 1, 4, 2, 3)
	}
	y = Reshape(y, batch, dims[3], -1)
	z := products.Batched(y, 2, x, 1) // [., D, T]
	return Reshape(products.Transposed(z), dims...)
}

// scaled multiplies queries by 1/√D.
func scaled(q *Node) *Node { return MulScalar(q, 1/math.Sqrt(float64(q.Shape().Dim(-1)))) }

// splitQueries makes queries [B*S, H, D] a batch of rows, heads first:
// [K, B, G, S, D].
func splitQueries(q *Node, b, kvHeads int) *Node {
	n, h, d := q.Shape().Dim(0), q.Shape().Dim(1), q.Shape().Dim(2)
	return TransposeAllAxes(Reshape(q, b, n/b, kvHeads, h/kvHeads, d), 2, 0, 3, 1, 4)
}

// joinQueries makes [K, B, G, S, D] rows of tokens again: [B*S, H*D].
func joinQueries(x *Node) *Node {
	dims := x.Shape().Dimensions
	return Reshape(TransposeAllAxes(x, 1, 3, 0, 2, 4), dims[1]*dims[3], dims[0]*dims[2]*dims[4])
}

// splitRows makes [B*S, heads, D] a batch of rows, heads first:
// [heads, B, S, D].
func splitRows(x *Node, b int) *Node {
	n, heads, d := x.Shape().Dim(0), x.Shape().Dim(1), x.Shape().Dim(2)
	return TransposeAllAxes(Reshape(x, b, n/b, heads, d), 2, 0, 1, 3)
}

// joinRows undoes splitRows.
func joinRows(x *Node) *Node {
	dims := x.Shape().Dimensions
	return Reshape(TransposeAllAxes(x, 1, 2, 0, 3), dims[1]*dims[2], dims[0], dims[3])
}

// joined puts parts one after the other along an axis.
func joined(parts []*Node, axis int) *Node {
	if len(parts) == 1 {
		return parts[0]
	}
	return Concatenate(parts, axis)
}

// masked is added to the score of a key that must not be seen. It is finite so
// that no arithmetic on it gives NaN.
const masked = -1e30

// causal returns the bias [S, T] that hides later tokens: query s sees key t
// if t <= s + T - S.
func causal(g *Graph, s, t int) *Node {
	shape := shapes.Make(dtypes.Int32, s, t)
	later := GreaterThan(Iota(g, shape, 1), AddScalar(Iota(g, shape, 0), t-s))
	return MulScalar(ConvertDType(later, dtypes.Float32), masked)
}

// withGradient returns out with its gradient by inputs as backward computes it.
// Backward gets the inputs, which checkpointing may have computed again, and
// the gradient by out. The first input has as many numbers as out.
//
// gomlx takes custom gradients only for the identity of one node. So the inputs
// are packed into one, and a difference that is zero ties out to it.
func withGradient(out *Node, inputs []*Node, backward func(inputs []*Node, dOut *Node) []*Node) *Node {
	n, dims := out.Shape().Size(), out.Shape().Dimensions
	all := IdentityWithCustomGradient(packed(inputs), func(x, v *Node) *Node {
		return packed(backward(unpacked(x, inputs), Reshape(Slice(v, AxisRange(0, n)), dims...)))
	})
	tie := Reshape(Slice(all, AxisRange(0, n)), dims...)
	return Add(StopGradient(out), Sub(tie, StopGradient(tie)))
}

// packed joins nodes of one dtype into a vector.
func packed(parts []*Node) *Node {
	flat := make([]*Node, len(parts))
	for i, x := range parts {
		flat[i] = Reshape(x, x.Shape().Size())
	}
	return Concatenate(flat, 0)
}

// unpacked undoes packed, with the shapes of like.
func unpacked(x *Node, like []*Node) []*Node {
	parts, at := make([]*Node, len(like)), 0
	for i, l := range like {
		n := l.Shape().Size()
		parts[i] = Reshape(Slice(x, AxisRange(at, at+n)), l.Shape().Dimensions...)
		at += n
	}
	return parts
}
