package dataset

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"unicode/utf8"

	"github.com/impulse-salamandra/finetune/chatml"
)

// Reader reads records one by one, so that its memory is that of the longest
// record whatever their number.
//
// A file is one object per line (JSON Lines), one JSON array of objects, objects
// one after the other over as many lines as they like, or one object that holds
// such an array under the [Format.List] of a format; the last is kept whole. A
// byte-order mark and blank lines are skipped.
//
// The first record that has the keys of a format decides the format of all;
// one of another format after it is refused ([ErrMixed]).
type Reader struct {
	name    string
	formats []Format
	format  *Format
	source  *source
	file    io.Closer
}

// NewReader reads from in, which name stands for in errors. Without formats
// those of [Formats] are read. With a single one nothing is detected.
func NewReader(in io.Reader, name string, formats ...Format) *Reader {
	r := &Reader{name: name, formats: formats, source: newSource(in)}
	if len(formats) == 0 {
		r.formats = Formats()
	}
	if len(formats) == 1 {
		r.format = &r.formats[0]
	}
	return r
}

// Open reads a file; see [NewReader]. Close the reader after use.
func Open(path string, formats ...Format) (*Reader, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("dataset: %w", err)
	}
	r := NewReader(f, path, formats...)
	r.file = f
	return r, nil
}

// Close closes the file of [Open].
func (r *Reader) Close() error {
	if r.file == nil {
		return nil
	}
	return r.file.Close()
}

// Format is the name of the format found, "" before the first record of one.
func (r *Reader) Format() string {
	if r.format == nil {
		return ""
	}
	return r.format.Name
}

// Records yields the records in order, once. In place of one that cannot be used
// it yields what is wrong with it as [Faults], and reads on. The causes are
// [ErrSyntax], [ErrType], [ErrMissing], [ErrDuplicate] (of keys; ids are
// compared by [Builder.Build]), [ErrFormat], [ErrMixed], [ErrTooLong],
// [chatml.ErrUTF8] (half surrogate pairs included), [chatml.ErrRole], and those
// of the formats. Any other error is of reading, and the last.
func (r *Reader) Records() iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		for {
			value, err := r.source.next()
			switch {
			case errors.Is(err, io.EOF):
				return
			case err != nil && !isFault(err):
				yield(Record{}, fmt.Errorf("dataset: %s:%d: %w", r.name, r.source.line, err))
				return
			case err != nil:
				if !yield(Record{}, Faults{{File: r.name, Line: r.source.start, Err: err}}) {
					return
				}
				continue
			}
			if !r.value(value, r.source.start, yield) {
				return
			}
		}
	}
}

// value yields the record of a value, or those of the list in it.
func (r *Reader) value(value []byte, line int, yield func(Record, error) bool) bool {
	if items, at := r.list(value); items != nil {
		inner := &Reader{name: r.name, formats: r.formats, format: r.format, source: newSource(items)}
		inner.source.line += line - 1 + at
		defer func() { r.format = inner.format }()
		for record, err := range inner.Records() {
			if !yield(record, err) {
				return false
			}
		}
		return true
	}
	record, faults := r.record(value)
	if len(faults) == 0 {
		return yield(record, nil)
	}
	for i := range faults {
		faults[i].File = r.name
		faults[i].Line += line
	}
	return yield(Record{}, faults)
}

// list returns the array of records inside an object, from its bracket on, and
// the number of lines before it; nil if the value is a record.
func (r *Reader) list(value []byte) (items io.Reader, line int) {
	for _, f := range r.formats {
		if f.List == "" || !bytes.HasPrefix(value, []byte("{")) || !bytes.Contains(value, []byte(`"`+f.List+`"`)) {
			continue
		}
		dec := json.NewDecoder(bytes.NewReader(value))
		_, err := dec.Token() // the brace
		for err == nil && dec.More() {
			var key json.Token
			var member json.RawMessage
			if key, err = dec.Token(); err == nil {
				err = dec.Decode(&member)
			}
			if err == nil && key == f.List && kind(member) == "array" {
				line = bytes.Count(value[:int(dec.InputOffset())-len(member)], []byte("\n"))
				return bytes.NewReader(member), line
			}
		}
	}
	return nil, 0
}

// record reads one record and decides the format if it is the first.
func (r *Reader) record(value []byte) (Record, Faults) {
	if !utf8.Valid(value) {
		return Record{}, Faults{{Err: chatml.ErrUTF8}}
	}
	var valid json.RawMessage
	if err := json.Unmarshal(value, &valid); err != nil {
		return Record{}, Faults{{Line: lineOf(value, err), Err: fmt.Errorf("%w: %w", ErrSyntax, err)}}
	}
	if r.format == nil {
		f, err := detect(r.formats, valid)
		if err != nil {
			return Record{}, Faults{{Err: err}}
		}
		r.format = &f
	}
	record, faults := r.format.Read(valid)
	if len(faults) > 0 && len(r.formats) > 1 {
		if f, err := detect(r.formats, valid); err == nil && f.Name != r.format.Name {
			return record, Faults{{Record: record.ID, Err: fmt.Errorf("%w: %s here, %s before", ErrMixed, f.Name, r.format.Name)}}
		}
	}
	return record, faults
}

// ReadAll returns the records that are left. With any fault it returns all of
// them as [Faults] and no record.
func (r *Reader) ReadAll() ([]Record, error) {
	var records []Record
	var faults Faults
	for record, err := range r.Records() {
		var found Faults
		switch {
		case errors.As(err, &found):
			faults = append(faults, found...)
		case err != nil:
			return nil, err
		default:
			records = append(records, record)
		}
	}
	if err := faults.err(); err != nil {
		return nil, err
	}
	return records, nil
}

// ReadFile reads all records of a file and tells their format; see [Reader].
func ReadFile(path string, formats ...Format) (records []Record, format string, err error) {
	r, err := Open(path, formats...)
	if err != nil {
		return nil, "", err
	}
	defer r.Close()
	records, err = r.ReadAll()
	return records, r.Format(), err
}
