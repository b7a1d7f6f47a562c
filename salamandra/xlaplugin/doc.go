// Package xlaplugin stands between go-xla and its plugins, and lets programs do what
// go-xla does not let them:
//
//   - What a program is given up (salamandra.Donate) its results lie in. So the
//     optimiser, the cache of generation and the activations between blocks are changed
//     in place.
//   - What XLA has compiled for the CPU is kept on disk, so that a program that
//     starts again need not compile it again.
//
// A program calls [Wrap] before it opens a model or a device; nothing else changes:
//
//	import (
//		"github.com/gomlx/go-xla/pjrt"
//		_ "github.com/gomlx/go-xla/compute/xla"
//	)
//
//	xlaplugin.Wrap(pjrt.AvailablePlugins, pjrt.RegisterPreloadedPlugin, xlaplugin.Options{})
//	m, err := finetune.Open(ctx, "models/impulse", finetune.Options{})
//
// PJRT's table of functions is copied, and in the copy compiling is this package's: it
// writes into a program's text which results may lie in which arguments, and for the
// CPU looks into a directory before it compiles. A file there is found by a hash of
// all that a program follows from: the text, as it was rewritten, the compiler's options
// and XLA_FLAGS, the plugin, the processor and its cores. What is read was written by the
// same plugin and is checked by its own hash; whatever does not fit is compiled. For a GPU
// nothing is kept: which kernels XLA chooses there depends on the driver and on what it
// measured.
//
// It is for Linux with cgo; elsewhere, and in a program built with the tag noxla,
// [Wrap] does nothing, and all works without it.
package xlaplugin

// Options say where programs for the CPU are kept. The zero value is the default.
type Options struct {
	// Dir is the directory, which nobody else may be able to write to: what is in it
	// is run. "" is impulse/xla in the user's cache directory, ~/.cache on Linux.
	Dir string
	// Bytes is how large it may grow: the programs that were not used for longest
	// are removed. 0 is 2 GiB.
	Bytes int64
	// Forget keeps no programs.
	Forget bool
}
