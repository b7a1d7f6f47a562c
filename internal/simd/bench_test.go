package simd

import (
	"fmt"
	"testing"
)

// BenchmarkMultiply multiplies matrices of the sizes that training and generation have: x·Wᵀ
// unless said otherwise.
func BenchmarkMultiply(b *testing.B) {
	for _, row := range []struct {
		products, m, n, k int
		byRows            bool
	}{
		{1, 1, 576, 576, false}, {1, 1, 1536, 576, false}, {1, 1, 49152, 576, false}, {1, 16, 1536, 576, false}, {1, 20, 512, 192, false}, {1, 2152, 192, 512, false}, {1, 2152, 512, 192, true},
		{1, 16, 512, 2152, true}, {1, 2152, 16, 192, false}, {1, 2152, 192, 16, true},
		{16, 792, 264, 32, false}, {16, 792, 32, 264, true}, {1, 1140, 1536, 576, false}, {1, 1140, 576, 1536, false},
	} {
		b.Run(fmt.Sprintf("%dx%dx%dx%d/%v", row.products, row.m, row.n, row.k, row.byRows), func(b *testing.B) {
			x, y, c := make([]float32, row.products*row.m*row.k), make([]float32, row.products*row.k*row.n), make([]float32, row.products*row.m*row.n)
			for i := range x {
				x[i] = float32(i % 7)
			}
			for i := range y {
				y[i] = float32(i % 5)
			}
			for b.Loop() {
				Multiply(row.products, func(i int) Product {
					p := Product{C: c[i*row.m*row.n:], A: Matrix{Data: x[i*row.m*row.k:], Row: row.k, Column: 1}}
					if row.byRows {
						p.B = Matrix{Data: y[i*row.k*row.n:], Row: row.n, Column: 1}
					} else {
						p.B = Matrix{Data: y[i*row.k*row.n:], Row: 1, Column: row.k}
					}
					return p
				}, row.m, row.n, row.k)
			}
			b.ReportMetric(2*float64(row.products*row.m*row.n*row.k)/b.Elapsed().Seconds()*float64(b.N)/1e9, "GFLOP/s")
		})
	}
}
