package xlacache_test

import (
	"log"
	"os"

	"github.com/impulse-salamandra/finetune/salamandra/xlacache"
)

// A service keeps its programs in a directory of its own. The last two arguments are
// pjrt.AvailablePlugins()["cpu"] and pjrt.RegisterPreloadedPlugin of
// github.com/gomlx/go-xla/pjrt.
func ExampleKeep() {
	plugin := "/usr/local/lib/go-xla/pjrt_c_api_cpu_plugin.so"
	var register func(name string, api uintptr) error
	if _, err := os.Stat(plugin); err != nil || register == nil {
		return // nothing to keep
	}
	if _, err := xlacache.Keep("cpu", plugin, xlacache.Options{Dir: "/var/cache/service/xla"}, register); err != nil {
		log.Print(err) // programs are compiled each time
	}
	// Output:
}
