// Package device opens the backend that models run on: the one that is asked
// for, or the best that this machine has, of those the program imports.
//
//	import _ "github.com/gomlx/compute/gobackend"   // pure Go, always works
//	import _ "github.com/gomlx/go-xla/compute/xla"  // XLA, where cgo is
//
//	d, err := device.Open("auto")
//	defer d.Close()
//	fmt.Println(d) // backend xla:cuda (CUDA plugin and NVIDIA GPU found)
//
// The package imports no backend itself, downloads nothing and prints nothing.
package device
