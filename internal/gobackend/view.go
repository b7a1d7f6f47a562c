package gobackend

import (
	"slices"
	"unsafe"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"

	"github.com/impulse-salamandra/finetune/internal/simd"
)

// place is where the bytes of a value are: an input, an output or a constant of the
// program, or a range of its arena.
type place struct {
	kind  placeKind
	index int    // which input or output
	bytes []byte // of a constant

	size        int // in bytes
	offset      int // in the arena
	first, last int // steps that write and, as the last, read it
}

type placeKind int

const (
	inArena placeKind = iota
	isInput
	isOutput
	isConstant
)

// view is a value: numbers of a place, by steps of strides (in elements) from offset.
type view struct {
	place   *place
	dtype   dtypes.DType
	dims    []int
	strides []int
	offset  int
}

// denseStrides are the strides of an array without gaps.
func denseStrides(dims []int) []int {
	strides := make([]int, len(dims))
	step := 1
	for i := len(dims) - 1; i >= 0; i-- {
		strides[i] = step
		step *= dims[i]
	}
	return strides
}

func size(dims []int) int {
	n := 1
	for _, d := range dims {
		n *= d
	}
	return n
}

func denseView(p *place, shape shapes.Shape) view {
	return view{place: p, dtype: shape.DType, dims: shape.Dimensions, strides: denseStrides(shape.Dimensions)}
}

// width is the size of an element in bytes.
func (v view) width() int { return v.dtype.Size() }

// dense reports whether the elements follow one another.
func (v view) dense() bool {
	step := 1
	for i := len(v.dims) - 1; i >= 0; i-- {
		if v.dims[i] != 1 && v.strides[i] != step {
			return false
		}
		step *= v.dims[i]
	}
	return true
}

// permuted has its axes in another order.
func (v view) permuted(axes []int) view {
	r := v
	r.dims, r.strides = make([]int, len(axes)), make([]int, len(axes))
	for i, a := range axes {
		r.dims[i], r.strides[i] = v.dims[a], v.strides[a]
	}
	return r
}

// broadcast stretches axes of length 1, and single numbers, to dims.
func (v view) broadcast(dims []int) view {
	r := v
	r.dims, r.strides = dims, make([]int, len(dims))
	if len(v.dims) == 0 {
		return r
	}
	for i := range dims {
		if v.dims[i] == dims[i] {
			r.strides[i] = v.strides[i]
		}
	}
	return r
}

// merged is one stride for all of these axes, if there is one.
func (v view) merged(axes []int) (stride int, ok bool) {
	step := 0
	for _, a := range slices.Backward(axes) {
		switch {
		case v.dims[a] == 1:
			continue
		case step == 0:
			stride = v.strides[a]
			if stride == 0 && len(axes) > 1 {
				return 0, false
			}
		case v.strides[a] != step:
			return 0, false
		}
		step = v.strides[a] * v.dims[a]
	}
	return stride, true
}

// loop runs through the elements of arrays of one shape: axes that all arrays have
// in one go are merged, the last one is left to a kernel.
type loop struct {
	dims    []int   // without the last axis
	strides [][]int // of each array, the last axis included
	n       int     // length of the last axis
	cost    int     // elements that a call of the kernel is worth, n if 0
}

func newLoop(dims []int, strides ...[]int) loop {
	l := loop{n: 1, strides: make([][]int, len(strides))}
	var kept []int
	for i := range dims {
		if dims[i] == 1 {
			continue
		}
		if last := len(kept) - 1; last >= 0 {
			joined := true
			for j, s := range strides {
				joined = joined && l.strides[j][last] == s[i]*dims[i]
			}
			if joined {
				kept[last] *= dims[i]
				for j, s := range strides {
					l.strides[j][last] = s[i]
				}
				continue
			}
		}
		kept = append(kept, dims[i])
		for j, s := range strides {
			l.strides[j] = append(l.strides[j], s[i])
		}
	}
	if len(kept) == 0 {
		kept = []int{1}
		for j := range strides {
			l.strides[j] = []int{1}
		}
	}
	last := len(kept) - 1
	l.dims, l.n = kept[:last], kept[last]
	return l
}

