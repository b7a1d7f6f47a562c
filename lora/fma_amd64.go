package lora

import "golang.org/x/sys/cpu"

// hasFMA tells whether fmaColumns can be called.
func hasFMA() bool { return cpu.X86.HasAVX2 && cpu.X86.HasFMA }
