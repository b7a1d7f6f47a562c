//go:build cgo && !noxla

package main

import "github.com/gomlx/go-xla/compute/xla"

const haveXLA = true

// xlaPlugins lists the PJRT plugins in the search path by name, such as "cpu"
// or "cuda". It finds none where one of them is broken, of which go-xla prints the
// reason before it panics.
func xlaPlugins() (names []string) {
	defer func() { _ = recover() }()
	return xla.GetAvailablePlugins()
}
