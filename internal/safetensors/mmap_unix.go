//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package safetensors

import (
	"os"
	"syscall"
)

// mmap maps size bytes of a file for reading.
func mmap(file *os.File, size int) ([]byte, error) {
	return syscall.Mmap(int(file.Fd()), 0, size, syscall.PROT_READ, syscall.MAP_SHARED)
}

func munmap(data []byte) error { return syscall.Munmap(data) }