// grain is how many elements are worth a processor of their own.
const grain = 1 << 14

// run calls the kernel with where in each array a row of n elements begins.
func (l loop) run(kernel func(at []int, n int)) {
	rows := size(l.dims)
	if rows == 1 {
		simd.Ranges(l.n, grain, func(from, to int) {
			at := make([]int, len(l.strides))
			for j, s := range l.strides {
				at[j] = from * s[len(s)-1]
			}
			kernel(at, to-from)
		})
		return
	}
	simd.Ranges(rows, max(1, grain/max(1, l.n, l.cost)), func(from, to int) {
		at, index := make([]int, len(l.strides)), make([]int, len(l.dims))
		for i, rest := len(l.dims)-1, from; i >= 0; i-- {
			index[i], rest = rest%l.dims[i], rest/l.dims[i]
			for j, s := range l.strides {
				at[j] += index[i] * s[i]
			}
		}
		for range to - from {
			kernel(at, l.n)
			for i := len(l.dims) - 1; i >= 0; i-- {
				index[i]++
				for j, s := range l.strides {
					at[j] += s[i]
				}
				if index[i] < l.dims[i] {
					break
				}
				for j, s := range l.strides {
					at[j] -= index[i] * s[i]
				}
				index[i] = 0
			}
		}
	})
}

// copyStrided lays elements of width bytes out without gaps. Where the source goes
// through memory in another order than the result, squares are copied, so that both
// stay in the cache.
func copyStrided(dst, src []byte, width int, dims, strides []int) {
	switch width {
	case 1:
		copyElements[uint8](of[uint8](dst), of[uint8](src), dims, strides)
	case 2:
		copyElements[uint16](of[uint16](dst), of[uint16](src), dims, strides)
	case 4:
		copyElements[uint32](of[uint32](dst), of[uint32](src), dims, strides)
	case 8:
		copyElements[uint64](of[uint64](dst), of[uint64](src), dims, strides)
	}
}

func copyElements[T any](dst, src []T, dims, strides []int) {
	l := newLoop(dims, denseStrides(dims), strides)
	last := len(l.dims)
	step := l.strides[1][last]
	switch step {
	case 1:
		l.run(func(at []int, n int) { copy(dst[at[0]:at[0]+n], src[at[1]:]) })
		return
	case 0:
		l.run(func(at []int, n int) {
			to, x := dst[at[0]:at[0]+n], src[at[1]]
			for i := range to {
				to[i] = x
			}
		})
		return
	}
	near := slices.Index(l.strides[1][:last], 1)
	if near < 0 {
		l.run(func(at []int, n int) {
			to, from := dst[at[0]:at[0]+n], at[1]
			for i := range to {
				to[i] = src[from+i*step]
			}
		})
		return
	}
	// Squares of the axis that is last in the result and the one that is in the source.
	const side = 16
	rows, n, toStep := l.dims[near], l.n, l.strides[0][near]
	squares := loop{n: 1, cost: side * n, strides: make([][]int, 3)}
	for i, d := range l.dims {
		if i != near {
			squares.dims = append(squares.dims, d)
			for j := range l.strides {
				squares.strides[j] = append(squares.strides[j], l.strides[j][i])
			}
			squares.strides[2] = append(squares.strides[2], 0)
		}
	}
	squares.dims = append(squares.dims, (rows+side-1)/side)
	for j, step := range []int{side * toStep, side, side} {
		squares.strides[j] = append(squares.strides[j], step, 0)
	}
	squares.run(func(at []int, _ int) {
		high := min(side, rows-at[2])
		for j0 := 0; j0 < n; j0 += side {
			wide := min(side, n-j0)
			for i := range high {
				to, from := dst[at[0]+i*toStep+j0:][:wide], at[1]+i+j0*step
				for j := range to {
					to[j] = src[from+j*step]
				}
			}
		}
	})
}

// of views bytes as numbers.
func of[T any](b []byte) []T {
	if len(b) == 0 {
		return nil
	}
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/int(unsafe.Sizeof(*new(T))))
}
