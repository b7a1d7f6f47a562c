package safetensors

import (
	"errors"
	"fmt"
)

// Ways in which a file can be wrong, found when opening it. Each is wrapped in
// an [Error] that says where.
var (
	ErrTruncated  = errors.New("file is truncated")
	ErrHeaderSize = errors.New("header size out of bounds")
	ErrHeader     = errors.New("malformed header")
	ErrDuplicate  = errors.New("duplicate name")
	ErrDtype      = errors.New("unknown dtype")
	ErrShape      = errors.New("bad shape")
	ErrOverflow   = errors.New("size overflows")
	ErrOffsets    = errors.New("bad data_offsets")
	ErrSize       = errors.New("data has the wrong size for dtype and shape")
	ErrHole       = errors.New("bytes that belong to no tensor")
	ErrOverlap    = errors.New("bytes that belong to two tensors")
	ErrMetadata   = errors.New("metadata is not text")
)

// Ways in which the index of a sharded model can disagree with its files.
var (
	// ErrIndex reports an index that is malformed or names a file outside its
	// directory.
	ErrIndex = errors.New("malformed index")
	// ErrMissing reports a tensor that the index places in a file without it.
	ErrMissing = errors.New("tensor is missing")
	// ErrLeftOver reports a tensor of a shard that the index does not place
	// there.
	ErrLeftOver = errors.New("tensor is not in the index")
)

// Misuse, found when reading or writing tensors.
var (
	ErrNotFound   = errors.New("no such tensor")
	ErrClosed     = errors.New("file is closed")
	ErrOrder      = errors.New("tensor written out of order")
	ErrIncomplete = errors.New("tensors not written")
	// ErrReadBack reports a file that does not read back as it was written.
	ErrReadBack = errors.New("written file reads back differently")
)

// An Error is one fault with its place.
type Error struct {
	Path   string // the file
	Tensor string // the tensor, empty if the fault is not of one tensor
	Err    error  // wraps one of the sentinels of this package
}

// Error returns the place and the fault.
func (e *Error) Error() string {
	if e.Tensor == "" {
		return fmt.Sprintf("safetensors: %s: %v", e.Path, e.Err)
	}
	return fmt.Sprintf("safetensors: %s: tensor %q: %v", e.Path, e.Tensor, e.Err)
}

// Unwrap returns e.Err.
func (e *Error) Unwrap() error { return e.Err }

// maxFaults bounds the faults one error lists, so that a hostile header cannot
// make an error larger than itself.
const maxFaults = 50

// faults collects what is wrong with the file at path.
type faults struct {
	path  string
	list  []error
	extra int
}

func (f *faults) add(tensor string, err error) {
	if len(f.list) >= maxFaults {
		f.extra++
		return
	}
	f.list = append(f.list, &Error{Path: f.path, Tensor: tensor, Err: err})
}

// err joins the faults; nil if there are none.
func (f *faults) err() error {
	if f.extra > 0 {
		return errors.Join(append(f.list, fmt.Errorf("safetensors: %s: and %d more faults", f.path, f.extra))...)
	}
	return errors.Join(f.list...)
}
