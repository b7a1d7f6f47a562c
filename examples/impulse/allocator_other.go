//go:build !linux || !cgo || noxla

package main

func tuneAllocator() {}
