//go:build cgo && !noxla

package main

import (
	"os"

	_ "github.com/gomlx/go-xla/compute/xla" // found by package device
	"github.com/gomlx/go-xla/pjrt"

	"github.com/impulse-salamandra/finetune/salamandra/xlaplugin"
)

// wrapPlugins has the plugins that package device opens wrapped.
func wrapPlugins() error {
	dir := os.Getenv(programsVar)
	opts := xlaplugin.Options{Dir: dir}
	if dir == "off" {
		opts = xlaplugin.Options{Forget: true}
	}
	return xlaplugin.Wrap(pjrt.AvailablePlugins, pjrt.RegisterPreloadedPlugin, opts)
}
