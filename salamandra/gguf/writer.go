package gguf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/impulse-salamandra/finetune/salamandra/safetensors"
)

// Causes a caller can test for with errors.Is.
var (
	// ErrValue reports metadata or a tensor that a file cannot hold.
	ErrValue = errors.New("cannot be stored")
	// ErrOrder reports data for another tensor than the one that is due.
	ErrOrder = errors.New("tensor written out of order")
	// ErrIncomplete reports a file whose tensors are not all written.
	ErrIncomplete = errors.New("tensors not written")
	// ErrUnsupported reports a model, tokenizer or adapter that llama.cpp would
	// not compute as it was meant, or that this package cannot convert.
	ErrUnsupported = errors.New("not supported")
	// ErrTensor reports a tensor that is missing, left over or misshapen.
	ErrTensor = errors.New("wrong tensor")
	// ErrFile reports a JSON file that is not as it should be.
	ErrFile = errors.New("malformed file")
	// ErrNotFinite reports a value that is infinite or NaN in the format asked
	// for.
	ErrNotFinite = errors.New("value is not finite")
)

// An Error is one fault with its place.
type Error struct {
	Path string // the file or directory
	Key  string // the tensor, metadata key or JSON key
	Err  error  // wraps one of the Err variables
}

// Error returns the place and the fault.
func (e *Error) Error() string { return fmt.Sprintf("gguf: %s: %s: %v", e.Path, e.Key, e.Err) }

// Unwrap returns e.Err.
func (e *Error) Unwrap() error { return e.Err }

// faults collects what is wrong at path.
type faults struct {
	path string
	list []error
}

func (f *faults) add(key string, cause error, format string, args ...any) {
	err := fmt.Errorf("%w: %s", cause, fmt.Sprintf(format, args...))
	f.list = append(f.list, &Error{Path: f.path, Key: key, Err: err})
}

func (f *faults) err() error { return errors.Join(f.list...) }

// A KV is one entry of metadata. Value is a bool, int32, uint32, uint64,
// float32, string, []int32, []float32 or []string.
type KV struct {
	Key   string
	Value any
}

// A Tensor describes one tensor.
type Tensor struct {
	Name  string
	Type  Type
	Shape []int // outermost first, as in safetensors; one to four dimensions
}

// NumBytes returns the bytes of the data.
func (t Tensor) NumBytes() int {
	width := t.Shape[len(t.Shape)-1]
	rows := 1
	for _, d := range t.Shape[:len(t.Shape)-1] {
		rows *= d
	}
	return rows * t.Type.RowBytes(width)
}

// Layout of the file.
const (
	version   = 3
	alignment = 32 // of each tensor, the default of the format
	maxDims   = 4
)

// Codes of value types.
const (
	codeUint32  = 4
	codeInt32   = 5
	codeFloat32 = 6
	codeBool    = 7
	codeString  = 8
	codeArray   = 9
	codeUint64  = 10
)

// A Writer writes one file, tensor by tensor, under a temporary name beside the
// final one. It is not safe for concurrent use.
type Writer struct {
	path    string
	tensors []Tensor
	next    int // the tensor being written
	written int // its bytes so far
	file    *safetensors.AtomicFile
}

// Create begins the file at path. Metadata and tensors are fixed here, in the
// order in which they are stored and in which Write will get the data. The
// error lists everything that cannot be stored (ErrValue).
//
// The caller ends with Commit, and defers Abort, which then does nothing.
func Create(path string, metadata []KV, tensors []Tensor) (*Writer, error) {
	head, err := formatHead(path, metadata, tensors)
	if err != nil {
		return nil, err
	}
	file, err := safetensors.CreateFile(path)
	if err != nil {
		return nil, err
	}
	if _, err := file.Write(head); err != nil {
		file.Abort()
		return nil, err
	}
	return &Writer{path: path, tensors: slices.Clone(tensors), file: file}, nil
}

