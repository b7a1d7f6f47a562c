package safetensors

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
)

// A File is an open safetensors file. It may be used by several goroutines at
// once, but not during or after Close.
type File struct {
	path     string
	metadata map[string]string
	infos    []Info // by name
	data     map[string]span
	mapped   []byte // the whole file, nil where it is read instead
	file     *os.File
	closed   bool
}

// span is the place of a tensor in its file.
type span struct{ begin, end int }

// Open checks the header of the file at path and maps its data into memory,
// or, where the system cannot map files, prepares to read it. The error lists
// every fault found, each an [Error].
//
// The file must not change while it is open: a mapped file that is truncated
// by another process takes the program down.
func Open(path string) (*File, error) { return open(path, true) }

// open is Open with a choice for the tests.
func open(path string, mapping bool) (*File, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	h, start, size, err := readHeader(path, file)
	if err != nil {
		file.Close()
		return nil, err
	}
	f := &File{path: path, metadata: h.metadata, data: make(map[string]span, len(h.entries)), file: file}
	for _, e := range h.entries {
		f.infos = append(f.infos, e.Info)
		f.data[e.Name] = span{start + e.begin, start + e.end}
	}
	slices.SortFunc(f.infos, func(a, b Info) int { return cmp.Compare(a.Name, b.Name) })
	if mapping {
		if f.mapped, err = mmap(file, size); err != nil {
			f.mapped = nil
		}
	}
	return f, nil
}

// readHeader reads and checks a file up to its data, and returns the header,
// where the data begins and the size of the file.
func readHeader(path string, file *os.File) (h header, start, size int, err error) {
	fail := func(err error) (header, int, int, error) {
		return header{}, 0, 0, &Error{Path: path, Err: err}
	}
	stat, err := file.Stat()
	if err != nil {
		return fail(err)
	}
	size = int(stat.Size())
	if int64(size) != stat.Size() {
		return fail(fmt.Errorf("%w: file of %d bytes", ErrOverflow, stat.Size()))
	}
	var length [lengthSize]byte
	if size < len(length) {
		return fail(fmt.Errorf("%w: %d bytes", ErrTruncated, size))
	}
	if _, err := file.ReadAt(length[:], 0); err != nil {
		return fail(err)
	}
	n := binary.LittleEndian.Uint64(length[:])
	if n < uint64(len("{}")) || n > MaxHeaderSize {
		return fail(fmt.Errorf("%w: %d, want 2 to %d", ErrHeaderSize, n, MaxHeaderSize))
	}
	if n > uint64(size-len(length)) {
		return fail(fmt.Errorf("%w: header of %d bytes in a file of %d", ErrTruncated, n, size))
	}
	text := make([]byte, n)
	if _, err := file.ReadAt(text, int64(len(length))); err != nil {
		return fail(err)
	}
	start = len(length) + len(text)
	h, err = parseHeader(path, text, size-start)
	return h, start, size, err
}

// Path returns the path the file was opened with.
func (f *File) Path() string { return f.path }

// Metadata returns a copy of the text entries of the header, such as
// {"format":"pt"}; nil if it has none.
func (f *File) Metadata() map[string]string { return maps.Clone(f.metadata) }

// Tensors returns a description of every tensor, sorted by name.
func (f *File) Tensors() []Info { return slices.Clone(f.infos) }

// Info returns the description of a tensor and whether there is one.
func (f *File) Info(name string) (Info, bool) { return find(f.infos, name) }

// find looks a tensor up in a slice sorted by name.
func find(infos []Info, name string) (Info, bool) {
	i, ok := slices.BinarySearchFunc(infos, name, func(i Info, name string) int { return cmp.Compare(i.Name, name) })
	if !ok {
		return Info{}, false
	}
	return infos[i], true
}

// place returns where a tensor is.
func (f *File) place(name string) (span, error) {
	s, ok := f.data[name]
	switch {
	case f.closed:
		return s, &Error{Path: f.path, Tensor: name, Err: ErrClosed}
	case !ok:
		return s, &Error{Path: f.path, Tensor: name, Err: ErrNotFound}
	}
	return s, nil
}

// Bytes returns the data of a tensor: elements in row-major order,
// little-endian, at any alignment. The slice aliases the mapped file: it must
// not be written to, and not be used after Close. It fails with ErrNotFound or
// ErrClosed, and, where the file is not mapped, as reading does.
func (f *File) Bytes(name string) ([]byte, error) {
	s, err := f.place(name)
	if err != nil {
		return nil, err
	}
	if f.mapped != nil {
		return f.mapped[s.begin:s.end:s.end], nil
	}
	data := make([]byte, s.end-s.begin)
	if _, err := f.file.ReadAt(data, int64(s.begin)); err != nil {
		return nil, &Error{Path: f.path, Tensor: name, Err: err}
	}
	return data, nil
}

// Section returns the data of a tensor for reading piece by piece, which takes
// no memory but the caller's: pages of a mapped file count as memory of the
// process. It must not be used after Close. It fails with ErrNotFound or
// ErrClosed.
func (f *File) Section(name string) (*io.SectionReader, error) {
	s, err := f.place(name)
	if err != nil {
		return nil, err
	}
	return io.NewSectionReader(f.file, int64(s.begin), int64(s.end-s.begin)), nil
}

// Release tells the system that the data of a tensor is not needed soon, so
// that the pages that hold it stop counting as memory of this process. What
// Bytes returned stays valid: using it reads the file again. Where the file is
// not mapped, or the system knows no such advice, it does nothing.
func (f *File) Release(name string) {
	if s, ok := f.data[name]; ok && f.mapped != nil && !f.closed {
		release(f.mapped, s.begin, s.end)
	}
}

// Close unmaps and closes the file: slices returned by Bytes become invalid. A
// second Close does nothing.
func (f *File) Close() error {
	if f.closed {
		return nil
	}
	f.closed = true
	err := f.file.Close()
	if f.mapped != nil {
		err = errors.Join(err, munmap(f.mapped))
	}
	return err
}
