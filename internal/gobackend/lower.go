package gobackend

import (
	"slices"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"

	"github.com/impulse-salamandra/finetune/internal/simd"
)

// lowering turns a call with one result into steps. It says false, and has added
// none, if it has no kernel for these dtypes or arguments.
type lowering func(c *compiler, call *call, in []view) (view, bool)

// lowerings are the operations with kernels here.
var lowerings map[compute.OpType]lowering

func init() {
	same := func(_ *compiler, _ *call, in []view) (view, bool) { return in[0], true }
	lowerings = map[compute.OpType]lowering{
		compute.OpTypeIdentity:          same,
		compute.OpTypeSchedulingBarrier: same,
		compute.OpTypeReshape:           reshape,
		compute.OpTypeTranspose:         transpose,
		compute.OpTypeBroadcastInDim:    broadcastInDim,
		compute.OpTypeSlice:             slice,
		compute.OpTypeConcatenate:       concatenate,
		compute.OpTypePad:               pad,
		compute.OpTypeGather:            gather,
		compute.OpTypeConvertDType:      convert,
		compute.OpTypeWhere:             where,
		compute.OpTypeReduceSum:         reduce,
		compute.OpTypeReduceMax:         reduce,
		compute.OpTypeArgMinMax:         argMinMax,
		compute.OpTypeDotGeneral:        dotGeneral,
	}
	for op := range unaries {
		lowerings[op] = unary
	}
	for op := range binaries {
		lowerings[op] = binary
	}
}

// shape is that of a call's only result.
func (call *call) shape() shapes.Shape { return call.results[0].shape }

func reshape(c *compiler, call *call, in []view) (view, bool) {
	v, to := in[0], call.shape()
	if !v.dense() {
		if strides, ok := v.reshaped(to.Dimensions); ok {
			v.dims, v.strides = to.Dimensions, strides
			return v, true
		}
		v = c.dense(v)
	}
	v.dims, v.strides = to.Dimensions, denseStrides(to.Dimensions)
	return v, true
}

// reshaped are the strides of v with other dimensions, if there are any: groups of
// axes with as many elements on both sides must be one stride.
func (v view) reshaped(dims []int) (strides []int, ok bool) {
	if size(dims) == 0 {
		return denseStrides(dims), true
	}
	strides = make([]int, len(dims))
	i, j := 0, 0
	for i < len(v.dims) && j < len(dims) {
		i0, j0 := i, j
		n, m := v.dims[i], dims[j]
		for n != m {
			if n < m {
				i++
				n *= v.dims[i]
			} else {
				j++
				m *= dims[j]
			}
		}
		i, j = i+1, j+1
		axes := make([]int, i-i0)
		for k := range axes {
			axes[k] = i0 + k
		}
		step, ok := v.merged(axes)
		if !ok {
			return nil, false
		}
		for k := j - 1; k >= j0; k-- {
			strides[k] = step
			step *= dims[k]
		}
	}
	return strides, true
}

func transpose(_ *compiler, call *call, in []view) (view, bool) {
	return in[0].permuted(call.args[0].([]int)), true
}

func broadcastInDim(_ *compiler, call *call, in []view) (view, bool) {
	to, axes := call.args[0].(shapes.Shape), call.args[1].([]int)
	v := in[0]
	strides := make([]int, to.Rank())
	for i, a := range axes {
		if v.dims[i] == to.Dimensions[a] {
			strides[a] = v.strides[i]
		}
	}
	v.dims, v.strides = to.Dimensions, strides
	return v, true
}

func slice(_ *compiler, call *call, in []view) (view, bool) {
	v := in[0]
	starts, strides := call.args[0].([]int), call.args[2].([]int)
	v.dims, v.strides = call.shape().Dimensions, slices.Clone(v.strides)
	for i, s := range starts {
		v.offset += s * v.strides[i]
		if len(strides) > 0 {
			v.strides[i] *= strides[i]
		}
	}
	if size(v.dims) == 0 {
		v.offset = 0
	}
	return v, true
}

// concatenate copies each operand to where it belongs.
func concatenate(c *compiler, call *call, in []view) (view, bool) {
	axis, shape := call.args[0].(int), call.shape()
	width := in[0].width()
	to := denseStrides(shape.Dimensions)
	return c.emit(shape, -1, func(out []byte, bytes [][]byte) {
		at := 0
		for i, v := range in {
			paste(out, bytes[i], width, v, to, at*to[axis])
			at += v.dims[axis]
		}
	}, in...), true
}

