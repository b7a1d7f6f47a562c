package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
)

// Write stores a small file under a temporary name, syncs and renames it, so that
// the file is the old one or the new one whatever happens.
func Write(path string, data []byte) error {
	f, err := Create(path)
	if err != nil {
		return err
	}
	defer f.Abort()
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.Commit()
}

// A File is written under a temporary name and gets its own only when
// it is complete and on disk. The caller ends with Commit, and defers Abort,
// which then does nothing.
type File struct {
	*os.File
	path string
	done bool // committed or aborted
}

// Create begins the file at path, which may be of any format. It refuses to
// take the place of what is no regular file, such as a device or a directory,
// with [fs.ErrInvalid]; a symbolic link stays and the file it leads to is
// replaced.
func Create(path string) (*File, error) {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		info, err := os.Stat(target)
		if err != nil {
			return nil, err
		}
		if !info.Mode().IsRegular() {
			return nil, &fs.PathError{Op: "replace", Path: path, Err: fmt.Errorf("%w: not a regular file", fs.ErrInvalid)}
		}
		path = target
	}
	for {
		name := fmt.Sprintf("%s.tmp-%08x", path, rand.Uint32())
		file, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o666)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		return &File{File: file, path: path}, nil
	}
}

// Commit syncs the file and gives it its name, replacing what had it: without
// the sync a crash could leave an empty file under the new name.
func (f *File) Commit() error {
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

// Abort removes the unfinished file; after Commit it does nothing.
func (f *File) Abort() error {
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
