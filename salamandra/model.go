package salamandra

import (
	"github.com/gomlx/compute/dtypes"
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

// Dense is the LinearFunc of the base model. Told nothing, gomlx would compute
// the gradient of a product in half precision in float32.
func Dense(_ string, x, weight *Node) *Node {
	return Dot(x, weight).WithAccumulatorDType(x.DType()).General([]int{1}, nil, []int{1}, nil)
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
	// Keep says what the backward pass finds and what it computes again.
	Keep Keep
	// PlainAttention is that of [Options].
	PlainAttention bool
}

// Keep says which activations are kept for the backward pass. Scores of
// attention never are where [SharedPrefix] computes them.
type Keep int

const (
	// KeepAll leaves the choice to the executor.
	KeepAll Keep = iota
	// KeepProducts keeps what costs a product with a weight or attention: the
	// results of linear layers but the low-rank parts of adapters.
	KeepProducts
	// KeepBlocks keeps the input of each block and the result of attention:
	// gradient checkpointing.
	KeepBlocks
)

// at marks x as kept if at least this much is.
func (k Keep) at(most Keep, x *Node) *Node {
	if k == KeepAll || k > most {
		return x
	}
	return x.Checkpoint()
}

// Embed looks up ids [N], any integer dtype, and returns [N, C].
func (t Transformer) Embed(ids *Node) *Node {
	return Gather(t.Weight("model.embed_tokens.weight"), ExpandAxes(ids, -1))
}

// Blocks runs all blocks on x [N, C]. Positions [N] count from 0 within each
// sequence.
func (t Transformer) Blocks(x, positions *Node, attention Attention) *Node {
	return t.BlocksAt(x, positions, attention, 0, nil)
}

// BlocksAt is Blocks for the places at [T] alone, counted from token from on:
// the result is [T, C]. The last block computes no queries before from and
// nothing but attention elsewhere. Nil at is for all places.
func (t Transformer) BlocksAt(x, positions *Node, attention Attention, from int, at *Node) *Node {
	rotary, last := t.Rotary(positions), t.Config.NumHiddenLayers-1
	for i := range last {
		x = t.Block(i, x, rotary, attention)
	}
	x = t.block(last, x, rotary, attention, from, at)
	if t.Keep != KeepAll {
		x = x.StopCheckpoint()
	}
	return x
}

// Block runs block i on x [N, C].
func (t Transformer) Block(i int, x *Node, rotary Rotary, attention Attention) *Node {
	return t.block(i, x, rotary, attention, 0, nil)
}

func (t Transformer) block(i int, x *Node, rotary Rotary, attention Attention, from int, at *Node) *Node {
	linear := func(module string, x *Node) *Node {
		name := LayerName(i, module)
		return t.Linear(name, x, t.Weight(name+".weight"))
	}
	x = t.Keep.at(KeepBlocks, x)
	h := t.Norm(LayerName(i, "input_layernorm"), x)
	q := rotary.from(from).apply(t.heads(linear(QProj, rowsFrom(h, from)))) // [N, H, D]
	k := rotary.apply(t.heads(linear(KProj, h)))                            // [N, K, D]
	v := t.heads(linear(VProj, h))                                          // [N, K, D]
	q, k, v = t.Keep.at(KeepProducts, q), t.Keep.at(KeepProducts, k), t.Keep.at(KeepProducts, v)
	a := t.Keep.at(KeepBlocks, t.attend(i, attention, q, k, v))
	if at != nil {
		places := ExpandAxes(at, -1)
		x, a = Gather(rowsFrom(x, from), places), Gather(a, places)
	}
	x = t.Keep.at(KeepProducts, Add(x, linear(OProj, a)))

	h = t.Norm(LayerName(i, "post_attention_layernorm"), x)
	gate := t.Keep.at(KeepProducts, linear(GateProj, h)) // [N, F]
	up := t.Keep.at(KeepProducts, linear(UpProj, h))
	return Add(x, linear(DownProj, Mul(Mul(gate, Sigmoid(gate)), up)))
}

// rowsFrom leaves out the first rows of x.
func rowsFrom(x *Node, from int) *Node {
	if from == 0 {
		return x
	}
	return SliceAxis(x, 0, AxisRange(from))
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

// from leaves out the first tokens.
func (r Rotary) from(n int) Rotary { return Rotary{rowsFrom(r.cos, n), rowsFrom(r.sin, n)} }

// apply turns the pairs (i, i+D/2) of x [N, heads, D] by the tokens' angles.
func (r Rotary) apply(x *Node) *Node {
	cos, sin := ConvertDType(r.cos, x.DType()), ConvertDType(r.sin, x.DType())
	half := x.Shape().Dim(-1) / 2
	a := Slice(x, AxisRange(), AxisRange(), AxisRange(0, half))
	b := Slice(x, AxisRange(), AxisRange(), AxisRange(half))
	return Concatenate([]*Node{Sub(Mul(a, cos), Mul(b, sin)), Add(Mul(b, cos), Mul(a, sin))}, -1)
}
