package update

import "golang.org/x/sys/cpu"

// hasFMA reports whether fmaColumns can be called.
func hasFMA() bool { return cpu.X86.HasAVX2 && cpu.X86.HasFMA }

// hasBF16Blocks reports whether shiftBF16Blocks can be called.
func hasBF16Blocks() bool { return cpu.X86.HasAVX2 }

// shiftBF16Blocks is shiftBF16Each for n elements, a multiple of lanes. It
// sets squares and counts.
//
//go:noescape
func shiftBF16Blocks(dst, src *byte, update *float32, n int, squares *[lanes]float64, counts *bf16Counts)
