package lora

import (
	. "github.com/gomlx/gomlx/core/graph"

	"github.com/impulse-salamandra/finetune/internal/products"
)

// Bound is an adapter within one graph.
type Bound struct {
	// Factors are the parts of the vector in its order, two or three per
	// layer, each in its own shape: what gradients are taken of.
	Factors []*Node
	// Dropout, if not nil, gives the factors, of the shape and dtype of x, that
	// the input x of an A is multiplied with; layer counts the adapted layers.
	// The same layer gets the same factors again, in the backward pass after the node
	// after is there, and not nil.
	Dropout func(layer int, x, after *Node) *Node
	// Keep, if not nil, keeps x·Aᵀ, R numbers a token, for the backward pass, which
	// computes again what is between those that a [salamandra.Keep] keeps.
	Keep func(x *Node) *Node

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
// W [out, in]. Layers without an adapter compute x·Wᵀ.
// Source: Hu et al. 2021, arXiv:2106.09685; with DoRA, Liu et al. 2024,
// arXiv:2402.09353, the norm a constant in the gradient (section 4.3).
func (b *Bound) Linear(name string, x *Node, weight products.Weight) *Node {
	i, ok := b.layers.place[name]
	if !ok {
		return weight.Linear(x)
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
func (b *Bound) plain(i int, x *Node, weight products.Weight) *Node {
	var in, dOut, dA, dB *Node
	factorA, factorB := b.factors(i)
	low := b.low(i, StopGradient(x),
		IdentityWithCustomGradient(factorA, func(_, _ *Node) *Node { return dA }),
		IdentityWithCustomGradient(factorB, func(_, _ *Node) *Node { return dB }))
	// Backward comes here last, with x as checkpointing computed it again.
	in = IdentityWithCustomGradient(x, func(again, dx *Node) *Node {
		l := low
		if again != in {
			l.mask, l.input = b.dropped(i, again, dOut)
		}
		var dLow *Node
		dLow, dA, dB = l.gradients(dOut)
		return Add(dx, dLow)
	})
	out := Add(weight.Linear(in), low.product())
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
	var after *Node
	if b.layers.Config.UseDoRA { // whose backward pass is gomlx's
		after = x
	}
	l.mask, l.input = b.dropped(i, x, after)
	in, own := l.input, l.a
	if b.Dropout == nil {
		in, own = products.Apart(in, own)
	}
	l.inner = MulScalar(products.Linear(in, own), l.scale)
	if b.Keep != nil {
		l.inner = b.Keep(l.inner)
	}
	return l
}

// dropped returns the mask of a layer, nil without dropout, and x∘mask.
func (b *Bound) dropped(i int, x, after *Node) (mask, input *Node) {
	if b.Dropout == nil {
		return nil, x
	}
	mask = b.Dropout(i, x, after)
	return mask, Mul(x, mask)
}

func (l lowRank) masked(x *Node) *Node {
	if l.mask == nil {
		return x
	}
	return Mul(x, l.mask)
}

// product is the path's result, [N, out].
func (l lowRank) product() *Node { return products.Linear(l.inner, l.b) }

// gradients returns those by x, in its dtype, and by A and B in float32, from
// that by the product, dOut [N, out].
func (l lowRank) gradients(dOut *Node) (dx, dA, dB *Node) {
	dInner := MulScalar(products.Times(products.Apart(dOut, l.b)), l.scale) // [N, R]
	return l.masked(products.Times(dInner, l.a)), products.OverRows(dInner, l.input), products.Transposed(products.OverRows(l.inner, dOut))
}

// dora is Linear with DoRA: the rows of W + scale·B·A are brought to the trained
// magnitude.
func (b *Bound) dora(i int, x *Node, weight products.Weight) *Node {
	factorA, factorB := b.factors(i)
	low, base := b.low(i, x, factorA, factorB), weight.Linear(x)
	magnitude := b.Factors[3*i+2]
	// ‖W + sBA‖² by row is ‖W‖² + 2s⟨W·Aᵀ, B⟩ + s²⟨B·(A·Aᵀ), B⟩, which never
	// forms B·A.
	w := ConvertDType(weight.Matrix(x), factorA.DType())
	cross := Mul(products.Linear(w, factorA), factorB)                                  // [out, R]
	square := Mul(products.Linear(factorB, products.Linear(factorA, factorA)), factorB) // [out, R]
	norm := Add(ReduceSum(Square(w), -1),
		ReduceSum(Add(MulScalar(cross, 2*low.scale), MulScalar(square, low.scale*low.scale)), -1))
	ratio := Div(magnitude, StopGradient(Sqrt(norm))) // [out]
	ratio = ConvertDType(InsertAxes(ratio, 0), x.DType())

	dropped := base
	if low.mask != nil {
		dropped = weight.Linear(low.input)
	}
	return Add(base, Add(Mul(SubScalar(ratio, 1), dropped), Mul(ratio, low.product())))
}
