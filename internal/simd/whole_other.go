//go:build !amd64

package simd

func wholeTile(_ int, _ []float32, _ int, _ []float32, _ int, _ []int8, _ int, _ bool) bool {
	return false
}
