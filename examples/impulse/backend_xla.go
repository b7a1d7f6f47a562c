//go:build cgo && !noxla

package main

import "github.com/gomlx/go-xla/compute/xla"

const haveXLA = true

// xlaPlugins lists the PJRT plugins in the search path by name, such as "cpu"
// or "cuda".
func xlaPlugins() []string { return xla.GetAvailablePlugins() }
