package xlaplugin_test

import "github.com/impulse-salamandra/finetune/salamandra/xlaplugin"

// A service keeps its programs in a directory of its own. The first two arguments are
// pjrt.AvailablePlugins and pjrt.RegisterPreloadedPlugin of
// github.com/gomlx/go-xla/pjrt.
func ExampleWrap() {
	available := func() map[string]string { return nil }
	register := func(name string, api uintptr) error { return nil }
	xlaplugin.Wrap(available, register, xlaplugin.Options{Dir: "/var/cache/service/xla"})
	// Output:
}
