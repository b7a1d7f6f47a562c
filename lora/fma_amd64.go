package lora

import "golang.org/x/sys/cpu"

// hasFMA tells whether fmaColumns can be called.
func hasFMA() bool { return cpu.X86.HasAVX2 && cpu.X86.HasFMA }

// hasBrainBlocks tells whether shiftBrainBlocks can be called.
func hasBrainBlocks() bool { return cpu.X86.HasAVX2 }

// shiftBrainBlocks is shiftBrainEach for n elements, a multiple of lanes. It
// sets squares and counts.
//
//go:noescape
func shiftBrainBlocks(dst, src *byte, update *float32, n int, squares *[lanes]float64, counts *brainCounts)
