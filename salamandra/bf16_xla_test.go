//go:build cgo && !noxla

package salamandra

import _ "github.com/gomlx/go-xla/compute/xla" // used where GOMLX_BACKEND names a plugin
