//go:build cgo && !noxla

package main

import (
	"os"
	"sync"

	_ "github.com/gomlx/go-xla/compute/xla" // found by package device
	"github.com/gomlx/go-xla/pjrt"

	"github.com/impulse-salamandra/finetune/salamandra/xlacache"
)

// keepPrograms keeps on disk what XLA compiles for the CPU, from the first call on.
var keepPrograms = sync.OnceValue(func() error {
	path, ok := pjrt.AvailablePlugins()["cpu"]
	dir := os.Getenv(programsVar)
	if !ok || dir == "off" {
		return nil
	}
	_, err := xlacache.Keep("cpu", path, xlacache.Options{Dir: dir}, pjrt.RegisterPreloadedPlugin)
	return err
})
