package safetensors

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
)

// WriteFile stores one of the small files that accompany weights as Commit
// stores them: under a temporary name, synced, then renamed, so that the file
// is the old one or the new one whatever happens.
func WriteFile(path string, data []byte) error {
	f, err := createAtomic(path)
	if err != nil {
		return err
	}
	defer f.Abort()
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.Commit()
}

// An atomicFile is written under a temporary name and gets its own only when
// it is complete and on disk.
type atomicFile struct {
	*os.File
	path string
	done bool // committed or aborted
}

// createAtomic begins the file at path.
func createAtomic(path string) (*atomicFile, error) {
	for {
		name := fmt.Sprintf("%s.tmp-%08x", path, rand.Uint32())
		file, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o666)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		return &atomicFile{File: file, path: path}, nil
	}
}

// Commit syncs the file and renames it: without the sync a crash could leave an
// empty file under the new name.
func (f *atomicFile) Commit() error {
	if f.done {
		return fs.ErrClosed
	}
	err := f.Sync()
	if err == nil {
		err = f.Close()
	}
	if err == nil {
		err = Rename(f.Name(), f.path)
	}
	if err != nil {
		f.Abort()
		return err
	}
	f.done = true
	return nil
}

// Abort removes the file; after Commit it does nothing.
func (f *atomicFile) Abort() error {
	if f.done {
		return nil
	}
	f.done = true
	f.Close()
	return os.Remove(f.Name())
}

// Rename gives a finished file or directory its name, as [os.Rename] does, and
// makes that durable: without it a crash could bring the old name back.
func Rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(to))
	if err != nil {
		return err
	}
	defer dir.Close()
	err = dir.Sync()
	for _, cannot := range []error{errors.ErrUnsupported, fs.ErrPermission, syscall.EINVAL} {
		if errors.Is(err, cannot) { // directories cannot be synced here
			return nil
		}
	}
	return err
}
