package train

import (
	"math"
	"slices"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"

	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/salamandra"
)

// This file builds the graphs of training. Letters as in salamandra's forward
// pass, and
//
//	T  places of a batch whose output is trained, padded
//	n  numbers of the adapter

// lossSum returns the summed cross entropy of a batch in float32 and, if
// wanted, the gradients of the adapter's factors.
//
// Embedded [P + B·S, C] are the embeddings of the prefix and the rows; targets
// [T] are the places, counted from token first on, whose output is trained;
// labels [T] the ids they should give; weights [T] how often each counts, zero
// for padding.
//
// Only those places reach the head, chunk of them at a time, so that logits
// [T, V] never exist. The head is frozen: each chunk gives the gradient of its
// input at once, from the same logits, and the backward pass begins there.
func lossSum(t salamandra.Transformer, layout salamandra.SharedPrefix, first int, embedded, targets, labels, weights *Node, chunk int, factors []*Node) (loss *Node, gradients []*Node) {
	g := embedded.Graph()
	x := t.BlocksAt(embedded, layout.Positions(g), layout, first, targets)
	h := t.Norm("model.norm", x) // [T, C]

	loss, dh := headLosses(t, StopGradient(h), labels, weights, chunk, factors != nil)
	if factors == nil {
		return loss, nil
	}
	// The gradient of ⟨h, dh⟩ by anything before h is that of the loss.
	// It goes down to the embeddings, which are frozen: the adapter's layers
	// compute their gradients on its way.
	by := append(slices.Clip(factors), embedded)
	return loss, Gradient(ReduceAllSum(Mul(ConvertDType(h, dtypes.Float32), StopGradient(dh))), by...)[:len(factors)]
}

