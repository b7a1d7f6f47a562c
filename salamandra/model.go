package salamandra

import (
	"fmt"
	"math"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
)

// This file is the whole forward pass. Dimensions are named once, here:
//
//	N  tokens of all sequences of the batch, one after the other
//	C  HiddenSize        F  IntermediateSize     V  VocabSize
//	H  NumAttentionHeads K  NumKeyValueHeads     G  H/K query heads per key head
//	D  HeadDim
//	P  tokens of the shared prefix, B rows of the batch, S tokens per row
//
// Everything but attention works on tokens alone, so activations are [N, C]
// and the layout of sequences (a shared prefix, rows, a cache of earlier
// tokens) is known to the Attention alone.

// LinearFunc builds x·Wᵀ for the linear layer called name, such as
// "model.layers.0.self_attn.q_proj": x is [N, in], weight [out, in], the
// result [N, out]. An adapter is a LinearFunc that adds its update.
type LinearFunc = func(name string, x, weight *Node) *Node

// Dense is the LinearFunc of the base model.
func Dense(_ string, x, weight *Node) *Node {
	return DotGeneral(x, []int{1}, nil, weight, []int{1}, nil)
}

// Attention mixes tokens. Attend gets the rotated queries [N, H, D] and keys
// [N, K, D] and the values [N, K, D] of one layer and returns [N, H*D].
type Attention interface {
	Attend(layer int, q, k, v *Node) *Node
}

// Transformer builds the pieces of the forward pass in a graph. It is a view:
// the weights are nodes of the graph, usually its parameters.
//
// As all graph-building code of gomlx, its methods panic on misuse; the
// executor turns that into an error.
type Transformer struct {
	Config Config
	// Weight returns the node of the tensor with this Hugging Face name.
	Weight func(name string) *Node
	// Linear builds the linear layers of the blocks; Dense for the base model.
	Linear LinearFunc
	// Checkpoint recomputes each block in the backward pass instead of keeping
	// its activations.
	Checkpoint bool
}

// Embed looks up ids [N], any integer dtype, and returns [N, C].
func (t Transformer) Embed(ids *Node) *Node {
	return Gather(t.Weight("model.embed_tokens.weight"), ExpandAxes(ids, -1))
}

// Blocks runs all blocks on x [N, C]. Positions [N] count from 0 within each
// sequence.
func (t Transformer) Blocks(x, positions *Node, attention Attention) *Node {
	rotary := t.Rotary(positions)
	for i := range t.Config.NumHiddenLayers {
		x = t.Block(i, x, rotary, attention)
	}
	if t.Checkpoint {
		x = x.StopCheckpoint()
	}
	return x
}

// Block runs block i on x [N, C].
func (t Transformer) Block(i int, x *Node, rotary Rotary, attention Attention) *Node {
	if t.Checkpoint {
		x = x.Checkpoint()
	}
	linear := func(module string, x *Node) *Node {
		name := LayerName(i, module)
		return t.Linear(name, x, t.Weight(name+".weight"))
	}

	h := t.Norm(LayerName(i, "input_layernorm"), x)
	q := rotary.apply(t.heads(linear(QProj, h))) // [N, H, D]
	k := rotary.apply(t.heads(linear(KProj, h))) // [N, K, D]
	v := t.heads(linear(VProj, h))               // [N, K, D]
	x = Add(x, linear(OProj, attention.Attend(i, q, k, v)))

	h = t.Norm(LayerName(i, "post_attention_layernorm"), x)
	gate := linear(GateProj, h) // [N, F]
	h = Mul(Mul(gate, Sigmoid(gate)), linear(UpProj, h))
	return Add(x, linear(DownProj, h))
}

// heads splits [N, heads*D] into [N, heads, D].
func (t Transformer) heads(x *Node) *Node {
	d := t.Config.HeadDim
	return Reshape(x, x.Shape().Dim(0), x.Shape().Dim(1)/d, d)
}

