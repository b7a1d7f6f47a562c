//go:build cgo && !noxla

package salamandratest

import _ "github.com/gomlx/go-xla/compute/xla" // used where GOMLX_BACKEND names a plugin

const haveXLA = true
