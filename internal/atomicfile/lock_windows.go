package atomicfile

import (
	"errors"
	"os"
	"syscall"
)

// errSharing is ERROR_SHARING_VIOLATION: the file is open elsewhere.
const errSharing = syscall.Errno(32)

// lockFile opens the file at path, which it makes, so that no other process can.
// It fails with ErrBusy if another has it open. Windows frees it when the process
// ends; the file stays.
func lockFile(path string) (*os.File, error) {
	name, err := syscall.UTF16PtrFromString(path)
	if err != nil {
		return nil, err
	}
	h, err := syscall.CreateFile(name, syscall.GENERIC_READ|syscall.GENERIC_WRITE, 0, nil,
		syscall.OPEN_ALWAYS, syscall.FILE_ATTRIBUTE_NORMAL, 0)
	if errors.Is(err, errSharing) {
		return nil, ErrBusy
	}
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(h), path), nil
}

// lockDir fails: Windows opens no directories this way.
func lockDir(string) (*os.File, error) { return nil, errors.ErrUnsupported }

// freeSpace fails: the standard library cannot tell it here.
func freeSpace(string) (uint64, error) { return 0, errors.ErrUnsupported }
