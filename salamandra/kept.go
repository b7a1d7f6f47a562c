package salamandra

import (
	"slices"

	. "github.com/gomlx/gomlx/core/graph"
)

// Kept is what a backward pass finds of its forward pass, where each is a program of
// its own: then one of a block, compiled once, serves for all blocks.
//
// The program of the forward pass takes a Kept of [Keeping] and returns its Nodes;
// that of the backward pass takes one of [Found] and builds the same graph, in which
// what was found stands for what was kept: nothing computes the latter again but for
// what was not kept. A nil Kept is for both passes in one program.
type Kept struct {
	// Nodes are those kept, in the order of the forward pass.
	Nodes []*Node

	backward bool
	found    int     // how many of Nodes the graph has taken
	links    []*Node // nodes whose gradients are known, but not by gomlx
}

// Keeping returns an empty Kept for a forward pass.
func Keeping() *Kept { return new(Kept) }

// Found returns the Kept of a backward pass from the Nodes of the forward pass.
func Found(nodes []*Node) *Kept { return &Kept{Nodes: nodes, backward: true} }

// value keeps the value of x, or returns it as it was kept, without a gradient to x.
func (k *Kept) value(x *Node) *Node {
	switch {
	case k == nil:
		return x
	case !k.backward:
		k.Nodes = append(k.Nodes, x)
		return x
	}
	k.found++
	return k.Nodes[k.found-1]
}

// Keep keeps x, or returns it as it was kept, with the gradient of x.
func (k *Kept) Keep(x *Node) *Node {
	kept := k.value(x)
	if kept == x {
		return x
	}
	var d *Node
	k.link(x, func() *Node { return d })
	return IdentityWithCustomGradient(kept, func(_, v *Node) *Node { d = v; return nil })
}

// link says what the gradient by x is, in addition to what gomlx knows of.
func (k *Kept) link(x *Node, gradient func() *Node) {
	k.links = append(k.links, IdentityWithCustomGradient(x, func(_, _ *Node) *Node { return gradient() }))
}

// withGradient is [withGradient], by links if there are any.
func (k *Kept) withGradient(out *Node, inputs []*Node, gradients func(inputs []*Node, dOut *Node) []*Node) *Node {
	if k == nil {
		return withGradient(out, inputs, gradients)
	}
	d := make([]*Node, len(inputs))
	for i, x := range inputs {
		k.link(x, func() *Node { return Reshape(d[i], x.Shape().Dimensions...) })
	}
	return IdentityWithCustomGradient(out, func(_, dOut *Node) *Node {
		d = gradients(inputs, dOut)
		return nil
	})
}

// Gradients returns the gradients by nodes from that by the result out, which is dOut
// [as out], of a scalar.
func (k *Kept) Gradients(out, dOut *Node, by ...*Node) []*Node {
	scalar := ReduceAllSum(Mul(inFloat32(out), StopGradient(inFloat32(dOut))))
	if k == nil {
		return Gradient(scalar, by...)
	}
	for _, x := range k.links { // gomlx comes by, and is told the gradient
		scalar = Add(scalar, ReduceAllSum(inFloat32(x)))
	}
	return Gradient(scalar, slices.Concat(by, k.Nodes)...)[:len(by)]
}
