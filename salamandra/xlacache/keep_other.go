//go:build !linux || !cgo || noxla

package xlacache

// Keep does nothing: see the package's documentation.
func Keep(string, string, Options, func(name string, api uintptr) error) (bool, error) {
	return false, nil
}
