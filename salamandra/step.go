package salamandra

import (
	"fmt"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
)

// stepShape is what a program for a step is compiled for. A step takes the next
// tokens of several requests, each with as many as it has: one, a forced run, a
// prompt. Linear layers see the tokens one after the other, attention sees them
// by rows.
type stepShape struct {
	w int // rows of the cache
	m int // places of a row
	n int // tokens of all rows
	s int // most tokens of a row
	p int // tokens of the prefix, 0 for none
	r int // tokens whose successor is chosen
}

func (s stepShape) name() string {
	return fmt.Sprintf("step W=%d M=%d N=%d S=%d P=%d R=%d", s.w, s.m, s.n, s.s, s.p, s.r)
}

// stepPlan is the tokens of one step. The slices have the lengths of a
// stepShape; unused places hold zeros.
type stepPlan struct {
	ids       []int32 // [N]
	positions []int32 // [N]
	seats     []int32 // [W*S], the token at each place of each row
	back      []int32 // [N], the place of each token among the W*S
	lengths   []int32 // [W], tokens in the cache
	sees      []int32 // [N], tokens of the prefix that the row begins with
	last      []int32 // [R], tokens whose successor is chosen
	masks     []uint32
}

func newStepPlan(s stepShape, vocabulary int) *stepPlan {
	return &stepPlan{
		ids: make([]int32, s.n), positions: make([]int32, s.n), seats: make([]int32, s.w*s.s), back: make([]int32, s.n),
		lengths: make([]int32, s.w), sees: make([]int32, s.n), last: make([]int32, s.r), masks: make([]uint32, s.r*maskWords(vocabulary)),
	}
}

// maskWords is the length of a mask of 32-bit words.
func maskWords(vocabulary int) int { return (vocabulary + 31) / 32 }

// numbers is all but the masks as one argument of the program.
func (p *stepPlan) numbers() []int32 {
	var all []int32
	for _, part := range [][]int32{p.ids, p.positions, p.seats, p.back, p.lengths, p.sees, p.last} {
		all = append(all, part...)
	}
	return all
}

// stepResult is what a step computes.
type stepResult struct {
	best   []int32         // [R], the likeliest allowed token after each of last
	logits *tensors.Tensor // [R, V], float32
	kv     *tensors.Tensor // [2·L, N, K, D]
}

func (r stepResult) free() { finalize([]*tensors.Tensor{r.logits, r.kv}) }

// call runs a step. The prefix is 2·L tensors [K, 1, P, D], none if P is 0.
func (g *Generator) call(v *variant, s stepShape, plan *stepPlan, cache *kvCache, prefix []*tensors.Tensor) (stepResult, error) {
	p, err := g.programs.get(v, s.name(), s.build)
	if err != nil {
		return stepResult{}, err
	}
	masks := tensors.FromFlatDataAndDimensions(plan.masks, s.r, len(plan.masks)/s.r)
	args := append([]any{plan.numbers(), masks}, list(cache.tensors)...)
	out, err := p.CallWith(v.adapter, append(args, list(prefix)...)...)
	if err != nil {
		return stepResult{}, err
	}
	best, err := tensors.CopyFlatData[int32](out[0])
	finalize(append(out[:1:1], masks))
	if err != nil {
		finalize(out[1:])
		return stepResult{}, fmt.Errorf("salamandra: %w", err)
	}
	return stepResult{best: best, logits: out[1], kv: out[2]}, nil
}

// build is the program of a step.
func (s stepShape) build(t Transformer, args []*Node) []*Node {
	at, numbers := 0, args[0]
	next := func(n int) *Node {
		at += n
		return SliceAxis(numbers, 0, AxisRange(at-n, at))
	}
	ids, positions, seats, back := next(s.n), next(s.n), next(s.w*s.s), next(s.n)
	lengths, sees, last := next(s.w), next(s.n), next(s.r)
	layers := 2 * t.Config.NumHiddenLayers
	a := &ragged{shape: s, own: args[2 : 2+layers], prefix: args[2+layers:], ownBias: hideFrom(lengths, s.m)}
	if s.p > 0 {
		a.prefixBias = Reshape(hideFrom(sees, s.p), s.n, s.p)
	}
	if s.w > 1 {
		a.seats, a.back = ExpandAxes(seats, -1), ExpandAxes(back, -1)
	}
	x := t.Blocks(t.Embed(ids), positions, a)
	if s.r != s.n || s.w > 1 || s.n > 1 {
		x = Gather(x, ExpandAxes(last, -1))
	}
	logits := t.Logits(x)
	best := ArgMax(Where(unpack(args[1], t.Config.VocabSize), logits, MulScalar(OnesLike(logits), masked)), -1, dtypes.Int32)
	return []*Node{best, logits, Stack(a.kv, 0)}
}

