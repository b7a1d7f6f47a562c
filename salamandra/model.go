package salamandra

import (
	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph"

	"github.com/impulse-salamandra/finetune/internal/products"
	"github.com/impulse-salamandra/finetune/salamandra/llama"
)

// This file is the whole forward pass. Dimensions are named once, here:
//
//	N  tokens of all sequences of the batch, one after the other
//	C  HiddenSize        F  IntermediateSize     V  VocabSize
//	H  NumAttentionHeads K  NumKeyValueHeads     G  H/K query heads per key head
//	D  HeadDim
//	P  tokens of the shared prefix, B rows of the batch, S tokens per row
//
// Everything but attention works token by token, so activations are [N, C], and
// only the Attention knows the layout of sequences: a shared prefix, rows, a cache
// of earlier tokens.

// Weight is the weight W [out, in] of a linear layer in the form it has on the
// device: Linear(x) is x·Wᵀ, and Matrix(x) is W in the dtype of x.
type Weight = products.Weight

// LinearFunc builds x·Wᵀ for the linear layer called name, such as
// "model.layers.0.self_attn.q_proj": x is [N, in], weight [out, in], the
// result [N, out]. An adapter is a LinearFunc that adds its update.
type LinearFunc = func(name string, x *Node, weight Weight) *Node

// dense is the LinearFunc of the base model.
func dense(_ string, x *Node, weight Weight) *Node { return weight.Linear(x) }

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
	Config llama.Config
	// Weight returns the node of the tensor with this Hugging Face name, of one that
	// is not quantised.
	Weight func(name string) *Node
	// LinearWeight returns the weight of a linear layer of the blocks.
	LinearWeight func(name string) Weight
	// Linear builds the linear layers of the blocks; by default the base model's.
	Linear LinearFunc
	// Keep says what the backward pass finds and what it computes again.
	Keep Keep
	// Kept, if not nil, has what is kept where the backward pass is another program.
	Kept *Kept
	// Block is the number of the first block in a program of one or more, a scalar
	// int32; nil elsewhere.
	Block *Node
	// PlainAttention is [Options].PlainAttention.
	PlainAttention bool
	// KeysValues, if not nil, gets the rotated keys and the values [N, K, D] of
	// each layer in turn.
	KeysValues func(k, v *Node)
}

// Keep says which activations are kept for the backward pass. [SharedPrefix] never
// keeps the scores of attention.
type Keep int

const (
	// keepAll, the zero Keep, leaves the choice to the executor.
	keepAll Keep = iota
	// KeepProducts keeps what costs a product with a weight or attention: the
	// results of linear layers but the low-rank parts of adapters.
	KeepProducts
	// KeepBlocks keeps the input of each block, and the result of attention unless
	// the executor has an operation for it: gradient checkpointing.
	KeepBlocks
)

// keep keeps x if Keep keeps at least this much.
func (t Transformer) keep(most Keep, x *Node) *Node {
	switch {
	case t.Keep == keepAll || t.Keep > most:
		return x
	case t.Kept != nil:
		return t.Kept.Keep(x)
	}
	return x.Checkpoint()
}

// Blocks runs all blocks on x [N, C]. Positions [N] count from 0 within each
// sequence.
func (t Transformer) Blocks(x, positions *Node, attention Attention) *Node {
	return t.BlocksAt(x, positions, attention, 0, nil)
}

// BlocksAt is Blocks for the positions at [T] only, counted from token from on:
// the result is [T, C]. The last block computes no queries before from, and only
// attention at the other positions. A nil at means all positions.
func (t Transformer) BlocksAt(x, positions *Node, attention Attention, from int, at *Node) *Node {
	angles, last := t.rotary(positions), t.Config.NumHiddenLayers-1
	for i := range last {
		x = t.block(i, x, angles, attention, 0, nil)
	}
	x = t.block(last, x, angles, attention, from, at)
	if t.Keep != keepAll && t.Kept == nil {
		x = x.StopCheckpoint()
	}
	return x
}

