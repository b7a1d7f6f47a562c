//go:build !windows

package hub

import (
	"errors"
	"os"
	"syscall"
)

// tryLock takes the lock that the Python tools take too. It returns nil, nil if
// another holds it. The kernel frees it when the process ends, however it ends;
// the file stays.
func tryLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return f, nil
	}
	f.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) || errors.Is(err, syscall.EINTR) {
		return nil, nil
	}
	return nil, err
}
