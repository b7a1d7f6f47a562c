// Package xlacache keeps the programs that XLA has compiled for the CPU on disk, so
// that a program that starts again need not compile them again.
//
//	import (
//		"github.com/gomlx/go-xla/pjrt"
//		_ "github.com/gomlx/go-xla/compute/xla"
//	)
//
//	_, err := xlacache.Keep("cpu", pjrt.AvailablePlugins()["cpu"], xlacache.Options{}, pjrt.RegisterPreloadedPlugin)
//	m, err := finetune.Open(ctx, "models/impulse", finetune.Options{})
//
// It stands between go-xla and the plugin: PJRT's table of functions is copied, and
// the copy compiles by looking into a directory first. A file is found by a hash of
// all that a program follows from: its text, the compiler's options and XLA_FLAGS,
// the plugin, the processor and its cores. What is read was written by the same
// plugin and is checked by its own hash; whatever does not fit is compiled.
//
// It is for Linux with cgo; elsewhere, and in a program built with the tag noxla,
// [Keep] does nothing.
package xlacache

// Options say where programs are kept. The zero value is the default.
type Options struct {
	// Dir is the directory, which nobody else may be able to write to: what is in it
	// is run. "" is impulse/xla in the user's cache directory, ~/.cache on Linux.
	Dir string
	// Bytes is how large it may grow: the programs that were not used for longest
	// are removed. 0 is 2 GiB.
	Bytes int64
}
