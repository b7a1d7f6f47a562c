package safetensors

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/impulse-salamandra/finetune/internal/atomicfile"
	"github.com/impulse-salamandra/finetune/internal/faults"
)

// A Writer writes one file, tensor by tensor, under a temporary name beside the
// final one. It is not safe for concurrent use.
type Writer struct {
	path    string
	tensors []Info
	next    int // the tensor being written
	written int // its bytes so far
	file    *atomicfile.File
	hash    hash.Hash
	check   uint32 // CRC-32C of all, to compare with what is read back
	size    int64  // bytes written
	flushed int64  // of these, on their way to the disk
	flushes sync.WaitGroup
}

// flushSize is how much is written before the system is asked to begin storing
// it.
const flushSize = 32 << 20

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Create begins the file at path. The header is fixed here: tensors in the
// order in which Write will get their data, and metadata, which may be nil
// (Transformers wants {"format":"pt"}). The error lists every tensor that
// cannot be stored.
//
// The caller ends with Commit, and defers Abort, which then does nothing.
func Create(path string, tensors []Info, metadata map[string]string) (*Writer, error) {
	text, err := formatHeader(path, tensors, metadata)
	if err != nil {
		return nil, err
	}
	file, err := atomicfile.Create(path)
	if err != nil {
		return nil, err
	}
	w := &Writer{path: path, tensors: slices.Clone(tensors), file: file, hash: sha256.New()}
	if err := w.write(text); err != nil {
		w.Abort()
		return nil, err
	}
	return w, nil
}

// formatHeader returns the length and the JSON of a header, padded so that the
// data begins at a multiple of 8.
func formatHeader(path string, tensors []Info, metadata map[string]string) ([]byte, error) {
	f := &faults.List{Subject: path}
	b := bytes.NewBuffer(make([]byte, lengthSize))
	b.WriteByte('{')
	if metadata != nil {
		fmt.Fprintf(b, `"%s":{`, metadataKey)
		for i, key := range sortedKeys(metadata) {
			if i > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(b, "%s:%s", quote(key), quote(metadata[key]))
		}
		b.WriteByte('}')
	}
	seen := map[string]bool{}
	begin := 0
	for i, t := range tensors {
		n, err := t.numBytes()
		switch {
		case err != nil:
			f.Add(shown(t.Name), err)
		case begin+n < begin:
			f.Addf(shown(t.Name), "%w: end of its data", errOverflow)
		case t.Name == metadataKey || strings.ToValidUTF8(t.Name, "") != t.Name:
			f.Addf(shown(t.Name), "%w: not a tensor name", errHeader)
		case seen[t.Name]:
			f.Add(shown(t.Name), errDuplicate)
		}
		seen[t.Name] = true
		if i > 0 || metadata != nil {
			b.WriteByte(',')
		}
		shape := strings.ReplaceAll(fmt.Sprint(t.Shape), " ", ",")
		fmt.Fprintf(b, `%s:{"dtype":"%s","shape":%s,"data_offsets":[%d,%d]}`, quote(t.Name), t.Dtype, shape, begin, begin+n)
		begin += n
	}
	b.WriteByte('}')
	for b.Len()%8 != 0 {
		b.WriteByte(' ')
	}
	if n := b.Len() - lengthSize; n > maxHeaderSize {
		f.Addf("", "%w: %d, want at most %d", errHeaderSize, n, maxHeaderSize)
	}
	binary.LittleEndian.PutUint64(b.Bytes(), uint64(b.Len()-lengthSize))
	return b.Bytes(), f.Err()
}

// quote returns s as a JSON string.
func quote(s string) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.Encode(s) // a string always encodes
	return strings.TrimSuffix(b.String(), "\n")
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// WriteFloats stores all values of the next tensor in its dtype, rounded as
// [EncodeFloat32] does.
func (w *Writer) WriteFloats(name string, values []float32) error {
	want, ok := w.expected()
	if !ok || want.Name != name {
		return w.Write(name, nil) // which says what is wrong
	}
	data := make([]byte, want.NumBytes())
	if err := EncodeFloat32(data, values, want.Dtype); err != nil {
		return w.fail(name, err)
	}
	return w.Write(name, data)
}

