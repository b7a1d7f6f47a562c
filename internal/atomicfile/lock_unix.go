//go:build darwin || dragonfly || freebsd || linux

package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// lockDir locks a directory until the file is closed or the process ends. It
// fails with ErrBusy if another process holds it, with fs.ErrNotExist if it is
// gone, and with errors.ErrUnsupported where directories cannot be locked, as
// on some network file systems.
func lockDir(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err = lock(f); err == nil {
		err = sameDir(f, dir)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// lockFile locks the file at path, which it makes, as lockDir does a directory.
// The file stays.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	if err := lock(f); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// lock locks an open file or directory.
func lock(f *os.File) error {
	for {
		switch err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); {
		case err == nil:
			return nil
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.EWOULDBLOCK):
			return ErrBusy
		default:
			return errors.ErrUnsupported
		}
	}
}

// sameDir reports fs.ErrNotExist unless dir is still the directory opened as f.
func sameDir(f *os.File, dir string) error {
	opened, err := f.Stat()
	if err != nil {
		return err
	}
	now, err := os.Stat(dir)
	if err == nil && !os.SameFile(opened, now) {
		return fs.ErrNotExist
	}
	return err
}

// freeSpace returns the bytes that this user may still write on the disk of
// dir.
func freeSpace(dir string) (uint64, error) {
	var stat syscall.Statfs_t
	if err := syscall.Statfs(dir, &stat); err != nil {
		return 0, err
	}
	return uint64(max(0, int64(stat.Bavail))) * uint64(stat.Bsize), nil
}
