package gobackend

import (
	"slices"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"

	"github.com/impulse-salamandra/finetune/internal/simd"
)

// dotGeneral is a matrix product for each index of the batch axes.
func dotGeneral(c *compiler, call *call, in []view) (view, bool) {
	shape := call.shape()
	for _, dtype := range []dtypes.DType{in[0].dtype, in[1].dtype, shape.DType} {
		if dtype != dtypes.Float32 && dtype != dtypes.BFloat16 {
			return view{}, false
		}
	}
	if size(shape.Dimensions) == 0 {
		return view{}, false
	}
	in = []view{c.unconverted(in[0]), c.unconverted(in[1])}
	a := c.operand(in[0], call.args[0].([]int), call.args[1].([]int))
	b, ok := panels(in[1], call.args[2].([]int), call.args[3].([]int))
	if !ok {
		b = c.operand(in[1], call.args[2].([]int), call.args[3].([]int))
	}
	m, n, k := a.cross, b.cross, a.depth
	product := c.emit(shapes.Make(dtypes.Float32, shape.Dimensions...), -1, func(out []byte, in [][]byte) {
		to := of[float32](out)
		x, y := a.matrix(in[0]), b.matrix(in[1])
		simd.Multiply(len(a.batch), func(i int) simd.Product {
			p := simd.Product{C: to[i*m*n : (i+1)*m*n], A: x(i), B: y(i)}
			p.B.Row, p.B.Column = p.B.Column, p.B.Row // contracted are its rows
			return p
		}, m, n, k)
	}, a.view, b.view)
	return c.toDType(product, shape.DType), true
}

// unconverted is what a view of whole numbers in 8 bits was before it was converted,
// which products read as they are.
func (c *compiler) unconverted(v view) view {
	if from, ok := c.whole[v.place]; ok {
		v.place, v.dtype, v.offset = from.place, from.dtype, v.offset+from.offset
	}
	return v
}

// operand is a side of products: matrices of cross rows with depth columns.
type operand struct {
	view
	batch       []int // where each matrix begins
	cross       int
	depth       int
	row, column int // strides
	panels      int // as in [simd.Matrix]
}

// panels is a side [n, depth, 16] whose products are [n, 16], which lies as kernels read
// it; ok says whether it is one.
func panels(v view, contracted, batch []int) (o operand, ok bool) {
	const width = simd.PanelColumns
	if len(v.dims) != 3 || len(batch) > 0 || len(contracted) != 1 || contracted[0] != 1 || v.dims[2] != width || v.strides[2] != 1 || v.strides[1] != width || v.strides[0] < width {
		return o, false
	}
	return operand{view: v, batch: []int{0}, cross: v.dims[0] * width, depth: v.dims[1], panels: v.strides[0]}, true
}

// operand sorts the axes of a side. Axes of one kind that are not one stride are
// made so by a copy.
func (c *compiler) operand(v view, contracted, batch []int) operand {
	var cross []int
	for i := range v.dims {
		if !slices.Contains(contracted, i) && !slices.Contains(batch, i) {
			cross = append(cross, i)
		}
	}
	row, ok := v.merged(cross)
	column, ok2 := v.merged(contracted)
	if !ok || !ok2 {
		order := slices.Concat(batch, cross, contracted)
		v = c.dense(v.permuted(order))
		at := func(from, n int) []int {
			axes := make([]int, n)
			for i := range axes {
				axes[i] = from + i
			}
			return axes
		}
		nb, nc := len(batch), len(cross)
		batch, cross, contracted = at(0, nb), at(nb, nc), at(nb+nc, len(contracted))
		row, _ = v.merged(cross)
		column, _ = v.merged(contracted)
	}
	o := operand{view: v, row: row, column: column, cross: 1, depth: 1, batch: []int{0}}
	for _, a := range cross {
		o.cross *= v.dims[a]
	}
	for _, a := range contracted {
		o.depth *= v.dims[a]
	}
	for _, a := range batch {
		var next []int
		for _, at := range o.batch {
			for i := range v.dims[a] {
				next = append(next, at+i*v.strides[a])
			}
		}
		o.batch = next
	}
	if o.depth == 1 {
		o.column = 1
	}
	return o
}

// matrix gives the matrices of a side, of bytes that begin where the view does.
func (o operand) matrix(bytes []byte) func(i int) simd.Matrix {
	switch o.dtype {
	case dtypes.Int8:
		numbers := of[int8](bytes)
		return func(i int) simd.Matrix {
			return simd.Matrix{Whole: numbers[o.batch[i]:], Row: o.row, Column: o.column, Panels: o.panels}
		}
	case dtypes.BFloat16:
		numbers := of[uint16](bytes)
		return func(i int) simd.Matrix {
			return simd.Matrix{Half: numbers[o.batch[i]:], Row: o.row, Column: o.column, Panels: o.panels}
		}
	}
	numbers := of[float32](bytes)
	return func(i int) simd.Matrix {
		return simd.Matrix{Data: numbers[o.batch[i]:], Row: o.row, Column: o.column, Panels: o.panels}
	}
}
