//go:build !linux || !cgo || noxla

package device

func trimMemory() {}
