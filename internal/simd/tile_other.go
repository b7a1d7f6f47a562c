//go:build !amd64 && !arm64

package simd

var vectors = false

func tile(rows int, c []float32, ldc int, a []float32, lda int, b []float32, k int, add bool) {
	tileGo(rows, c, ldc, a, lda, b, k, add)
}
