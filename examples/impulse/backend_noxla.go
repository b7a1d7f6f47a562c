//go:build !cgo || noxla

package main

// keepPrograms does nothing in a program without XLA.
func keepPrograms() error { return nil }
