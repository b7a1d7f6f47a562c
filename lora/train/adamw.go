package train

import (
	"math"

	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph"

	"github.com/impulse-salamandra/finetune/lora"
)

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

// rateFactors returns what the learning rate of each number of the adapter's
// vector is multiplied by [n], nil for 1: Config.LoRAPlusRatio, but 1 for those
// of A.
func rateFactors(layers *lora.Layers, vector *Node, ratio float64) *Node {
	if ratio == 1 {
		return nil
	}
	perLayer := 2
	if layers.Config.UseDoRA {
		perLayer = 3
	}
	var parts []*Node
	for i, f := range layers.Bind(vector).Factors {
		factor := ratio
		if i%perLayer == 0 { // A
			factor = 1
		}
		parts = append(parts, BroadcastToDims(Scalar(vector.Graph(), dtypes.Float32, factor), f.Shape().Size()))
	}
	return Concatenate(parts, 0)
}

// times multiplies x by factors, of which nil is 1.
func times(x, factors *Node) *Node {
	if factors == nil {
		return x
	}
	return Mul(x, factors)
}
