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

// Panels is a weight in panels of sixteen rows, [out/16, in, 16]: element (i, j) is at
// [i/16, j, i%16]. The Go backend multiplies with it as it lies in memory, where it has
// to lay a matrix out anew in every product.
type Panels struct{ *Node }

// Linear implements [Weight].
func (w Panels) Linear(x *Node) *Node {
	y := dot(x, w.Node).General([]int{1}, nil, []int{1}, nil) // [N, out/16, 16]
	return Reshape(y, x.Shape().Dim(0), -1)
}

// Matrix implements [Weight].
func (w Panels) Matrix(*Node) *Node {
	return Reshape(TransposeAllAxes(w.Node, 0, 2, 1), -1, w.Shape().Dim(1))
}

// Of is the weight that a node is: [out, in], or in panels.
func Of(w *Node) Weight {
	if w.Rank() == 3 {
		return Panels{w}
	}
	return Full{Node: w}
}

// Full is a weight as a node of the graph.
type Full struct {
	*Node
	// Apart keeps its products apart from others of the same x: see [Apart].
	Apart bool
}

// Linear implements [Weight].
func (w Full) Linear(x *Node) *Node {
	if w.Apart {
		return Linear(Apart(x, w.Node))
	}
	return Linear(x, w.Node)
}

// Matrix implements [Weight].
func (w Full) Matrix(*Node) *Node { return w.Node }
