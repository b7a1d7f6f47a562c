//go:build !amd64

package lora

func hasBrainBlocks() bool { return false }

func shiftBrainBlocks(dst, src *byte, update *float32, n int, squares *[lanes]float64, counts *brainCounts) {
	panic("lora: no vectors of bfloat16 here")
}
