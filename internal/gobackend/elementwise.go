package gobackend

import (
	"math"
	"slices"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"

	"github.com/impulse-salamandra/finetune/internal/simd"
)

// unaries are functions of numbers in float32, by rows.
var unaries = map[compute.OpType]func(dst, a []float32){
	compute.OpTypeExp:      simd.Exp,
	compute.OpTypeLogistic: simd.Logistic,
	compute.OpTypeNeg:      each(func(x float32) float32 { return -x }),
	compute.OpTypeAbs:      each(func(x float32) float32 { return float32(math.Abs(float64(x))) }),
	compute.OpTypeSqrt:     each(func(x float32) float32 { return float32(math.Sqrt(float64(x))) }),
	compute.OpTypeRsqrt:    each(func(x float32) float32 { return float32(1 / math.Sqrt(float64(x))) }),
	compute.OpTypeLog:      each(func(x float32) float32 { return float32(math.Log(float64(x))) }),
	compute.OpTypeCos:      each(func(x float32) float32 { return float32(math.Cos(float64(x))) }),
	compute.OpTypeSin:      each(func(x float32) float32 { return float32(math.Sin(float64(x))) }),
	compute.OpTypeTanh:     each(func(x float32) float32 { return float32(math.Tanh(float64(x))) }),
}

func each(f func(x float32) float32) func(dst, a []float32) {
	return func(dst, a []float32) {
		for i, x := range a {
			dst[i] = f(x)
		}
	}
}

// block is how many numbers of 16 bits are widened at a time.
const block = 512

func unary(c *compiler, call *call, in []view) (view, bool) {
	f, half := unaries[call.op], in[0].dtype == dtypes.BFloat16
	if !half && in[0].dtype != dtypes.Float32 {
		return view{}, false
	}
	v := c.dense(in[0])
	n := size(v.dims)
	return c.emit(call.shape(), 0, func(out []byte, in [][]byte) {
		simd.Ranges(n, grain/4, func(from, to int) {
			if !half {
				f(of[float32](out)[from:to], of[float32](in[0])[from:to])
				return
			}
			var x [block]float32
			dst, src := of[uint16](out), of[uint16](in[0])
			for ; from < to; from += block {
				n := min(block, to-from)
				simd.Widen(x[:n], src[from:from+n])
				f(x[:n], x[:n])
				simd.Narrow(dst[from:from+n], x[:n])
			}
		})
	}, v), true
}

// rowsOf computes a row from two others; one of length 1 stands for all of its row.
type rowsOf[T, R any] func(dst []R, a, b []T)

// binaryKernel is an operation for one dtype: it takes bytes and gives what computes
// n elements from element at[0] of the result and at[1], at[2] of the operands; one
// of step 0 stands still.
type binaryKernel func(out, a, b []byte, stepA, stepB int) func(at []int, n int)

func kernelOf[T, R any](f rowsOf[T, R]) binaryKernel {
	return func(out, a, b []byte, stepA, stepB int) func(at []int, n int) {
		dst, x, y := of[R](out), of[T](a), of[T](b)
		return func(at []int, n int) {
			f(dst[at[0]:at[0]+n], x[at[1]:at[1]+1+(n-1)*stepA], y[at[2]:at[2]+1+(n-1)*stepB])
		}
	}
}

// pairs computes element by element.
func pairs[T, R any](f func(x, y T) R) binaryKernel {
	return kernelOf(func(dst []R, a, b []T) {
		switch {
		case len(a) == len(dst) && len(b) == len(dst):
			for i, x := range a {
				dst[i] = f(x, b[i])
			}
		case len(a) == len(dst):
			for i, x := range a {
				dst[i] = f(x, b[0])
			}
		default:
			for i := range dst {
				dst[i] = f(a[0], b[min(i, len(b)-1)])
			}
		}
	})
}

