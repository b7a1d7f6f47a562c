package update

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/internal/safetensors"
)

// One entry each of A and B, so that the answer is known by eye.
func TestMergeRows(t *testing.T) {
	oneHot := func(rows, cols, i, j int, v float32) []float32 {
		m := make([]float32, rows*cols)
		m[i*cols+j] = v
		return m
	}
	tests := []struct {
		name    string
		base    []float32 // [2, 3]
		factors Factors
		scale   float64
		to      safetensors.Dtype
		want    []float32
		tally   Tally
		reason  string
	}{
		{
			name: "one entry", base: []float32{1, 2, 3, 4, 5, 6}, scale: 2, to: safetensors.F32,
			factors: Factors{A: oneHot(2, 3, 1, 2, 0.5), B: oneHot(2, 2, 0, 1, 3)},
			want:    []float32{1, 2, 6, 4, 5, 6}, tally: Tally{Squares: 9, Updates: 1, Changed: 1},
			reason: "3 * 0.5 * 2 at [0, 2]",
		},
		{
			name: "ranks do not meet", base: []float32{1, 2, 3, 4, 5, 6}, scale: 2, to: safetensors.F32,
			factors: Factors{A: oneHot(2, 3, 0, 2, 0.5), B: oneHot(2, 2, 0, 1, 3)},
			want:    []float32{1, 2, 3, 4, 5, 6}, tally: Tally{},
			reason: "A has rank 0, B rank 1",
		},
		{
			name: "lost to rounding", base: []float32{1, 2, 3, 4, 5, 256}, scale: 1, to: safetensors.BF16,
			factors: Factors{A: oneHot(2, 3, 0, 2, 0.5), B: oneHot(2, 2, 1, 0, 1)},
			want:    []float32{1, 2, 3, 4, 5, 256}, tally: Tally{Squares: 0.25, Updates: 1},
			reason: "bfloat16 has steps of 2 at 256",
		},
		{
			name: "overflow", base: []float32{1, 2, 3, 4, 5, 65504}, scale: 1, to: safetensors.F16,
			factors: Factors{A: oneHot(2, 3, 0, 2, 64), B: oneHot(2, 2, 1, 0, 1)},
			want:    []float32{1, 2, 3, 4, 5, float32(math.Inf(1))}, tally: Tally{Squares: 4096, Updates: 1, Changed: 1, NotFinite: 1},
			reason: "the largest float16 is 65504",
		},
		{
			name: "magnitude", base: []float32{3, 4, 0, 1, 0, 0}, scale: 1, to: safetensors.F32,
			factors: Factors{A: oneHot(2, 3, 0, 0, 1), B: oneHot(2, 2, 1, 0, 1), Magnitude: []float32{10, 2}},
			want:    []float32{6, 8, 0, 2, 0, 0}, tally: Tally{Squares: 9 + 16 + 1, Updates: 3, Changed: 3},
			reason: "row 0 has length 5 and shall have 10; row 1 becomes [2 0 0], of length 2",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.factors.Name, test.factors.Rank, test.factors.In, test.factors.Out = "q", 2, 3, 2
			src, dst := make([]byte, 24), make([]byte, 6*test.to.Size())
			require.NoError(t, safetensors.EncodeFloat32(src, test.base, safetensors.F32))
			m := Sum([]Part{{test.factors, test.scale, 1}}).Merger(safetensors.F32, test.to)
			var got Tally
			size := 3 * test.to.Size()
			for i := range 2 {
				require.NoError(t, m.Merge(&got, i, dst[i*size:(i+1)*size], src[i*12:(i+1)*12]))
			}
			values := make([]float32, 6)
			require.NoError(t, safetensors.DecodeFloat32(values, dst, test.to))
			require.Equal(t, test.want, values, test.reason)
			require.Equal(t, test.tally, got, test.reason)
		})
	}
}

func TestRowNorm(t *testing.T) {
	require.Equal(t, float32(5), rowNorm([]float32{3, 4}))
	require.Equal(t, float32(0), rowNorm(make([]float32, 20)))
	row := make([]float32, 17)
	row[0], row[8], row[16] = 1, 2, 2
	require.Equal(t, float32(3), rowNorm(row), "two whole blocks and the rest")
	// 2^12 squared and 1 in the same lane: the 1 is lost in float32. In another
	// lane it is lost when the lanes are added.
	row[0], row[8], row[16] = 1<<12, 1, 0
	require.Equal(t, float32(1<<12), rowNorm(row))
}
