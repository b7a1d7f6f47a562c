package lora

import (
	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph"
)

// Bound is an adapter within one graph.
type Bound struct {
	// Factors are the parts of the vector in its order, two or three per
	// layer, each in its own shape: what gradients are taken of.
	Factors []*Node
	// Dropout, if not nil, gives the factors, of the shape and dtype of x, that
	// the input x of an A is multiplied with; layer counts the adapted layers.
	// The same layer gets the same factors again.
	Dropout func(layer int, x *Node) *Node

	layers *Layers
}

// Bind cuts the vector, a node of the graph being built, into factors.
func (l *Layers) Bind(vector *Node) *Bound {
	b := &Bound{layers: l}
	cut := func(from int, dims ...int) {
		n := 1
		for _, d := range dims {
			n *= d
		}
		b.Factors = append(b.Factors, Reshape(Slice(vector, AxisRange(from, from+n)), dims...))
	}
	for _, y := range l.layers {
		cut(y.a, y.rank, y.in)
		cut(y.b, y.out, y.rank)
		if l.Config.UseDoRA {
			cut(y.mag, y.out)
		}
	}
	return b
}

// Linear computes an adapted layer: x·Wᵀ + scale·(x·Aᵀ)·Bᵀ, with x [N, in] and
// W [out, in] in the model's dtype. Layers without an adapter compute x·Wᵀ.
// Source: Hu et al. 2021, arXiv:2106.09685; with DoRA, Liu et al. 2024,
// arXiv:2402.09353, the norm a constant in the gradient (section 4.3).
func (b *Bound) Linear(name string, x, weight *Node) *Node {
	i, ok := b.layers.place[name]
	if !ok {
		return timesTransposed(x, weight)
	}
	if b.layers.Config.UseDoRA {
		return b.dora(i, x, weight)
	}
	return b.plain(i, x, weight)
}

// plain is Linear without DoRA.
//
// The gradient of its low-rank path is written out, by nodes that hand on what
// [lowRank.gradients] computed: gomlx's own would multiply over the first axes
// of both sides, for which XLA has no fast product on a CPU, and would round the
// factors' gradients to the model's dtype.
func (b *Bound) plain(i int, x, weight *Node) *Node {
	var in, dOut, dA, dB *Node
	factorA, factorB := b.factors(i)
	low := b.low(i, StopGradient(x),
		IdentityWithCustomGradient(factorA, func(_, _ *Node) *Node { return dA }),
		IdentityWithCustomGradient(factorB, func(_, _ *Node) *Node { return dB }))
	// Backward comes here last, with x as checkpointing computed it again.
	in = IdentityWithCustomGradient(x, func(again, dx *Node) *Node {
		l := low
		if again != in {
			l = b.low(i, again, factorA, factorB)
		}
		var dLow *Node
		dLow, dA, dB = l.gradients(dOut)
		return Add(dx, dLow)
	})
	out := Add(timesTransposed(in, weight), low.product())
	return IdentityWithCustomGradient(out, func(_, d *Node) *Node { dOut = d; return d })
}

// factors are A [R, in] and B [out, R] of a layer, float32.
func (b *Bound) factors(i int) (factorA, factorB *Node) {
	f := b.Factors[len(b.Factors)/len(b.layers.layers)*i:]
	return f[0], f[1]
}

// lowRank is the low-rank path of a layer, scale·((x∘mask)·Aᵀ)·Bᵀ, in the dtype
// of x.
type lowRank struct {
	mask  *Node // [N, in]; nil without dropout
	input *Node // x∘mask, [N, in]
	a, b  *Node // [R, in] and [out, R]
	inner *Node // scale·input·Aᵀ, [N, R]
	scale float64
}

func (b *Bound) low(i int, x, factorA, factorB *Node) lowRank {
	l := lowRank{a: ConvertDType(factorA, x.DType()), b: ConvertDType(factorB, x.DType()), scale: b.layers.layers[i].scale}
	if b.Dropout != nil {
		l.mask = b.Dropout(i, x)
	}
	l.input = l.masked(x)
	l.inner = MulScalar(timesTransposed(l.input, l.a), l.scale)
	return l
}

func (l lowRank) masked(x *Node) *Node {
	if l.mask == nil {
		return x
	}
	return Mul(x, l.mask)
}

// product is the path's result, [N, out].
func (l lowRank) product() *Node { return timesTransposed(l.inner, l.b) }

// gradients returns those by x, in its dtype, and by A and B in float32, from
// that by the product, dOut [N, out].
func (l lowRank) gradients(dOut *Node) (dx, dA, dB *Node) {
	dInner := MulScalar(times(dOut, l.b), l.scale) // [N, R]
	return l.masked(times(dInner, l.a)), overRows(dInner, l.input), turned(overRows(l.inner, dOut))
}

// dora is Linear with DoRA: the rows of W + scale·B·A are brought to the trained
// magnitude.
func (b *Bound) dora(i int, x, weight *Node) *Node {
	factorA, factorB := b.factors(i)
	low, base := b.low(i, x, factorA, factorB), timesTransposed(x, weight)
	magnitude := b.Factors[3*i+2]
	// ‖W + sBA‖² by row is ‖W‖² + 2s⟨W·Aᵀ, B⟩ + s²⟨B·(A·Aᵀ), B⟩, which never
	// forms B·A.
	w := ConvertDType(weight, factorA.DType())
	cross := Mul(timesTransposed(w, factorA), factorB)                                  // [out, R]
	square := Mul(timesTransposed(factorB, timesTransposed(factorA, factorA)), factorB) // [out, R]
	norm := Add(ReduceSum(Square(w), -1),
		ReduceSum(Add(MulScalar(cross, 2*low.scale), MulScalar(square, low.scale*low.scale)), -1))
	ratio := Div(magnitude, StopGradient(Sqrt(norm))) // [out]
	ratio = ConvertDType(InsertAxes(ratio, 0), x.DType())

	dropped := base
	if low.mask != nil {
		dropped = timesTransposed(low.input, weight)
	}
	return Add(base, Add(Mul(SubScalar(ratio, 1), dropped), Mul(ratio, low.product())))
}

// multiply is Dot told what to add up in. Told nothing, gomlx would compute the
// gradient of a product in half precision in float32, and go-xla copy y.
func multiply(x, y *Node) *DotBuilder { return Dot(x, y).WithAccumulatorDType(x.DType()) }

// timesTransposed is x·Wᵀ for x [N, in] and w [out, in].
func timesTransposed(x, w *Node) *Node { return multiply(x, w).General([]int{1}, nil, []int{1}, nil) }

// times is x·W for x [N, out] and w [out, in].
func times(x, w *Node) *Node { return multiply(x, w).General([]int{1}, nil, []int{0}, nil) }

// overRows is xᵀ·y for x [N, R] and y [N, out], in float32.
func overRows(x, y *Node) *Node {
	return multiply(turned(x), y).WithOutputDType(dtypes.Float32).General([]int{1}, nil, []int{0}, nil)
}

// turned is xᵀ for x [n, m], by a transpose that XLA does not take for a part of
// the product beside it: on a CPU that product would be many times slower.
func turned(x *Node) *Node {
	n, m := x.Shape().Dim(0), x.Shape().Dim(1)
	if n%2 == 0 {
		return Reshape(TransposeAllAxes(Reshape(x, n/2, 2, m), 2, 0, 1), m, n)
	}
	if m%2 == 0 {
		return Reshape(TransposeAllAxes(Reshape(x, n, m/2, 2), 1, 2, 0), m, n)
	}
	return Transpose(x, 0, 1)
}
