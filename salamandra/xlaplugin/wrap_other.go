//go:build !linux || !cgo || noxla

package xlaplugin

// Wrap does nothing: see the package's documentation.
func Wrap(func() map[string]string, func(name string, api uintptr) error, Options) {}

// Load does nothing.
func Load(string) (bool, error) { return false, nil }
