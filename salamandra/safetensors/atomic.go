package safetensors

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
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

// Commit syncs the file, renames it and syncs its directory: without the first
// a crash can leave an empty file under the new name, without the last the old
// one.
func (f *atomicFile) Commit() error {
	if f.done {
		return fs.ErrClosed
	}
	err := f.Sync()
	if err == nil {
		err = f.Close()
	}
	if err == nil {
		err = os.Rename(f.Name(), f.path)
	}
	if err != nil {
		f.Abort()
		return err
	}
	f.done = true
	return syncDir(filepath.Dir(f.path))
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

// syncDir makes renames in a directory durable. Systems whose directories
// cannot be synced keep them durable by themselves.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return nil
}
