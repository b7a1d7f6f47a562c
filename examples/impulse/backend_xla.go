//go:build cgo && !noxla

package main

import (
	"os"

	_ "github.com/gomlx/go-xla/compute/xla" // found by package device
	"github.com/gomlx/go-xla/pjrt"

	"github.com/impulse-salamandra/finetune/salamandra/xlaplugin"
)

// programsVar is where compiled programs are kept: a directory, or off.
const programsVar = "IMPULSE_XLA_CACHE"

// wrapPlugins has the plugins that package device opens wrapped.
func wrapPlugins() {
	dir := os.Getenv(programsVar)
	xlaplugin.Wrap(pjrt.AvailablePlugins, pjrt.RegisterPreloadedPlugin, xlaplugin.Options{Dir: dir, Forget: dir == "off"})
}