// unpack makes a mask [R, words] of bits one of booleans [R, V].
func unpack(words *Node, v int) *Node {
	r, n := words.Shape().Dim(0), words.Shape().Dim(1)
	shape := shapes.Make(dtypes.Uint32, r, n, 32)
	bits := BitwiseShiftRightLogical(BroadcastToShape(ExpandAxes(words, -1), shape), Iota(words.Graph(), shape, 2))
	bits = BitwiseAnd(bits, OnesLike(bits))
	return SliceAxis(Reshape(NotEqual(bits, ZerosLike(bits)), r, n*32), 1, AxisRange(0, v))
}

// hideFrom is the bias [rows, 1, 1, n] that hides the places from limits [rows]
// on.
func hideFrom(limits *Node, n int) *Node {
	g, rows := limits.Graph(), limits.Shape().Dim(0)
	place := Iota(g, shapes.Make(dtypes.Int32, rows, 1, 1, n), 3)
	hidden := GreaterOrEqual(place, Reshape(limits, rows, 1, 1, 1))
	return MulScalar(ConvertDType(hidden, dtypes.Float32), masked)
}

// ragged is the attention of a step: a token sees the prefix if its row does,
// what the row has in the cache, and the tokens of its row in this step up to
// itself.
type ragged struct {
	shape               stepShape
	own, prefix         []*Node // two per layer
	ownBias, prefixBias *Node
	seats, back         *Node // nil with one row, whose tokens are in order
	kv                  []*Node
}

// Attend implements [Attention].
func (a *ragged) Attend(layer int, q, k, v *Node) *Node {
	a.kv = append(a.kv, k, v)
	rows := func(x *Node) *Node { // [N, heads, D] to [W*S, heads, D]
		if a.seats == nil {
			return x
		}
		return Gather(x, a.seats)
	}
	w, s, kvHeads := a.shape.w, a.shape.s, k.Shape().Dim(1)
	parts := []softmaxPart{a.part(splitQueries(scaled(rows(q)), w, kvHeads), a.back,
		keyValues{a.own[2*layer], a.own[2*layer+1], a.ownBias},
		keyValues{splitRows(rows(k), w), splitRows(rows(v), w), causal(q.Graph(), s, s)})}
	if a.prefixBias != nil {
		// All rows share it, so that the tokens need no seats.
		parts = append(parts, a.part(splitQueries(scaled(q), 1, kvHeads), nil,
			keyValues{a.prefix[2*layer], a.prefix[2*layer+1], a.prefixBias}))
	}
	return ConvertDType(Reshape(joinParts(parts), a.shape.n, -1), q.DType())
}

// softmaxPart is the result [N, H, D] of attention to some of the keys, and the
// logarithm of what it was divided by, [N, H, 1], in float32.
type softmaxPart struct{ out, logSum *Node }

// part computes one for queries [K, B, G, S, D]. Back, if not nil, says where
// the tokens sit among them.
func (a *ragged) part(q *Node, back *Node, stretches ...keyValues) softmaxPart {
	out, logSum := softmaxOver(q, stretches)
	tokens := func(x *Node) *Node {
		x = joinQueries(x)
		if back != nil {
			x = Gather(x, back)
		}
		return ConvertDType(x, dtypes.Float32)
	}
	n, heads := a.shape.n, q.Shape().Dim(0)*q.Shape().Dim(2)
	return softmaxPart{Reshape(tokens(out), n, heads, -1), Reshape(tokens(logSum), n, heads, 1)}
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

// recorder is an Attention that keeps the keys and values of each layer,
// [K, rows, T, D], on the way.
type recorder struct {
	Attention
	rows int
	kv   []*Node
}

// Attend implements [Attention].
func (r *recorder) Attend(layer int, q, k, v *Node) *Node {
	r.kv = append(r.kv, splitRows(k, r.rows), splitRows(v, r.rows))
	return r.Attention.Attend(layer, q, k, v)
}
