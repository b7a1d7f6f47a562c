//go:build !(darwin || dragonfly || freebsd || linux || windows)

package atomicfile

import (
	"errors"
	"os"
)

// lockDir fails: the standard library cannot lock directories here.
func lockDir(string) (*os.File, error) { return nil, errors.ErrUnsupported }

// lockFile fails: the standard library cannot lock files here.
func lockFile(string) (*os.File, error) { return nil, errors.ErrUnsupported }

// freeSpace fails: the standard library cannot tell it here.
func freeSpace(string) (uint64, error) { return 0, errors.ErrUnsupported }
