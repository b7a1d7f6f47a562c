//go:build !cgo || noxla

package main

// wrapPlugins does nothing in a program without XLA.
func wrapPlugins() {}