// headLosses is headLoss of h [T, C], chunk rows at a time.
func headLosses(t salamandra.Transformer, h, labels, weights *Node, chunk int, wantGradient bool) (loss, dh *Node) {
	n := h.Shape().Dim(0)
	loss = ScalarZero(h.Graph(), dtypes.Float32)
	var gradients []*Node
	for from := 0; from < n; from += chunk {
		part := AxisRange(from, min(from+chunk, n))
		// A chunk waits for the one before it, so that the logits of one exist
		// at a time.
		in := SchedulingBarrier(Slice(h, part), append(gradients, loss)...)
		l, d := headLoss(t, in, Slice(labels, part), Slice(weights, part), wantGradient)
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
	w := t.HeadWeight() // [V, C]; told what to add up in, go-xla does not copy it
	dh = Dot(ConvertDType(dLogits, w.DType()), w).WithAccumulatorDType(w.DType()).WithOutputDType(dtypes.Float32).
		General([]int{1}, nil, []int{0}, nil)
	return loss, dh
}

// flatten joins gradients into one vector [n] in the order of the factors.
func flatten(gradients []*Node) *Node {
	parts := make([]*Node, len(gradients))
	for i, g := range gradients {
		parts[i] = Reshape(ConvertDType(g, dtypes.Float32), g.Shape().Size())
	}
	return Concatenate(parts, 0)
}

// dropout returns the Dropout of an adapter: factors of 0 with probability p,
// of 1/(1-p) otherwise. The draws of a layer depend on state, three uint64 that
// change with every batch, and on the layer.
func dropout(state *Node, p float64) func(layer int, x *Node) *Node {
	if p == 0 {
		return nil
	}
	return func(layer int, x *Node) *Node {
		s := BitwiseXor(state, Const(state.Graph(), randomState(uint64(layer), 0)))
		// The draw waits for x, so that checkpointing draws it again in the
		// backward pass and need not keep it.
		s = SchedulingBarrier(s, x)
		_, uniform := RandomUniform(s, shapes.Make(dtypes.Float32, x.Shape().Dimensions...))
		keep := GreaterOrEqual(uniform, Scalar(x.Graph(), dtypes.Float32, p))
		return ConvertDType(MulScalar(ConvertDType(keep, dtypes.Float32), 1/(1-p)), x.DType())
	}
}

// randomState is the state of gomlx's generators for a purpose, from two
// numbers, by the finaliser of SplitMix64.
func randomState(a, b uint64) []uint64 {
	state := make([]uint64, 3)
	z := a*0x9e3779b97f4a7c15 + b*0xd1342543de82ef95
	for i := range state {
		z += 0x9e3779b97f4a7c15
		y := (z ^ z>>30) * 0xbf58476d1ce4e5b9
		y = (y ^ y>>27) * 0x94d049bb133111eb
		state[i] = y ^ y>>31
	}
	return state
}

// adamW is one optimiser step on vectors [n] in float32: the gradient sum is
// divided by the trained tokens, clipped to maxNorm, and moves the parameters,
// each at the learning rate times its factor in rates [n], nil for 1. It returns
// parameters, moments and the norm before clipping; where that is zero or not
// finite, parameters and moments as they were.
// Source: Loshchilov & Hutter 2019, arXiv:1711.05101, in the order of
// operations of torch.optim.AdamW and clip_grad_norm_.
func adamW(c Config, rates, params, m, v, gradientSum, scalars *Node) []*Node {
	scalar := func(i int) *Node { return Reshape(Slice(scalars, AxisElem(i))) }
	tokens, decay, stepSize, rootCorrection := scalar(0), scalar(1), scalar(2), scalar(3)
	old := []*Node{params, m, v}

	gradient := Div(gradientSum, tokens)
	norm := Sqrt(sumOf(Square(gradient)))
	if c.MaxGradNorm > 0 {
		clip := MinScalar(Div(Scalar(norm.Graph(), dtypes.Float32, c.MaxGradNorm), AddScalar(norm, 1e-6)), 1.0)
		gradient = Mul(gradient, clip)
	}
	if c.WeightDecay > 0 {
		params = Sub(params, Mul(params, times(decay, rates)))
	}
	m = Add(MulScalar(m, c.Beta1), MulScalar(gradient, 1-c.Beta1))
	v = Add(MulScalar(v, c.Beta2), MulScalar(Square(gradient), 1-c.Beta2))
	denominator := AddScalar(Div(Sqrt(v), rootCorrection), c.Epsilon)
	params = Sub(params, Mul(times(stepSize, rates), Div(m, denominator)))
	good := LogicalAnd(IsFinite(norm), GreaterThan(norm, ScalarZero(norm.Graph(), norm.DType())))
	next := []*Node{params, m, v, norm}
	for i, x := range old {
		next[i] = Where(good, next[i], x)
	}
	return next
}

// sumOf adds up a vector in blocks: a plain sum of millions of float32 loses
// digits where the executor adds one number after the other.
func sumOf(x *Node) *Node {
	const block = 1024
	n := x.Shape().Size()
	whole := n / block * block
	sum := ScalarZero(x.Graph(), x.DType())
	if whole < n {
		sum = ReduceAllSum(Slice(x, AxisRange(whole)))
	}
	if whole > 0 {
		sum = Add(sum, ReduceAllSum(ReduceSum(Reshape(Slice(x, AxisRange(0, whole)), n/block, block), -1)))
	}
	return sum
}

// adamScalars are the inputs of adamW that change with each step, counted
// from 1: trained tokens, decay, and the two bias corrections 1 - βᵏ as they
// are applied.
func adamScalars(c Config, step, tokens int, rate float64) []float32 {
	k := float64(step)
	correction1, correction2 := 1-math.Pow(c.Beta1, k), 1-math.Pow(c.Beta2, k)
	return []float32{float32(tokens), float32(rate * c.WeightDecay), float32(rate / correction1), float32(math.Sqrt(correction2))}
}

// bindTraining gives the transformer the adapter's training form and returns
// the factors to differentiate.
func bindTraining(t *salamandra.Transformer, layers *lora.Layers, vector, state *Node) []*Node {
	b := layers.Bind(vector)
	b.Dropout = dropout(state, layers.Config.Dropout)
	t.Linear = b.Linear
	return b.Factors
}