// inFloat32 does to bfloat16 what f does to float32, with one rounding.
func inFloat32(f rowsOf[float32, float32]) binaryKernel {
	return kernelOf(func(dst, a, b []uint16) {
		var x, y [block]float32
		for from := 0; from < len(dst); from += block {
			n := min(block, len(dst)-from)
			part := func(wide *[block]float32, h []uint16) []float32 {
				if len(h) == 1 {
					simd.Widen(wide[:1], h)
					return wide[:1]
				}
				simd.Widen(wide[:n], h[from:from+n])
				return wide[:n]
			}
			u, v := part(&x, a), part(&y, b)
			if len(u) == 1 && n > 1 { // the result goes where an operand of its length is
				f(y[:n], u, v)
				simd.Narrow(dst[from:from+n], y[:n])
				continue
			}
			f(x[:n], u, v)
			simd.Narrow(dst[from:from+n], x[:n])
		}
	})
}

type number interface {
	~int32 | ~uint32 | ~int64 | ~uint64 | ~int8 | ~uint8 | ~float32
}

type integer interface {
	~int32 | ~uint32 | ~int64 | ~uint64 | ~int8 | ~uint8
}

func arithmetic[T number]() map[compute.OpType]binaryKernel {
	return map[compute.OpType]binaryKernel{
		compute.OpTypeAdd: pairs(func(x, y T) T { return x + y }),
		compute.OpTypeSub: pairs(func(x, y T) T { return x - y }),
		compute.OpTypeMul: pairs(func(x, y T) T { return x * y }),
		compute.OpTypeMax: pairs(func(x, y T) T { return max(x, y) }),
		compute.OpTypeMin: pairs(func(x, y T) T { return min(x, y) }),
	}
}

func comparisons[T number]() map[compute.OpType]binaryKernel {
	return map[compute.OpType]binaryKernel{
		compute.OpTypeEqual:          pairs(func(x, y T) bool { return x == y }),
		compute.OpTypeNotEqual:       pairs(func(x, y T) bool { return x != y }),
		compute.OpTypeGreaterThan:    pairs(func(x, y T) bool { return x > y }),
		compute.OpTypeGreaterOrEqual: pairs(func(x, y T) bool { return x >= y }),
		compute.OpTypeLessThan:       pairs(func(x, y T) bool { return x < y }),
		compute.OpTypeLessOrEqual:    pairs(func(x, y T) bool { return x <= y }),
	}
}

func bits[T integer]() map[compute.OpType]binaryKernel {
	return map[compute.OpType]binaryKernel{
		compute.OpTypeBitwiseAnd: pairs(func(x, y T) T { return x & y }),
		compute.OpTypeBitwiseOr:  pairs(func(x, y T) T { return x | y }),
		compute.OpTypeBitwiseXor: pairs(func(x, y T) T { return x ^ y }),
	}
}

