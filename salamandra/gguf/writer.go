package gguf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"

	"github.com/impulse-salamandra/finetune/internal/atomicfile"
	"github.com/impulse-salamandra/finetune/internal/faults"
)

// Causes of faults.
var (
	errValue       = errors.New("cannot be stored")
	errOrder       = errors.New("tensor written out of order")
	errIncomplete  = errors.New("tensors not written")
	errUnsupported = errors.New("not supported") // llama.cpp would not compute it as it was meant, or it cannot be converted
	errTensor      = errors.New("wrong tensor")
	errFile        = errors.New("malformed file")
	errNotFinite   = errors.New("value is not finite") // in the format asked for
)

// A kv is one entry of metadata. Value is a bool, int32, uint32, uint64,
// float32, string, []int32, []float32 or []string.
type kv struct {
	Key   string
	Value any
}

// A Tensor describes one tensor.
type tensor struct {
	Name  string
	Type  elementType
	Shape []int // outermost first, as in safetensors; one to four dimensions
}

// numBytes returns the bytes of the data.
func (t tensor) numBytes() int {
	width := t.Shape[len(t.Shape)-1]
	rows := 1
	for _, d := range t.Shape[:len(t.Shape)-1] {
		rows *= d
	}
	return rows * t.Type.rowBytes(width)
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

// A writer writes one file, tensor by tensor, under a temporary name beside the
// final one. It is not safe for concurrent use.
type writer struct {
	path    string
	tensors []tensor
	next    int // the tensor being written
	written int // its bytes so far
	file    *atomicfile.File
}

// checkOutput refuses a file that is there already.
func checkOutput(path string) error {
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("%s: it is there already: remove it or choose another name", path)
	}
	return nil
}

// create begins the file at path. Metadata and tensors are fixed here, in the
// order in which they are stored and in which Write will get the data. The
// error lists everything that cannot be stored.
//
// The caller ends with Commit, and defers Abort, which then does nothing.
func create(path string, metadata []kv, tensors []tensor) (*writer, error) {
	head, err := formatHead(path, metadata, tensors)
	if err != nil {
		return nil, err
	}
	file, err := atomicfile.Create(path)
	if err != nil {
		return nil, err
	}
	if _, err := file.Write(head); err != nil {
		file.Abort()
		return nil, err
	}
	return &writer{path: path, tensors: slices.Clone(tensors), file: file}, nil
}

// formatHead returns everything before the data.
func formatHead(path string, metadata []kv, tensors []tensor) ([]byte, error) {
	list := &faults.List{Subject: path}
	le := binary.LittleEndian
	b := le.AppendUint32([]byte("GGUF"), version)
	b = le.AppendUint64(b, uint64(len(tensors)))
	b = le.AppendUint64(b, uint64(len(metadata)))
	seen := map[string]bool{}
	for _, m := range metadata {
		var ok bool
		if b, ok = appendValue(appendString(b, m.Key), m.Value); !ok {
			list.Add(m.Key, faults.Caused(errValue, "a value of this kind cannot be stored"))
		}
		if seen[m.Key] {
			list.Add(m.Key, faults.Caused(errValue, "there twice"))
		}
		seen[m.Key] = true
	}
	seen = map[string]bool{}
	offset := 0
	for _, t := range tensors {
		if seen[t.Name] {
			list.Add(t.Name, faults.Caused(errValue, "there twice"))
		}
		seen[t.Name] = true
		if err := t.check(); err != nil {
			list.Add(t.Name, faults.Caused(errValue, "%v", err))
			continue
		}
		b = le.AppendUint32(appendString(b, t.Name), uint32(len(t.Shape)))
		for _, d := range slices.Backward(t.Shape) {
			b = le.AppendUint64(b, uint64(d))
		}
		b = le.AppendUint32(b, uint32(t.Type))
		b = le.AppendUint64(b, uint64(offset))
		offset += aligned(t.numBytes())
	}
	return append(b, make([]byte, aligned(len(b))-len(b))...), list.Err()
}

// check reports a shape or type that no tensor can have.
func (t tensor) check() error {
	if len(t.Shape) < 1 || len(t.Shape) > maxDims || slices.Min(t.Shape) < 1 {
		return fmt.Errorf("shape %v, want one to %d dimensions above 0", t.Shape, maxDims)
	}
	if width := t.Shape[len(t.Shape)-1]; t.Type.rowBytes(width) == 0 {
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
// in progress or, when that is complete, the next, and must not
// reach beyond it.
func (w *writer) Write(name string, data []byte) error {
	if w.next == len(w.tensors) || w.tensors[w.next].Name != name {
		return fmt.Errorf("%s: %s: %w", w.path, name, errOrder)
	}
	size := w.tensors[w.next].numBytes()
	if len(data) > size-w.written {
		return fmt.Errorf("%s: %s: %w: %d bytes, want at most %d", w.path, name, errValue, len(data), size-w.written)
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
// It fails with errIncomplete, listing the tensors, if data is missing.
func (w *writer) Commit() error {
	list := &faults.List{Subject: w.path}
	for _, t := range w.tensors[w.next:] {
		list.Add(t.Name, errIncomplete)
	}
	if err := list.Err(); err != nil {
		return err
	}
	return w.file.Commit()
}

// Abort removes the unfinished file; after Commit it does nothing.
func (w *writer) Abort() error { return w.file.Abort() }
