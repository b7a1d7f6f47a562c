//go:build !amd64

package update

func hasBF16Blocks() bool { return false }

func shiftBF16Blocks(dst, src *byte, update *float32, n int, squares *[lanes]float64, counts *bf16Counts) {
	panic("update: no vectors of bfloat16 here")
}
