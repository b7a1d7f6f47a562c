package train

import (
	"slices"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"

	"github.com/impulse-salamandra/finetune/internal/products"
	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/salamandra"
)

// This file builds the graphs of training. Letters as in salamandra's forward
// pass, and
//
//	T  positions of a batch whose output is trained, padded
//	n  numbers of the adapter

// lossGraph builds the loss of batches of one shape, with chunk trained
// positions at a time before the head.
type lossGraph struct {
	salamandra.Transformer
	shape batchShape
	chunk int
}

// targets are what a batch trains: positions [T], counted from the shape's first
// token, whose output should give labels [T]; weights [T] say how often each
// counts, zero for padding.
type targets struct{ positions, labels, weights *Node }

// hidden returns the normed activations [T, C] at the trained positions, from the
// activations [N, C] of the prefix and the rows before the blocks. Only those positions
// reach the head, chunk of them at a time, so that logits [T, V] never exist.
func (l lossGraph) hidden(x *Node, t targets) *Node {
	layout := l.shape.SharedPrefix
	return l.Norm("model.norm", l.BlocksAt(x, layout.Positions(x.Graph()), layout, l.shape.first, t.positions))
}

// sum returns the summed cross entropy of a batch in float32.
func (l lossGraph) sum(x *Node, t targets) *Node {
	loss, _ := headLosses(l.Transformer, l.hidden(x, t), t, l.chunk, false)
	return loss
}

// gradients returns the same sum, and its gradients by x and the factors. The
// head is frozen: each chunk gives the gradient of its input at once, from the
// same logits, and the backward pass begins there.
func (l lossGraph) gradients(x *Node, t targets, factors []*Node) (loss, dx *Node, gradients []*Node) {
	h := l.hidden(x, t)
	loss, dh := headLosses(l.Transformer, StopGradient(h), t, l.chunk, true)
	// With respect to anything before h, ⟨h, dh⟩ and the loss have the same gradient.
	// It is taken down to x: the adapter's layers compute their gradients on the way.
	by := append(slices.Clip(factors), x)
	gradients = l.Kept.Gradients(h, dh, by...)
	return loss, gradients[len(factors)], gradients[:len(factors)]
}

// filled adds tokens to a shape to train on, on a GPU, until their number is a multiple
// of 32: XLA splits the products over tokens, and would copy both operands of each to
// make the parts even.
func (s batchShape) filled(onHost bool) batchShape {
	if !onHost {
		s.Fill = -s.Tokens() & 31
	}
	return s
}

// embed returns the embeddings [N, C] of the tokens, noisy if state is not nil, and of
// what fills.
func (s batchShape) embed(tr salamandra.Transformer, state, tokens *Node, noise float64) *Node {
	x := tr.Embed(tokens)
	if state != nil {
		x = neftune(x, state, s.SharedPrefix, noise)
	}
	if s.Fill == 0 {
		return x
	}
	return Pad(x, ScalarZero(x.Graph(), x.DType()), PadAxis{End: s.Fill}, PadAxis{})
}

// headLosses is headLoss of h [T, C], at most chunk rows at a time.
func headLosses(tr salamandra.Transformer, h *Node, t targets, chunk int, wantGradient bool) (loss, dh *Node) {
	n := h.Shape().Dim(0)
	chunk = chunkOf(n, chunk)
	loss = ScalarZero(h.Graph(), dtypes.Float32)
	var gradients []*Node
	for from := 0; from < n; from += chunk {
		part := AxisRange(from, min(from+chunk, n))
		// A chunk waits for the one before it, so that the logits of one exist
		// at a time.
		in := SchedulingBarrier(Slice(h, part), append(gradients, loss)...)
		l, d := headLoss(tr, in, Slice(t.labels, part), Slice(t.weights, part), wantGradient)
		loss = Add(loss, l)
		if wantGradient {
			gradients = append(gradients, d)
		}
	}
	if wantGradient {
		dh = Concatenate(gradients, 0) // [T, C]
	}
	return loss, dh
}

// headLoss is the summed cross entropy of normed activations h [T', C] and, if
// wanted, its gradient by h, float32: the two products with the head.
func headLoss(t salamandra.Transformer, h, labels, weights *Node, wantGradient bool) (loss, dh *Node) {
	g, n := h.Graph(), h.Shape().Dim(0)
	logits := t.Head(h) // [T', V] float32
	top := ReduceAndKeep(logits, ReduceMax, -1)
	logSum := Add(top, Log(ReduceAndKeep(Exp(Sub(logits, top)), ReduceSum, -1))) // [T', 1]

	row := Iota(g, shapes.Make(labels.DType(), n, 1), 0)
	atLabel := Gather(logits, Concatenate([]*Node{row, ExpandAxes(labels, -1)}, -1)) // [T']
	loss = ReduceAllSum(Mul(Sub(Squeeze(logSum, -1), atLabel), weights))
	if !wantGradient {
		return loss, nil
	}
	vocabulary := Iota(g, shapes.Make(labels.DType(), logits.Shape().Dimensions...), 1)
	isLabel := ConvertDType(Equal(vocabulary, ExpandAxes(labels, -1)), dtypes.Float32)
	dLogits := Mul(Sub(Exp(Sub(logits, logSum)), isLabel), ExpandAxes(weights, -1))
	w := t.HeadWeight() // [V, C]
	return loss, products.TimesFloat32(ConvertDType(dLogits, w.DType()), w)
}

// flatten joins gradients into one vector [n] in the order of the factors.
func flatten(gradients []*Node) *Node {
	parts := make([]*Node, len(gradients))
	for i, g := range gradients {
		parts[i] = Reshape(ConvertDType(g, dtypes.Float32), g.Shape().Size())
	}
	return Concatenate(parts, 0)
}

// bind gives the transformer, which knows what it keeps, the adapter's layers, and
// returns their factors. A state, if not nil, is that of training.
func (t *Trainer) bind(tr *salamandra.Transformer, vector, state *Node) (factors []*Node) {
	var b *lora.Bound
	if tr.Block == nil {
		b = t.layers.Bind(vector)
	} else {
		b = t.layers.BindBlocks(vector, tr.Block, 1)
	}
	tr.Linear = b.Linear
	if state == nil {
		return b.Factors
	}
	blocks := t.model.Config.NumHiddenLayers
	b.Dropout = dropout(state, t.layers.Config.Dropout, layerKeys(vector.Graph(), tr.Block, blocks, len(t.layers.Names())/blocks))
	switch {
	case tr.Kept != nil:
		b.Keep = tr.Kept.Keep
	case tr.Keep != 0:
		b.Keep = func(x *Node) *Node { return x.Checkpoint() }
	}
	return b.Factors
}
