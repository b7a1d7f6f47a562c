//go:build cgo && !noxla

package salamandratest

import (
	_ "github.com/gomlx/go-xla/compute/xla" // used where GOMLX_BACKEND names a plugin
	"github.com/gomlx/go-xla/pjrt"

	"github.com/impulse-salamandra/finetune/salamandra/xlaplugin"
)

const haveXLA = true

// wrapPlugin has the programs of an XLA plugin work in place, and those for the CPU
// kept in the user's cache: tests compile the same ones many times. It returns the
// plugin's file.
func wrapPlugin(name string) (path string, err error) {
	path = pjrt.AvailablePlugins()[name]
	xlaplugin.Wrap(pjrt.AvailablePlugins, pjrt.RegisterPreloadedPlugin, xlaplugin.Options{})
	_, err = xlaplugin.Load(name)
	return path, err
}
