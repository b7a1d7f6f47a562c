package simd

import (
	"math"

	"golang.org/x/sys/cpu"
)

// vectors reports whether the kernels of this architecture can run here.
var vectors = cpu.X86.HasAVX2 && cpu.X86.HasFMA

//go:noescape
func addVector(dst, a, b *float32, n, as, bs int)

//go:noescape
func subVector(dst, a, b *float32, n, as, bs int)

//go:noescape
func mulVector(dst, a, b *float32, n, as, bs int)

//go:noescape
func divVector(dst, a, b *float32, n, as, bs int)

//go:noescape
func expVector(dst, a *float32, n int)

//go:noescape
func logisticVector(dst, a *float32, n int)

//go:noescape
func sumVector(a *float32, n int, lanes *[32]float32)

//go:noescape
func maxVector(a *float32, n int, lanes *[32]float32) (nan bool)

//go:noescape
func widenVector(dst *float32, src *uint16, n int)

//go:noescape
func widenBytesVector(dst *float32, src *int8, n int)

//go:noescape
func transposeVector(panel, b *float32, stride, k int)

// packTransposed is [packTransposedGo], eight numbers of eight rows at a time.
func packTransposed(panel, b []float32, stride, k int) {
	whole := 0
	if vectors && k >= 8 {
		whole = k &^ 7
		_ = b[15*stride+k-1]
		transposeVector(&panel[0], &b[0], 4*stride, whole)
		transposeVector(&panel[8], &b[8*stride], 4*stride, whole)
	}
	if whole < k {
		packTransposedGo(panel[whole*tileColumns:], b[whole:], stride, k-whole)
	}
}

// vector does what the kernels can of [Binary.Apply], and says how many numbers.
func (op Binary) vector(dst, a, b []float32) int {
	n := len(dst) &^ 7
	if !vectors || n == 0 {
		return 0
	}
	var copies [2][8]float32
	as, bs := 32, 32
	if len(a) == 1 {
		for i := range copies[0] {
			copies[0][i] = a[0]
		}
		a, as = copies[0][:], 0
	} else {
		_ = a[len(dst)-1]
	}
	if len(b) == 1 {
		for i := range copies[1] {
			copies[1][i] = b[0]
		}
		b, bs = copies[1][:], 0
	} else {
		_ = b[len(dst)-1]
	}
	switch op {
	case Add:
		addVector(&dst[0], &a[0], &b[0], n, as, bs)
	case Sub:
		subVector(&dst[0], &a[0], &b[0], n, as, bs)
	case Mul:
		mulVector(&dst[0], &a[0], &b[0], n, as, bs)
	default:
		divVector(&dst[0], &a[0], &b[0], n, as, bs)
	}
	return n
}

// The functions that end in Whole do what the kernels can, and say how many numbers.

func expWhole(dst, a []float32) int {
	n := len(a) &^ 7
	if !vectors || n == 0 {
		return 0
	}
	_ = dst[len(a)-1]
	expVector(&dst[0], &a[0], n)
	return n
}

func logisticWhole(dst, a []float32) int {
	n := len(a) &^ 7
	if !vectors || n == 0 {
		return 0
	}
	_ = dst[len(a)-1]
	logisticVector(&dst[0], &a[0], n)
	return n
}

func sumWhole(sums *[lanes]float32, a []float32) int {
	n := len(a) &^ (lanes - 1)
	if !vectors || n == 0 {
		return 0
	}
	sumVector(&a[0], n, sums)
	return n
}

// maxWhole is the maximum of a multiple of 32 numbers.
func maxWhole(a []float32) float32 {
	if !vectors {
		return maxGo(a)
	}
	var tops [lanes]float32
	if maxVector(&a[0], len(a), &tops) {
		return float32(math.NaN())
	}
	return maxGo(tops[:])
}

func widenWhole(dst []float32, src []uint16) int {
	n := len(src) &^ 7
	if !vectors || n == 0 {
		return 0
	}
	_ = dst[len(src)-1]
	widenVector(&dst[0], &src[0], n)
	return n
}

func widenBytes(dst []float32, src []int8) int {
	n := len(src) &^ 7
	if !vectors || n == 0 {
		return 0
	}
	_ = dst[len(src)-1]
	widenBytesVector(&dst[0], &src[0], n)
	return n
}