// binaries are the kernels of an operation, by the dtype of its operands.
var binaries = func() map[compute.OpType]map[dtypes.DType]binaryKernel {
	all := map[compute.OpType]map[dtypes.DType]binaryKernel{}
	add := func(dtype dtypes.DType, kernels ...map[compute.OpType]binaryKernel) {
		for _, list := range kernels {
			for op, k := range list {
				if all[op] == nil {
					all[op] = map[dtypes.DType]binaryKernel{}
				}
				all[op][dtype] = k
			}
		}
	}
	add(dtypes.Int32, arithmetic[int32](), comparisons[int32](), bits[int32]())
	add(dtypes.Int64, arithmetic[int64](), comparisons[int64](), bits[int64]())
	add(dtypes.Uint32, arithmetic[uint32](), comparisons[uint32](), bits[uint32](), map[compute.OpType]binaryKernel{
		compute.OpTypeShiftLeft:         pairs(func(x, y uint32) uint32 { return x << y }),
		compute.OpTypeShiftRightLogical: pairs(func(x, y uint32) uint32 { return x >> y }),
	})
	add(dtypes.Uint64, arithmetic[uint64](), comparisons[uint64](), bits[uint64]())
	add(dtypes.Uint8, arithmetic[uint8](), comparisons[uint8](), bits[uint8](), map[compute.OpType]binaryKernel{
		compute.OpTypeShiftRightLogical: pairs(func(x, y uint8) uint8 { return x >> y }),
	})
	add(dtypes.Int8, bits[int8]())
	add(dtypes.Float32, arithmetic[float32](), comparisons[float32]())
	add(dtypes.Bool, map[compute.OpType]binaryKernel{
		compute.OpTypeLogicalAnd: pairs(func(x, y bool) bool { return x && y }),
		compute.OpTypeLogicalOr:  pairs(func(x, y bool) bool { return x || y }),
		compute.OpTypeEqual:      pairs(func(x, y bool) bool { return x == y }),
		compute.OpTypeNotEqual:   pairs(func(x, y bool) bool { return x != y }),
	})
	for op, f := range map[compute.OpType]simd.Binary{compute.OpTypeAdd: simd.Add, compute.OpTypeSub: simd.Sub, compute.OpTypeMul: simd.Mul, compute.OpTypeDiv: simd.Div} {
		add(dtypes.Float32, map[compute.OpType]binaryKernel{op: kernelOf[float32, float32](f.Apply)})
		add(dtypes.BFloat16, map[compute.OpType]binaryKernel{op: inFloat32(f.Apply)})
	}
	return all
}()

// rowwise gives an operand of an elementwise operation with the shape dims: as it is
// if its last axis, seen together with the others' axes, is one after another or
// stands still, else copied.
func (c *compiler) rowwise(v view, dims []int) view {
	if len(v.dims) == 0 || size(v.dims) == 1 {
		return v.broadcast(dims)
	}
	for i := len(dims) - 1; i >= 0; i-- {
		if dims[i] > 1 {
			if v.dims[i] > 1 && v.strides[i] != 1 && v.strides[i] != 0 {
				v = c.dense(v)
			}
			break
		}
	}
	return v.broadcast(dims)
}

func binary(c *compiler, call *call, in []view) (view, bool) {
	kernel := binaries[call.op][in[0].dtype]
	shape := call.shape()
	if kernel == nil || in[1].dtype != in[0].dtype || size(shape.Dimensions) == 0 {
		return view{}, false
	}
	if call.op == compute.OpTypeBitwiseOr && in[1].zero() && slices.Equal(in[0].dims, shape.Dimensions) {
		return in[0], true
	}
	a, b := c.rowwise(in[0], shape.Dimensions), c.rowwise(in[1], shape.Dimensions)
	over := -1
	for i, v := range []view{a, b} {
		if over < 0 && v.dtype == shape.DType && v.dense() {
			over = i
		}
	}
	l := newLoop(shape.Dimensions, denseStrides(shape.Dimensions), a.strides, b.strides)
	last := len(l.dims)
	stepA, stepB := l.strides[1][last], l.strides[2][last]
	return c.emit(shape, over, func(out []byte, in [][]byte) {
		l.run(kernel(out, in[0], in[1], stepA, stepB))
	}, a, b), true
}

// zero reports whether a view is a constant of zeros.
func (v view) zero() bool {
	return v.place.kind == isConstant && !slices.ContainsFunc(v.place.bytes, func(b byte) bool { return b != 0 })
}