// Norm is the root mean square norm called name on x [N, C]: the mean square
// is taken in float32, the weight multiplies in x's dtype, as in the reference.
// Source: Zhang & Sennrich 2019, arXiv:1910.07467.
func (t Transformer) Norm(name string, x *Node) *Node {
	y := ConvertDType(x, dtypes.Float32)
	meanSquare := ReduceAndKeep(Square(y), ReduceMean, -1) // [N, 1]
	// One over the root: Rsqrt has no gradient in gomlx.
	y = Mul(y, Reciprocal(Sqrt(AddScalar(meanSquare, t.Config.RMSNormEps))))
	return Mul(ConvertDType(y, x.DType()), InsertAxes(t.Weight(name+".weight"), 0))
}

// Logits applies the final norm and the head to x [N, C]; the result is
// [N, V] in float32.
func (t Transformer) Logits(x *Node) *Node {
	return t.Head(t.Norm("model.norm", x))
}

// Head multiplies normed activations h [N, C] with the head; the result is
// [N, V] in float32.
func (t Transformer) Head(h *Node) *Node {
	return ConvertDType(Dense("lm_head", h, t.HeadWeight()), dtypes.Float32)
}

// HeadWeight is lm_head.weight [V, C], or the embedding where they are tied.
func (t Transformer) HeadWeight() *Node {
	if t.Config.TieWordEmbeddings {
		return t.Weight("model.embed_tokens.weight")
	}
	return t.Weight("lm_head.weight")
}

// Rotary holds the cosine and sine of each token's angles, [N, 1, D/2] in
// float32.
type Rotary struct{ cos, sin *Node }

// Rotary prepares the rotary embedding for positions [N].
func (t Transformer) Rotary(positions *Node) Rotary {
	frequencies := Const(positions.Graph(), t.Config.inverseFrequencies())
	angles := Mul( // [N, 1, D/2]
		Reshape(ConvertDType(positions, dtypes.Float32), -1, 1, 1),
		InsertAxes(frequencies, 0, 0))
	return Rotary{cos: Cos(angles), sin: Sin(angles)}
}

// apply turns the pairs (i, i+D/2) of x [N, heads, D] by the tokens' angles.
func (r Rotary) apply(x *Node) *Node {
	cos, sin := ConvertDType(r.cos, x.DType()), ConvertDType(r.sin, x.DType())
	half := x.Shape().Dim(-1) / 2
	a := Slice(x, AxisRange(), AxisRange(), AxisRange(0, half))
	b := Slice(x, AxisRange(), AxisRange(), AxisRange(half))
	return Concatenate([]*Node{Sub(Mul(a, cos), Mul(b, sin)), Add(Mul(b, cos), Mul(a, sin))}, -1)
}

// SharedPrefix is the attention of a batch whose rows all begin with the same
// P tokens: tokens [0, P) are the prefix, then follow B rows of S tokens.
// A row sees the whole prefix and its own earlier tokens. With P = 0 the rows
// are plain sequences. Rows are padded on the right; what is computed at
// padded places has no influence on the others.
type SharedPrefix struct{ P, B, S int }

// Tokens is the number N of tokens of the batch.
func (a SharedPrefix) Tokens() int { return a.P + a.B*a.S }

// Positions returns the position [N] of each token, int32.
func (a SharedPrefix) Positions(g *Graph) *Node {
	p := make([]int32, a.Tokens())
	for i := range p {
		p[i] = int32(i)
		if i >= a.P {
			p[i] = int32(a.P + (i-a.P)%a.S)
		}
	}
	return Const(g, p)
}

// Attend implements [Attention].
func (a SharedPrefix) Attend(_ int, q, k, v *Node) *Node {
	if n := q.Shape().Dim(0); n != a.Tokens() {
		panic(fmt.Errorf("salamandra: %d tokens, want %d + %d·%d", n, a.P, a.B, a.S))
	}
	n := a.Tokens()
	rows := func(x *Node, from, to int) *Node { return SliceAxis(x, 0, AxisRange(from, to)) }
	if a.P == 0 {
		return attend(q, a.B, keyValues{splitRows(k, a.B), splitRows(v, a.B), causal(q.Graph(), a.S, a.S)})
	}
	kp, vp := splitRows(rows(k, 0, a.P), 1), splitRows(rows(v, 0, a.P), 1)
	ks, vs := splitRows(rows(k, a.P, n), a.B), splitRows(rows(v, a.P, n), a.B)
	prefix := attend(rows(q, 0, a.P), 1, keyValues{kp, vp, causal(q.Graph(), a.P, a.P)})
	suffix := attend(rows(q, a.P, n), a.B, keyValues{kp, vp, nil}, keyValues{ks, vs, causal(q.Graph(), a.S, a.S)})
	return Concatenate([]*Node{prefix, suffix}, 0)
}

