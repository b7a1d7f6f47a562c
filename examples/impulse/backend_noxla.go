//go:build !cgo || noxla

package main

const haveXLA = false

func xlaPlugins() []string { return nil }