// where chooses between numbers of any dtype.
func where(c *compiler, call *call, in []view) (view, bool) {
	shape := call.shape()
	if size(shape.Dimensions) == 0 {
		return view{}, false
	}
	all := make([]view, 3)
	strides := [][]int{denseStrides(shape.Dimensions)}
	for i, v := range in {
		all[i] = c.rowwise(v, shape.Dimensions)
		strides = append(strides, all[i].strides)
	}
	l := newLoop(shape.Dimensions, strides...)
	return c.emit(shape, -1, func(out []byte, in [][]byte) {
		switch all[1].width() {
		case 1:
			choose(of[uint8](out), of[bool](in[0]), of[uint8](in[1]), of[uint8](in[2]), l)
		case 2:
			choose(of[uint16](out), of[bool](in[0]), of[uint16](in[1]), of[uint16](in[2]), l)
		case 4:
			choose(of[uint32](out), of[bool](in[0]), of[uint32](in[1]), of[uint32](in[2]), l)
		case 8:
			choose(of[uint64](out), of[bool](in[0]), of[uint64](in[1]), of[uint64](in[2]), l)
		}
	}, all...), true
}

func choose[T any](dst []T, condition []bool, x, y []T, l loop) {
	last := len(l.dims)
	c, a, b := l.strides[1][last], l.strides[2][last], l.strides[3][last]
	l.run(func(at []int, n int) {
		for i := range n {
			if condition[at[1]+i*c] {
				dst[at[0]+i] = x[at[2]+i*a]
			} else {
				dst[at[0]+i] = y[at[3]+i*b]
			}
		}
	})
}

// convert changes the dtype.
func convert(c *compiler, call *call, in []view) (view, bool) {
	from, to := in[0].dtype, call.shape().DType
	if from == to {
		return in[0], true
	}
	f := conversions[[2]dtypes.DType{from, to}]
	if f == nil {
		return view{}, false
	}
	v := c.dense(in[0])
	out := c.emit(call.shape(), -1, f, v)
	if from == dtypes.Int8 {
		c.whole[out.place] = v
	}
	return out, true
}

// conversions are from one dtype to another.
var conversions = map[[2]dtypes.DType]func(out []byte, in [][]byte){
	{dtypes.BFloat16, dtypes.Float32}: converted(simd.Widen),
	{dtypes.Float32, dtypes.BFloat16}: converted(simd.Narrow),
	{dtypes.Int32, dtypes.Float32}:    converted(castTo[int32, float32]),
	{dtypes.Uint32, dtypes.Float32}:   converted(castTo[uint32, float32]),
	{dtypes.Int32, dtypes.Uint32}:     converted(castTo[int32, uint32]),
	{dtypes.Uint8, dtypes.Int32}:      converted(castTo[uint8, int32]),
	{dtypes.Int8, dtypes.Float32}:     converted(simd.WidenWhole),
	{dtypes.Int8, dtypes.BFloat16}: converted(func(dst []uint16, src []int8) {
		for i, x := range src { // seven bits fit
			dst[i] = uint16(math.Float32bits(float32(x)) >> 16)
		}
	}),
	{dtypes.Bool, dtypes.Float32}: converted(func(dst []float32, src []bool) {
		for i, x := range src {
			dst[i] = 0
			if x {
				dst[i] = 1
			}
		}
	}),
}

func castTo[T, R number](dst []R, src []T) {
	for i, x := range src {
		dst[i] = R(x)
	}
}

func converted[T, R any](f func(dst []R, src []T)) func(out []byte, in [][]byte) {
	return func(out []byte, in [][]byte) {
		dst, src := of[R](out), of[T](in[0])
		simd.Ranges(len(dst), grain, func(from, to int) { f(dst[from:to], src[from:to]) })
	}
}

// toFloat32 converts bfloat16 where that is what it is.
func (c *compiler) toFloat32(v view) view {
	if v.dtype != dtypes.BFloat16 {
		return v
	}
	v = c.dense(v)
	return c.emit(shapes.Make(dtypes.Float32, v.dims...), -1, converted(simd.Widen), v)
}

// toDType rounds float32 to bfloat16 where that is wanted.
func (c *compiler) toDType(v view, dtype dtypes.DType) view {
	if dtype != dtypes.BFloat16 {
		return v
	}
	return c.emit(shapes.Make(dtype, v.dims...), -1, converted(simd.Narrow), v)
}
