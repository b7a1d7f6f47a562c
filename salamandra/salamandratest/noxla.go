//go:build !cgo || noxla

package salamandratest

const haveXLA = false
