//go:build linux && cgo && !noxla

package main

import (
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/impulse-salamandra/finetune/salamandra/device"
)

// tuneAllocator starts the program anew with the settings of the allocator that
// suit XLA (docs/measurements.md) where that may run on the CPU, unless the
// environment has settings of its own. It returns where there is nothing to do, or
// where that fails.
func tuneAllocator() {
	set := os.Getenv(tunablesVar)
	if strings.Contains(set, "glibc.malloc.") || !slices.Contains(device.Plugins(), "cpu") {
		return
	}
	if set != "" {
		set += ":"
	}
	self, err := os.Executable()
	if err != nil {
		return
	}
	if err = os.Setenv(tunablesVar, set+device.GlibcTunables); err == nil {
		_ = syscall.Exec(self, os.Args, os.Environ())
	}
}