// Write stores the next bytes of the tensor called name, all of them or some. It
// must be the one in progress or, when that is complete, the next, and the bytes
// must not reach beyond it.
func (w *Writer) Write(name string, data []byte) error {
	want, ok := w.expected()
	if !ok {
		return w.fail(name, fmt.Errorf("%w: all are written", errOrder))
	}
	if want.Name != name {
		return w.fail(name, fmt.Errorf("%w: want %q", errOrder, want.Name))
	}
	size := want.NumBytes()
	if len(data) > size-w.written {
		return w.fail(name, fmt.Errorf("%w: %d bytes, want at most %d", errSize, len(data), size-w.written))
	}
	if err := w.write(data); err != nil {
		return w.fail(name, err)
	}
	if w.written += len(data); w.written == size {
		w.next, w.written = w.next+1, 0
	}
	return nil
}

// expected returns the tensor whose data comes next, and whether there is one.
func (w *Writer) expected() (Info, bool) {
	if w.next == len(w.tensors) {
		return Info{}, false
	}
	return w.tensors[w.next], true
}

// write appends to the file, hashing and writing at the same time.
func (w *Writer) write(data []byte) error {
	hashed := make(chan struct{})
	go func() {
		w.hash.Write(data)
		w.check = crc32.Update(w.check, castagnoli, data)
		close(hashed)
	}()
	_, err := w.file.Write(data)
	if w.size += int64(len(data)); w.size-w.flushed >= flushSize {
		begin, n := w.flushed, w.size-w.flushed
		w.flushes.Go(func() { startWriteback(w.file.File, begin, n) })
		w.flushed = w.size
	}
	<-hashed
	return err
}

// fail returns a fault of the file being written.
func (w *Writer) fail(tensor string, err error) error {
	return fault(w.path, tensor, err)
}

// Commit syncs the file to disk, reads it back meanwhile, and gives it its name,
// replacing what had it. It lists the tensors whose data is missing, and
// fails with [ErrReadBack] if size or CRC-32C are not those of what
// was written.
func (w *Writer) Commit() error {
	f := &faults.List{Subject: w.path}
	for _, t := range w.tensors[w.next:] {
		f.Add(shown(t.Name), errIncomplete)
	}
	if err := f.Err(); err != nil {
		return err
	}
	var readError error
	w.flushes.Go(func() { readError = w.readBack() })
	err := w.file.Sync()
	w.flushes.Wait()
	if err := errors.Join(err, readError); err != nil {
		w.Abort()
		return w.fail("", err)
	}
	return w.file.Commit()
}

// readBack compares the file with what was written.
func (w *Writer) readBack() error {
	file, err := os.Open(w.file.Name())
	if err != nil {
		return err
	}
	defer file.Close()
	var check uint32
	var size int64
	buffer := make([]byte, 1<<20)
	for err == nil {
		var n int
		n, err = file.Read(buffer)
		check = crc32.Update(check, castagnoli, buffer[:n])
		size += int64(n)
	}
	if err == io.EOF && (size != w.size || check != w.check) {
		return fmt.Errorf("%w: %d bytes with CRC-32C %08x, want %d with %08x", ErrReadBack, size, check, w.size, w.check)
	}
	if err == io.EOF {
		return nil
	}
	return err
}

// Abort removes the unfinished file; after Commit it does nothing.
func (w *Writer) Abort() error {
	w.flushes.Wait()
	return w.file.Abort()
}

// SHA256 returns the hash of what was written so far, which after Commit is
// what a reader of the file must find.
func (w *Writer) SHA256() [sha256.Size]byte { return [sha256.Size]byte(w.hash.Sum(nil)) }

// Size returns the bytes written so far, header included.
func (w *Writer) Size() int64 { return w.size }