// pad sets a border, then the middle.
func pad(c *compiler, call *call, in []view) (view, bool) {
	v, fill, shape := in[0], in[1], call.shape()
	axes := call.args[0].([]compute.PadAxis)
	to := denseStrides(shape.Dimensions)
	at := 0
	for i, a := range axes {
		if a.Start < 0 || a.End < 0 || a.Interior != 0 {
			return view{}, false
		}
		at += a.Start * to[i]
	}
	width := v.width()
	zeros := make([]int, shape.Rank())
	return c.emit(shape, -1, func(out []byte, in [][]byte) {
		copyStrided(out, in[1], width, shape.Dimensions, zeros)
		paste(out, in[0], width, v, to, at)
	}, v, fill), true
}

// paste copies an array into a larger one, from element at on.
func paste(out, in []byte, width int, v view, strides []int, at int) {
	if size(v.dims) == 0 {
		return
	}
	out = out[at*width:]
	l := newLoop(v.dims, strides, v.strides)
	last := len(l.dims)
	if l.strides[0][last] == 1 && l.strides[1][last] == 1 {
		l.run(func(at []int, n int) { copy(out[at[0]*width:(at[0]+n)*width], in[at[1]*width:]) })
		return
	}
	switch width {
	case 1:
		pasteElements(of[uint8](out), of[uint8](in), l)
	case 2:
		pasteElements(of[uint16](out), of[uint16](in), l)
	case 4:
		pasteElements(of[uint32](out), of[uint32](in), l)
	case 8:
		pasteElements(of[uint64](out), of[uint64](in), l)
	}
}

func pasteElements[T any](out, in []T, l loop) {
	last := len(l.dims)
	to, from := l.strides[0][last], l.strides[1][last]
	l.run(func(at []int, n int) {
		for i := range n {
			out[at[0]+i*to] = in[at[1]+i*from]
		}
	})
}

// gather copies rows: the index vectors say where in the first axes of the operand,
// all of the others follow.
func gather(c *compiler, call *call, in []view) (view, bool) {
	axis, offsets, collapsed := call.args[0].(int), call.args[1].([]int), call.args[2].([]int)
	starts, sizes := call.args[3].([]int), call.args[4].([]int)
	shape := call.shape()
	v := in[0]
	k := len(starts)
	if in[1].dtype == dtypes.Uint8 && len(v.dims) == 1 && v.dims[0] == 256 && axis == len(in[1].dims)-1 && len(offsets) == 0 && v.width() == 4 {
		return c.lookup(shape, v, in[1]), true
	}
	if in[1].dtype != dtypes.Int32 || axis != len(in[1].dims)-1 || len(collapsed) != k || size(shape.Dimensions) == 0 {
		return view{}, false
	}
	for i := range v.dims {
		if i < k && (starts[i] != i || collapsed[i] != i) || i >= k && (sizes[i] != v.dims[i] || offsets[i-k] != axis+i-k) {
			return view{}, false
		}
	}
	v, index := c.dense(v), c.dense(in[1])
	row := size(v.dims[k:]) * v.width()
	count := size(index.dims[:axis])
	return c.emit(shape, -1, func(out []byte, in [][]byte) {
		at := of[int32](in[1])
		loop{dims: []int{count}, n: 1, cost: row, strides: [][]int{{1, 0}}}.run(func(i []int, _ int) {
			from := 0
			for j, x := range at[i[0]*k : i[0]*k+k] {
				from = from*v.dims[j] + max(0, min(int(x), v.dims[j]-1))
			}
			copy(out[i[0]*row:(i[0]+1)*row], in[0][from*row:])
		})
	}, v, index), true
}

// lookup gives for each byte of index a number of a table of 256.
func (c *compiler) lookup(shape shapes.Shape, table, index view) view {
	return c.emit(shape, -1, func(out []byte, in [][]byte) {
		to, from := of[uint32](out), (*[256]uint32)(of[uint32](in[0]))
		simd.Ranges(len(to), grain, func(first, end int) {
			for i, x := range in[1][first:end] {
				to[first+i] = from[x]
			}
		})
	}, c.dense(table), c.dense(index))
}

// argMinMax finds the place of the largest numbers of rows.
func argMinMax(c *compiler, call *call, in []view) (view, bool) {
	axis, smallest := call.args[0].(int), call.args[2].(bool)
	shape := call.shape()
	if in[0].dtype != dtypes.Float32 || shape.DType != dtypes.Int32 || smallest || axis != len(in[0].dims)-1 || in[0].dims[axis] == 0 {
		return view{}, false
	}
	v := c.dense(in[0])
	n, rows := v.dims[axis], size(shape.Dimensions)
	return c.emit(shape, -1, func(out []byte, in [][]byte) {
		to, from := of[int32](out), of[float32](in[0])
		loop{dims: []int{rows}, n: 1, cost: n, strides: [][]int{{1, 0}}}.run(func(at []int, _ int) {
			row := from[at[0]*n:][:n]
			best := 0
			for i, x := range row {
				if x > row[best] || x != x {
					if best = i; x != x {
						break
					}
				}
			}
			to[at[0]] = int32(best)
		})
	}, v), true
}
