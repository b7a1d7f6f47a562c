package salamandra

import (
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
)

// Cached is the attention of a decoding step over a KV cache: N tokens of W rows,
// each with its earlier tokens in the cache. A token attends to a prefix that rows
// share, to the tokens of its row in the cache, and to those of its row in this
// step up to itself.
//
// The tokens stand one after the other, as linear layers compute them. Seats and
// Back map them to rows of S places and back; with one row both are nil.
type Cached struct {
	Rows      int // W
	RowTokens int // S, the most tokens of a row in this step

	// Cache and Prefix are the keys and values of each layer in turn,
	// [K, W, M, D] and [K, 1, P, D]; Prefix may be empty.
	Cache, Prefix []*Node
	// Lengths [W] is how many tokens each row has in the cache, PrefixLengths
	// [N] how many tokens of the prefix each token sees, both int32.
	Lengths, PrefixLengths *Node
	// Seats [W*S] is the token at each place of the rows, Back [N] the place of
	// each token, both int32.
	Seats, Back *Node

	// KV collects the step's keys and values, [N, K, D] of each layer in turn.
	KV []*Node

	cacheBias, prefixBias *Node
}

// Attend implements [Attention].
func (a *Cached) Attend(layer int, q, k, v *Node) *Node {
	a.KV = append(a.KV, k, v)
	if a.cacheBias == nil {
		a.hide()
	}
	w, s, kvHeads := a.Rows, a.RowTokens, k.Shape().Dim(1)
	parts := []softmaxPart{a.part(splitQueries(scaled(a.seated(q)), w, kvHeads), a.Back,
		keyValues{a.Cache[2*layer], a.Cache[2*layer+1], a.cacheBias, true},
		keyValues{splitRows(a.seated(k), w), splitRows(a.seated(v), w), causal(q.Graph(), s, s), true})}
	if a.prefixBias != nil {
		// All rows share it, so that the tokens need no seats.
		parts = append(parts, a.part(splitQueries(scaled(q), 1, kvHeads), nil,
			keyValues{a.Prefix[2*layer], a.Prefix[2*layer+1], a.prefixBias, true}))
	}
	return ConvertDType(Reshape(joinParts(parts), q.Shape().Dim(0), -1), q.DType())
}

// hide makes the biases that all layers share.
func (a *Cached) hide() {
	a.cacheBias = hideFrom(a.Lengths, a.Cache[0].Shape().Dim(2))
	if len(a.Prefix) > 0 {
		n, p := a.PrefixLengths.Shape().Dim(0), a.Prefix[0].Shape().Dim(2)
		a.prefixBias = Reshape(hideFrom(a.PrefixLengths, p), n, p)
	}
}

// hideFrom is the bias [rows, 1, 1, n] that hides the places from limits [rows]
// on.
func hideFrom(limits *Node, n int) *Node {
	g, rows := limits.Graph(), limits.Shape().Dim(0)
	place := Iota(g, shapes.Make(dtypes.Int32, rows, 1, 1, n), 3)
	hidden := GreaterOrEqual(place, Reshape(limits, rows, 1, 1, 1))
	return MulScalar(ConvertDType(hidden, dtypes.Float32), masked)
}

// seated makes tokens [N, heads, D] rows, [W*S, heads, D].
func (a *Cached) seated(x *Node) *Node {
	if a.Seats == nil {
		return x
	}
	return Gather(x, ExpandAxes(a.Seats, -1))
}

// softmaxPart is the result [N, H, D] of attention to some of the keys, and the
// logarithm of what it was divided by, [N, H, 1], in float32.
type softmaxPart struct{ out, logSum *Node }

// part computes one for queries [K, B, G, S, D]. Back, if not nil, says where
// the tokens sit among them.
func (a *Cached) part(q *Node, back *Node, stretches ...keyValues) softmaxPart {
	out, logSum := softmaxOver(q, stretches)
	tokens := func(x *Node) *Node {
		x = joinQueries(x)
		if back != nil {
			x = Gather(x, ExpandAxes(back, -1))
		}
		return ConvertDType(x, dtypes.Float32)
	}
	out, logSum = tokens(out), tokens(logSum)
	n, heads := out.Shape().Dim(0), q.Shape().Dim(0)*q.Shape().Dim(2)
	return softmaxPart{Reshape(out, n, heads, -1), Reshape(logSum, n, heads, 1)}
}

// joinParts makes one softmax of several, [N, H, D].
func joinParts(parts []softmaxPart) *Node {
	top := parts[0].logSum
	for _, p := range parts[1:] {
		top = Max(top, p.logSum)
	}
	var sum, out *Node
	for i, p := range parts {
		w := Exp(Sub(p.logSum, top))
		y := Mul(p.out, w)
		if i == 0 {
			sum, out = w, y
		} else {
			sum, out = Add(sum, w), Add(out, y)
		}
	}
	return Div(out, sum)
}
