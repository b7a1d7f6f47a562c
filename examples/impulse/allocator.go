//go:build linux && cgo && !noxla

package main

// #include <stdlib.h>
// #ifdef __GLIBC__
// #include <malloc.h>
// static void trim(void) { malloc_trim(0); }
// #else
// static void trim(void) {}
// #endif
import "C"

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// XLA on a CPU takes the memory of its products from glibc, which by default
// keeps what it is given back, in pieces of many sizes: two thirds of a training
// run's memory in bfloat16. With these settings arrays go back to the system at
// once, and come from it in huge pages, which makes up for the time
// (docs/benchmarks.md). glibc reads them when a program starts and not later.
const tunables = "glibc.malloc.mmap_threshold=4194304:glibc.malloc.arena_max=2:glibc.malloc.hugetlb=1"

// tuneAllocator starts the program anew with those settings where XLA may run on
// the CPU, unless the environment has settings of its own. It returns where there
// is nothing to do, or where that fails.
func tuneAllocator() {
	set := os.Getenv(tunablesVar)
	if strings.Contains(set, "glibc.malloc.") || !cpuPluginFile() {
		return
	}
	if set != "" {
		set += ":"
	}
	self, err := os.Executable()
	if err != nil {
		return
	}
	if err = os.Setenv(tunablesVar, set+tunables); err == nil {
		_ = syscall.Exec(self, os.Args, os.Environ())
	}
}

// cpuPluginFile tells whether there is a plugin for the CPU where go-xla looks
// first, without loading it.
func cpuPluginFile() bool {
	dirs := filepath.SplitList(os.Getenv("PJRT_PLUGIN_LIBRARY_PATH"))
	if len(dirs) == 0 {
		dirs = []string{"/usr/local/lib/go-xla", filepath.Join(os.Getenv("HOME"), ".local/lib/go-xla")}
	}
	return slices.ContainsFunc(dirs, func(dir string) bool {
		files, err := filepath.Glob(filepath.Join(dir, "pjrt*cpu*.so"))
		return err == nil && len(files) > 0
	})
}

// trimMemory gives back what compiling took, of which glibc keeps most: small
// pieces lie between those still needed.
func trimMemory() { C.trim() }