// splitRows makes [B*S, heads, D] a batch of rows, heads first:
// [heads, B, S, D].
func splitRows(x *Node, b int) *Node {
	n, heads, d := x.Shape().Dim(0), x.Shape().Dim(1), x.Shape().Dim(2)
	return TransposeAllAxes(Reshape(x, b, n/b, heads, d), 2, 0, 1, 3)
}

// keyValues is one stretch of keys and values the queries look at.
type keyValues struct {
	k, v *Node // [K, B, T, D], or [K, 1, T, D] shared by all rows
	bias *Node // added to the scores, [S, T] or [B, 1, 1, T] in float32; nil for none
}

// attend is scaled dot-product attention of queries q [B*S, H, D] over one or
// more stretches of keys, as one softmax over all of them; the result is
// [B*S, H*D].
func attend(q *Node, b int, stretches ...keyValues) *Node {
	n, h, d := q.Shape().Dim(0), q.Shape().Dim(1), q.Shape().Dim(2)
	kvHeads, dtype := stretches[0].k.Shape().Dim(0), q.DType()
	g, s := h/kvHeads, n/b

	// The G query heads of a key head stand beside each other, so that each
	// product is one batch of plain matrix products.
	q = MulScalar(q, 1/math.Sqrt(float64(d)))
	q = TransposeAllAxes(Reshape(q, b, s, kvHeads, g, d), 2, 0, 3, 1, 4) // [K, B, G, S, D]
	// product multiplies x, [K, B, G, S] vectors, with y [K, B or 1, T, D] along y's axis.
	product := func(x, y *Node, axis int) *Node {
		batch := kvHeads * y.Shape().Dim(1)
		x = Reshape(x, batch, kvHeads*b*g*s/batch, x.Shape().Dim(-1))
		y = Reshape(y, batch, y.Shape().Dim(2), y.Shape().Dim(3))
		return DotGeneral(x, []int{2}, []int{0}, y, []int{axis - 1}, []int{0})
	}

	var scores []*Node // [K, B, G, S, T] each, float32
	for _, kv := range stretches {
		t := kv.k.Shape().Dim(2)
		x := ConvertDType(Reshape(product(q, kv.k, 3), kvHeads, b, g, s, t), dtypes.Float32)
		if kv.bias != nil {
			x = Add(x, ExpandLeftToRank(kv.bias, 5))
		}
		scores = append(scores, x)
	}
	var out *Node
	for i, w := range softmax(scores) {
		y := Reshape(product(ConvertDType(w, dtype), stretches[i].v, 2), kvHeads, b, g, s, d)
		if out == nil {
			out = y
		} else {
			out = Add(out, y)
		}
	}
	out = TransposeAllAxes(out, 1, 3, 0, 2, 4) // [B, S, K, G, D]
	return Reshape(out, n, h*d)
}

// softmax normalises along the last axis of all parts together, without
// joining them.
func softmax(parts []*Node) []*Node {
	if len(parts) == 1 {
		return []*Node{Softmax(parts[0], -1)}
	}
	var top, sum *Node
	for _, x := range parts {
		if m := ReduceAndKeep(x, ReduceMax, -1); top == nil {
			top = m
		} else {
			top = Max(top, m)
		}
	}
	top = StopGradient(top)
	weights := make([]*Node, len(parts))
	for i, x := range parts {
		weights[i] = Exp(Sub(x, top))
		if s := ReduceAndKeep(weights[i], ReduceSum, -1); sum == nil {
			sum = s
		} else {
			sum = Add(sum, s)
		}
	}
	for i := range weights {
		weights[i] = Div(weights[i], sum)
	}
	return weights
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
