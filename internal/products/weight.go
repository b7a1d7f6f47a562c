package products

import . "github.com/gomlx/gomlx/core/graph"

// Weight is the weight W [out, in] of a linear layer in whatever form it has on the
// device.
type Weight interface {
	// Linear is x·Wᵀ for x [N, in], in the dtype of x.
	Linear(x *Node) *Node
	// Matrix is W in the dtype of x. One that has to be made is not made before x,
	// on which it depends: a function of parameters only would be computed once and
	// kept from the forward pass to the backward pass.
	Matrix(x *Node) *Node
}

// Full is a weight as a node of the graph.
type Full struct{ *Node }

// Linear implements [Weight].
func (w Full) Linear(x *Node) *Node { return Linear(x, w.Node) }

// Matrix implements [Weight].
func (w Full) Matrix(*Node) *Node { return w.Node }
