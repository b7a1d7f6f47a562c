package safetensors

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/impulse-salamandra/finetune/internal/faults"
)

// maxHeaderSize is the longest header, in bytes, that is read or written. It is
// the limit of the reference implementation: 200 times the header of a
// 7-billion-parameter model, and little enough to hold in memory.
const maxHeaderSize = 100_000_000

// lengthSize is the bytes before the header, which hold its length.
const lengthSize = 8

// metadataKey is the one key of a header that is not a tensor.
const metadataKey = "__metadata__"

// header is a decoded header.
type header struct {
	entries  []entry
	metadata map[string]string
}

// entry is one tensor with the place of its data, counted from the end of the
// header.
type entry struct {
	Info
	begin, end int
}

// parseHeader decodes the JSON of a header that is followed by size bytes of
// data, and checks that the tensors fill the data exactly. It returns the
// entries in the order of their data.
func parseHeader(path string, text []byte, size int) (header, error) {
	f := &faults.List{Subject: path}
	var h header
	if err := h.decode(f, text); err != nil {
		f.Join(err)
	}
	if f.Len() == 0 {
		h.checkLayout(f, size)
	}
	return h, f.Err()
}

// decode reads the JSON. Faults of single tensors go to f; the error is one
// that ends the reading.
func (h *header) decode(f *faults.List, text []byte) error {
	if len(text) == 0 || text[0] != '{' || !utf8.Valid(text) || !json.Valid(text) {
		return fmt.Errorf("%w: not a JSON object in UTF-8", errHeader)
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	return eachKey(dec, func(key string) error {
		if key == metadataKey {
			var err error
			h.metadata, err = decodeStrings(dec, errMetadata)
			return err
		}
		e, err := decodeEntry(dec, key)
		if err != nil {
			return fmt.Errorf("tensor %q: %w", key, err)
		}
		if want, err := e.numBytes(); err != nil {
			f.Add(shown(key), err)
		} else if e.end < e.begin {
			f.Addf(shown(key), "%w: [%d, %d]", errOffsets, e.begin, e.end)
		} else if e.end-e.begin != want {
			f.Addf(shown(key), "%w: %d bytes, want %d for %s %v", errSize, e.end-e.begin, want, e.Dtype, e.Shape)
		}
		h.entries = append(h.entries, e)
		return nil
	})
}

// checkLayout sorts the entries by their data and reports holes, overlaps and
// a file that is too short.
func (h *header) checkLayout(f *faults.List, size int) {
	slices.SortFunc(h.entries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(a.end, b.end), cmp.Compare(a.Name, b.Name))
	})
	pos := 0
	for _, e := range h.entries {
		if e.begin > pos {
			f.Addf(shown(e.Name), "%w: %d before it", errHole, e.begin-pos)
		}
		if e.begin < pos {
			f.Addf(shown(e.Name), "%w: its first %d", errOverlap, min(pos, e.end)-e.begin)
		}
		pos = max(pos, e.end)
	}
	switch {
	case pos > size:
		f.Addf("", "%w: %d bytes of data, want %d; %s", errTruncated, size, pos, again)
	case pos < size:
		f.Addf("", "%w: the last %d", errHole, size-pos)
	}
}

// decodeEntry reads the description of one tensor.
func decodeEntry(dec *json.Decoder, name string) (entry, error) {
	e := entry{Info: Info{Name: name}}
	var dtype, shape, offsets bool
	err := eachKey(dec, func(key string) error {
		var err error
		switch key {
		case "dtype":
			dtype = true
			var s string
			if s, err = decodeString(dec, errDtype); err == nil {
				e.Dtype = Dtype(s)
			}
		case "shape":
			shape = true
			e.Shape, err = decodeInts(dec, errShape)
		case "data_offsets":
			offsets = true
			var o []int
			if o, err = decodeInts(dec, errOffsets); err == nil {
				if len(o) != 2 {
					return fmt.Errorf("%w: %v, want [begin, end]", errOffsets, o)
				}
				e.begin, e.end = o[0], o[1]
			}
		default:
			return fmt.Errorf("%w: unknown key %q", errHeader, key)
		}
		return err
	})
	if err == nil && !(dtype && shape && offsets) {
		err = fmt.Errorf("%w: want dtype, shape and data_offsets", errHeader)
	}
	return e, err
}

// eachKey calls visit for every key of the JSON object that comes next; visit
// reads the value.
func eachKey(dec *json.Decoder, visit func(key string) error) error {
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return fmt.Errorf("%w: %v, want an object", errHeader, t)
	}
	seen := map[string]bool{}
	for dec.More() {
		key, err := decodeString(dec, errHeader)
		if err != nil {
			return err
		}
		if seen[key] {
			return fmt.Errorf("%w: %q", errDuplicate, key)
		}
		seen[key] = true
		if err := visit(key); err != nil {
			return err
		}
	}
	_, err := dec.Token()
	return err
}

// decodeString reads a JSON string; anything else is the fault cause.
func decodeString(dec *json.Decoder, cause error) (string, error) {
	t, err := dec.Token()
	if err != nil {
		return "", err
	}
	s, ok := t.(string)
	if !ok {
		return "", fmt.Errorf("%w: %v, want a string", cause, t)
	}
	return s, nil
}

// decodeStrings reads a JSON object of strings; a value of another kind is the
// fault cause.
func decodeStrings(dec *json.Decoder, cause error) (map[string]string, error) {
	m := map[string]string{}
	err := eachKey(dec, func(key string) error {
		var err error
		m[key], err = decodeString(dec, cause)
		return err
	})
	return m, err
}

// decodeInts reads a JSON array of integers from 0; anything else is the fault
// cause, a number too large is errOverflow.
func decodeInts(dec *json.Decoder, cause error) ([]int, error) {
	if t, err := dec.Token(); err != nil || t != json.Delim('[') {
		return nil, fmt.Errorf("%w: %v, want an array", cause, t)
	}
	ints := []int{}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return nil, err
		}
		number, _ := t.(json.Number)
		n, err := strconv.ParseUint(number.String(), 10, strconv.IntSize-1)
		if errors.Is(err, strconv.ErrRange) {
			return nil, fmt.Errorf("%w: %v", errOverflow, t)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %v, want an integer from 0", cause, t)
		}
		ints = append(ints, int(n))
	}
	_, err := dec.Token()
	return ints, err
}