// block runs block i on x [N, C]; see BlocksAt.
func (t Transformer) block(i int, x *Node, rotary rotary, attention Attention, from int, at *Node) *Node {
	if t.Kept == nil { // else both programs are given x
		x = t.keep(KeepBlocks, x)
	}
	q, k, v := t.beforeAttention(i, x, rotary, from)
	q, k, v = t.keep(KeepProducts, q), t.keep(KeepProducts, k), t.keep(KeepProducts, v)
	if t.KeysValues != nil {
		t.KeysValues(k, v)
	}
	a := t.attend(i, attention, q, k, v)
	if at != nil {
		places := ExpandAxes(at, -1)
		x, a = Gather(rowsFrom(x, from), places), Gather(a, places)
	}
	return t.AfterAttention(i, x, a)
}

// BeforeAttention is the beginning of block i on x [N, C], whose tokens have the
// positions [N]: the queries [N, H, D] and keys [N, K, D], rotated, and the values
// [N, K, D].
func (t Transformer) BeforeAttention(i int, x, positions *Node) (q, k, v *Node) {
	return t.beforeAttention(i, x, t.rotary(positions), 0)
}

func (t Transformer) beforeAttention(i int, x *Node, rotary rotary, from int) (q, k, v *Node) {
	h := t.Norm(llama.LayerName(i, "input_layernorm"), x)
	q = rotary.from(from).apply(t.heads(t.linear(i, "self_attn.q_proj", rowsFrom(h, from))))
	k = rotary.apply(t.heads(t.linear(i, "self_attn.k_proj", h)))
	return q, k, t.heads(t.linear(i, "self_attn.v_proj", h))
}

// AfterAttention is the end of block i on x [N, C], given the result of attention a
// [N, H*D].
func (t Transformer) AfterAttention(i int, x, a *Node) *Node {
	x = t.keep(KeepProducts, Add(x, t.linear(i, "self_attn.o_proj", a)))

	h := t.Norm(llama.LayerName(i, "post_attention_layernorm"), x)
	gate := t.keep(KeepProducts, t.linear(i, "mlp.gate_proj", h)) // [N, F]
	up := t.keep(KeepProducts, t.linear(i, "mlp.up_proj", h))
	return Add(x, t.linear(i, "mlp.down_proj", Mul(Mul(gate, Sigmoid(gate)), up)))
}

// linear is the linear layer called module of block i.
func (t Transformer) linear(i int, module string, x *Node) *Node {
	name := llama.LayerName(i, module)
	return t.Linear(name, x, t.LinearWeight(name))
}

// rowsFrom drops the first rows of x.
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
	return ConvertDType(products.Linear(h, t.HeadWeight()), dtypes.Float32)
}

// HeadWeight is lm_head.weight [V, C], or the embedding where they are tied.
func (t Transformer) HeadWeight() *Node {
	if t.Config.TieWordEmbeddings {
		return t.Weight(embeddingName)
	}
	return t.Weight("lm_head.weight")
}

// rotary holds the cosine and sine of each token's angles, [N, 1, D/2] in
// float32.
type rotary struct{ cos, sin *Node }

// rotary prepares the rotary embedding for positions [N].
func (t Transformer) rotary(positions *Node) rotary {
	frequencies := Const(positions.Graph(), t.Config.InverseFrequencies())
	angles := Mul( // [N, 1, D/2]
		Reshape(ConvertDType(positions, dtypes.Float32), -1, 1, 1),
		InsertAxes(frequencies, 0, 0))
	return rotary{cos: Cos(angles), sin: Sin(angles)}
}

// from drops the first tokens.
func (r rotary) from(n int) rotary { return rotary{rowsFrom(r.cos, n), rowsFrom(r.sin, n)} }

// apply turns the pairs (i, i+D/2) of x [N, heads, D] by the tokens' angles.
func (r rotary) apply(x *Node) *Node {
	cos, sin := ConvertDType(r.cos, x.DType()), ConvertDType(r.sin, x.DType())
	half := x.Shape().Dim(-1) / 2
	a := Slice(x, AxisRange(), AxisRange(), AxisRange(0, half))
	b := Slice(x, AxisRange(), AxisRange(), AxisRange(half))
	return Concatenate([]*Node{Sub(Mul(a, cos), Mul(b, sin)), Add(Mul(b, cos), Mul(a, sin))}, -1)
}
