//go:build !amd64

package simd

// Without kernels all is left to Go.

func (op Binary) vector(_, _, _ []float32) int { return 0 }

func expWhole(_, _ []float32) int { return 0 }

func logisticWhole(_, _ []float32) int { return 0 }

func sumWhole(_ *[lanes]float32, _ []float32) int { return 0 }

func maxWhole(a []float32) float32 { return maxGo(a) }

func widenWhole(_ []float32, _ []uint16) int { return 0 }

func widenBytes(_ []float32, _ []int8) int { return 0 }

func packTransposed(panel, b []float32, stride, k int) { packTransposedGo(panel, b, stride, k) }
