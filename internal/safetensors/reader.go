package safetensors

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/impulse-salamandra/finetune/internal/wrongfile"
)

// A Reader is the tensors of a file, or of the files of a model directory. It may
// be used by several goroutines at once, but not during or after Close.
type Reader struct {
	files []*file // in the order of their names
	infos []Info  // by file, then by name
	at    map[string]place
}

// place is where a tensor is.
type place struct {
	file       *file
	info       int // in infos
	begin, end int
}

// file is one open file.
type file struct {
	*os.File
	path     string
	metadata map[string]string // the text entries of the header
	mapped   []byte            // the whole file, nil where it is read instead
	closed   bool
}

// Open checks the header of the file at path and maps its data into memory,
// or, where the system cannot map files, prepares to read it. The error lists
// every fault found.
//
// The file must not change while it is open: a mapped file that is truncated
// by another process takes the program down.
func Open(path string) (*Reader, error) { return open(path, true) }

// open is Open with a choice for the tests.
func open(path string, mapping bool) (*Reader, error) {
	r := newReader()
	return r, r.add(path, mapping)
}

func newReader() *Reader { return &Reader{at: map[string]place{}} }

// add opens a file.
func (r *Reader) add(path string, mapping bool) error {
	opened, err := os.Open(path)
	if err != nil {
		return err
	}
	h, start, size, err := readHeader(path, opened)
	if err != nil {
		opened.Close()
		return wrongfile.Explain(path, err)
	}
	f := &file{File: opened, path: path, metadata: h.metadata}
	if mapping {
		if f.mapped, err = mmap(opened, size); err != nil {
			f.mapped = nil
		}
	}
	r.files = append(r.files, f)
	slices.SortFunc(h.entries, func(a, b entry) int { return strings.Compare(a.Name, b.Name) })
	for _, e := range h.entries {
		r.at[e.Name] = place{f, len(r.infos), start + e.begin, start + e.end}
		r.infos = append(r.infos, e.Info)
	}
	return nil
}

// readHeader reads and checks a file up to its data, and returns the header,
// where the data begins and the size of the file.
func readHeader(path string, file *os.File) (h header, start, size int, err error) {
	fail := func(err error) (header, int, int, error) {
		return header{}, 0, 0, fault(path, "", err)
	}
	stat, err := file.Stat()
	if err != nil {
		return fail(err)
	}
	size = int(stat.Size())
	if int64(size) != stat.Size() {
		return fail(fmt.Errorf("%w: file of %d bytes", errOverflow, stat.Size()))
	}
	var length [lengthSize]byte
	if size < len(length) {
		return fail(fmt.Errorf("%w: %d bytes; %s", errTruncated, size, again))
	}
	if _, err := file.ReadAt(length[:], 0); err != nil {
		return fail(err)
	}
	n := binary.LittleEndian.Uint64(length[:])
	if n < uint64(len("{}")) || n > maxHeaderSize {
		return fail(fmt.Errorf("%w: %d, want 2 to %d", errHeaderSize, n, maxHeaderSize))
	}
	if n > uint64(size-len(length)) {
		return fail(fmt.Errorf("%w: header of %d bytes in a file of %d; %s", errTruncated, n, size, again))
	}
	text := make([]byte, n)
	if _, err := file.ReadAt(text, int64(len(length))); err != nil {
		return fail(err)
	}
	start = len(length) + len(text)
	h, err = parseHeader(path, text, size-start)
	return h, start, size, err
}

// Paths returns the files, in the order of their names.
func (r *Reader) Paths() []string {
	var list []string
	for _, f := range r.files {
		list = append(list, f.path)
	}
	return list
}

// Tensors returns a description of every tensor, file by file and sorted by name
// in each.
func (r *Reader) Tensors() []Info { return slices.Clone(r.infos) }

// Info returns the description of a tensor and whether there is one.
func (r *Reader) Info(name string) (Info, bool) {
	p, ok := r.at[name]
	if !ok {
		return Info{}, false
	}
	return r.infos[p.info], true
}

// find returns where a tensor is.
func (r *Reader) find(name string) (place, error) {
	p, ok := r.at[name]
	switch {
	case !ok && len(r.files) == 1:
		return p, fault(r.files[0].path, name, errNotFound)
	case !ok:
		return p, fault("", name, errNotFound)
	case p.file.closed:
		return p, fault(p.file.path, name, errClosed)
	}
	return p, nil
}

// Bytes returns the data of a tensor: elements in row-major order,
// little-endian, at any alignment. The slice aliases the mapped file: it must
// not be written to, and not be used after Close. It fails where there is no such
// tensor or the file is closed, and, where the file is not mapped, as reading does.
func (r *Reader) Bytes(name string) ([]byte, error) {
	p, err := r.find(name)
	if err != nil {
		return nil, err
	}
	if p.file.mapped != nil {
		return p.file.mapped[p.begin:p.end:p.end], nil
	}
	data := make([]byte, p.end-p.begin)
	if _, err := p.file.ReadAt(data, int64(p.begin)); err != nil {
		return nil, fault(p.file.path, name, err)
	}
	return data, nil
}

// Section returns the data of a tensor for reading piece by piece, which takes
// no memory but the caller's: pages of a mapped file count as memory of the
// process. It must not be used after Close. It fails as Bytes does.
func (r *Reader) Section(name string) (*io.SectionReader, error) {
	p, err := r.find(name)
	if err != nil {
		return nil, err
	}
	return io.NewSectionReader(p.file, int64(p.begin), int64(p.end-p.begin)), nil
}

// Release lets the system know that the data of a tensor is not needed soon, so
// that the pages that hold it stop counting as memory of this process. What
// Bytes returned stays valid: using it reads the file again. Where the file is
// not mapped, or the system knows no such advice, it does nothing.
func (r *Reader) Release(name string) {
	if p, ok := r.at[name]; ok && p.file.mapped != nil && !p.file.closed {
		release(p.file.mapped, p.begin, p.end)
	}
}

// Close unmaps and closes the files: slices returned by Bytes become invalid. A
// second Close does nothing.
func (r *Reader) Close() error {
	var errs []error
	for _, f := range r.files {
		errs = append(errs, f.close())
	}
	return errors.Join(errs...)
}

func (f *file) close() error {
	if f.closed {
		return nil
	}
	f.closed = true
	err := f.Close()
	if f.mapped != nil {
		err = errors.Join(err, munmap(f.mapped))
	}
	return err
}
