package gobackend

import (
	"slices"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"

	"github.com/impulse-salamandra/finetune/internal/simd"
)

// reduce is the sum or the maximum over axes.
func reduce(c *compiler, call *call, in []view) (view, bool) {
	v, shape := in[0], call.shape()
	if v.dtype != dtypes.Float32 && v.dtype != dtypes.BFloat16 || size(v.dims) == 0 {
		return view{}, false
	}
	axes := call.args[0].([]int)
	if len(axes) == 0 { // all of them
		for i := range v.dims {
			axes = append(axes, i)
		}
	}
	v = c.toFloat32(v)
	var kept, gone []int
	for i := range v.dims {
		if slices.Contains(axes, i) {
			gone = append(gone, i)
		} else {
			kept = append(kept, i)
		}
	}
	row, column := simd.Sum, simd.Add.Apply
	if call.op == compute.OpTypeReduceMax {
		row, column = simd.Max, func(dst, a, b []float32) {
			for i, x := range a {
				dst[i] = max(x, b[i])
			}
		}
	}
	n, m := size(shape.Dimensions), size(v.dims)/size(shape.Dimensions)
	result := shapes.Make(dtypes.Float32, shape.Dimensions...)
	// Over leading axes rows are added to one another, else those of one result are
	// laid out side by side.
	if v.dense() && n > 1 && m > 1 && gone[len(gone)-1] < len(kept)+len(gone)-1 && gone[len(gone)-1] == len(gone)-1 {
		return c.toDType(c.emit(result, -1, func(out []byte, in [][]byte) {
			to, from := of[float32](out), of[float32](in[0])
			simd.Ranges(n, max(64, grain/m), func(first, last int) {
				copy(to[first:last], from[first:last])
				for i := 1; i < m; i++ {
					column(to[first:last], to[first:last], from[i*n+first:i*n+last])
				}
			})
		}, v), shape.DType), true
	}
	v = c.dense(v.permuted(append(kept, gone...)))
	return c.toDType(c.emit(result, -1, func(out []byte, in [][]byte) {
		to, from := of[float32](out), of[float32](in[0])
		if n == 1 {
			to[0] = reduceAll(from[:m], row)
			return
		}
		loop{dims: []int{n}, n: 1, cost: m, strides: [][]int{{1, 0}}}.run(func(at []int, _ int) {
			to[at[0]] = row(from[at[0]*m:][:m])
		})
	}, v), shape.DType), true
}

// reduceAll reduces pieces of one size, then their results.
func reduceAll(a []float32, row func(a []float32) float32) float32 {
	pieces := make([]float32, (len(a)+grain-1)/grain)
	simd.Parallel(len(pieces), func(i int) { pieces[i] = row(a[i*grain : min((i+1)*grain, len(a))]) })
	return row(pieces)
}
