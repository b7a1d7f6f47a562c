//go:build cgo && !noxla

package salamandratest

import (
	"sync"

	_ "github.com/gomlx/go-xla/compute/xla" // used where GOMLX_BACKEND names a plugin
	"github.com/gomlx/go-xla/pjrt"

	"github.com/impulse-salamandra/finetune/salamandra/xlacache"
)

const haveXLA = true

// keepPrograms has XLA's CPU plugin keep its programs in the user's cache: tests
// compile the same ones many times.
var keepPrograms = sync.OnceValue(func() error {
	path, ok := pjrt.AvailablePlugins()["cpu"]
	if !ok {
		return nil
	}
	_, err := xlacache.Keep("cpu", path, xlacache.Options{}, pjrt.RegisterPreloadedPlugin)
	return err
})