// formatHead returns everything before the data.
func formatHead(path string, metadata []KV, tensors []Tensor) ([]byte, error) {
	f := &faults{path: path}
	le := binary.LittleEndian
	b := le.AppendUint32([]byte("GGUF"), version)
	b = le.AppendUint64(b, uint64(len(tensors)))
	b = le.AppendUint64(b, uint64(len(metadata)))
	seen := map[string]bool{}
	for _, kv := range metadata {
		var ok bool
		if b, ok = appendValue(appendString(b, kv.Key), kv.Value); !ok {
			f.add(kv.Key, ErrValue, "a %T", kv.Value)
		}
		if seen[kv.Key] {
			f.add(kv.Key, ErrValue, "there twice")
		}
		seen[kv.Key] = true
	}
	seen = map[string]bool{}
	offset := 0
	for _, t := range tensors {
		if seen[t.Name] {
			f.add(t.Name, ErrValue, "there twice")
		}
		seen[t.Name] = true
		if err := t.check(); err != nil {
			f.add(t.Name, ErrValue, "%v", err)
			continue
		}
		b = le.AppendUint32(appendString(b, t.Name), uint32(len(t.Shape)))
		for _, d := range slices.Backward(t.Shape) {
			b = le.AppendUint64(b, uint64(d))
		}
		b = le.AppendUint32(b, uint32(t.Type))
		b = le.AppendUint64(b, uint64(offset))
		offset += aligned(t.NumBytes())
	}
	return append(b, make([]byte, aligned(len(b))-len(b))...), f.err()
}

// check reports a shape or type that no tensor can have.
func (t Tensor) check() error {
	if len(t.Shape) < 1 || len(t.Shape) > maxDims || slices.Min(t.Shape) < 1 {
		return fmt.Errorf("shape %v, want one to %d dimensions above 0", t.Shape, maxDims)
	}
	if width := t.Shape[len(t.Shape)-1]; t.Type.RowBytes(width) == 0 {
		return fmt.Errorf("rows of %d values in type %v", width, t.Type)
	}
	return nil
}

// aligned returns n rounded up.
func aligned(n int) int { return (n + alignment - 1) / alignment * alignment }

func appendString(b []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint64(b, uint64(len(s))), s...)
}

// appendValue appends the type and the value of an entry, or reports that it
// has no type.
func appendValue(b []byte, value any) ([]byte, bool) {
	le := binary.LittleEndian
	array := func(code uint32, n int) {
		b = le.AppendUint32(le.AppendUint32(b, codeArray), code)
		b = le.AppendUint64(b, uint64(n))
	}
	switch v := value.(type) {
	case bool:
		b = append(le.AppendUint32(b, codeBool), 0)
		if v {
			b[len(b)-1] = 1
		}
	case int32:
		b = le.AppendUint32(le.AppendUint32(b, codeInt32), uint32(v))
	case uint32:
		b = le.AppendUint32(le.AppendUint32(b, codeUint32), v)
	case uint64:
		b = le.AppendUint64(le.AppendUint32(b, codeUint64), v)
	case float32:
		b = le.AppendUint32(le.AppendUint32(b, codeFloat32), math.Float32bits(v))
	case string:
		b = appendString(le.AppendUint32(b, codeString), v)
	case []int32:
		array(codeInt32, len(v))
		for _, x := range v {
			b = le.AppendUint32(b, uint32(x))
		}
	case []float32:
		array(codeFloat32, len(v))
		for _, x := range v {
			b = le.AppendUint32(b, math.Float32bits(x))
		}
	case []string:
		array(codeString, len(v))
		for _, x := range v {
			b = appendString(b, x)
		}
	default:
		return b, false
	}
	return b, true
}

// Write stores the next bytes of the tensor called name, which must be the one
// in progress or, when that is complete, the next (ErrOrder), and must not
// reach beyond it (ErrValue).
func (w *Writer) Write(name string, data []byte) error {
	if w.next == len(w.tensors) || w.tensors[w.next].Name != name {
		return &Error{Path: w.path, Key: name, Err: ErrOrder}
	}
	size := w.tensors[w.next].NumBytes()
	if len(data) > size-w.written {
		return &Error{Path: w.path, Key: name, Err: fmt.Errorf("%w: %d bytes, want at most %d", ErrValue, len(data), size-w.written)}
	}
	if _, err := w.file.Write(data); err != nil {
		return err
	}
	if w.written += len(data); w.written < size {
		return nil
	}
	w.next, w.written = w.next+1, 0
	_, err := w.file.Write(make([]byte, aligned(size)-size))
	return err
}

// Commit syncs the file to disk and gives it its name, replacing what had it.
// It fails with ErrIncomplete, listing the tensors, if data is missing.
func (w *Writer) Commit() error {
	var list []error
	for _, t := range w.tensors[w.next:] {
		list = append(list, &Error{Path: w.path, Key: t.Name, Err: ErrIncomplete})
	}
	if err := errors.Join(list...); err != nil {
		return err
	}
	return w.file.Commit()
}

// Abort removes the unfinished file; after Commit it does nothing.
func (w *Writer) Abort() error { return w.file.Abort() }
