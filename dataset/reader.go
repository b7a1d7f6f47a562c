package dataset

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"

	"github.com/impulse-salamandra/finetune/internal/strictjson"
)

// maxDepth is how many arrays and objects may lie within one another in a record.
const maxDepth = 200

// Reader reads records one by one, so that it needs memory for only the longest
// record whatever their number.
//
// A file is one object per line (JSON Lines), one JSON array of objects, objects
// one after the other over as many lines as they like, one object that holds such
// an array under "data", "train", "records", "examples", "rows" or the
// [Format.List] of a format, or a table (CSV or TSV) whose first row names the
// columns. It may be packed by gzip, and be UTF-16 or UTF-32. A byte-order mark
// at its start and blank lines are skipped.
//
// The formats of records are:
//
//	{"messages": [{"role": "user", "content": "Hola"}, {"role": "assistant", "content": "Bon dia"}]}
//	{"conversations": [{"from": "human", "value": "Hola"}, {"from": "gpt", "value": "Bon dia"}]}
//	{"prompt": "Hola", "completion": "Bon dia"}
//	{"instruction": "Translate to Catalan.", "input": "good morning", "output": "bon dia"}
//
// with the keys id, lang and system beside them if wanted; see docs/data.md for
// the other spellings, and for weights and histories. The first record that is of
// a format decides the format of all. What would change the conversation and is
// not known is refused; other keys are in [Record.Extra].
type Reader struct {
	name   string
	own    []Format
	format string
	source *source
	failed error // of the file as a whole
	file   io.Closer
}

// NewReader reads from in, which name stands for in errors. The formats given are
// known beside those of the package.
func NewReader(in io.Reader, name string, formats ...Format) *Reader {
	lists := listKeys
	for _, f := range formats {
		if f.List != "" {
			lists = append(lists[:len(lists):len(lists)], f.List)
		}
	}
	r := &Reader{name: name, own: formats}
	r.source, r.failed = newSource(in, lists)
	return r
}

// Open reads a file; see [NewReader]. Close the reader after use.
func Open(path string, formats ...Format) (*Reader, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
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
func (r *Reader) Format() string { return r.format }

// Records yields the records in order, once. In place of one that cannot be used
// it yields what is wrong with it as [Faults], and reads on. Any other error is
// of the file, and the last.
func (r *Reader) Records() iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		if r.failed != nil {
			yield(Record{}, fmt.Errorf("%s: %w", r.name, r.failed))
			return
		}
		for {
			text, err := r.source.next()
			var fault errText
			switch {
			case errors.Is(err, io.EOF):
				return
			case errors.As(err, &fault):
				err = Faults{{File: r.name, Line: r.source.startLine, Err: fault}}
			case err != nil:
				yield(Record{}, fmt.Errorf("%s:%d: %w", r.name, r.source.line, err))
				return
			}
			var record Record
			if err == nil {
				record, err = r.record(text)
			}
			if !yield(record, err) {
				return
			}
		}
	}
}

// record reads one record, and decides the format if it is the first.
func (r *Reader) record(text []byte) (Record, error) {
	line := r.source.startLine
	record, faults := r.parse(text)
	r.place(faults, line)
	r.place(record.Warnings, line)
	if len(faults) > 0 {
		return Record{}, faults
	}
	record.File, record.Line = r.name, line
	return record, nil
}

// place says where faults of the record that begins on a line are.
func (r *Reader) place(faults Faults, line int) {
	for i := range faults {
		faults[i].File = r.name
		faults[i].Line += line
	}
}

// parse reads the record of a text, or of the present row. Lines count from its
// first.
func (r *Reader) parse(text []byte) (Record, Faults) {
	object := r.source.row
	if object == nil {
		root, faults, _ := strictjson.Parse(text, 0, maxDepth)
		if len(faults) > 0 {
			return Record{}, r.textFaults(text, &root, faults)
		}
		object = &root
	}
	foldKeys(object)
	f, err := detect(r.own, object)
	if err != nil {
		return Record{}, Faults{{Err: err}}
	}
	if r.format == "" {
		r.format = f.name
	}
	if f.name != r.format {
		return Record{}, Faults{{Record: object.Get("id").Characters(), Err: fmt.Errorf("the format is %s, of those before %s; want one in all the file", f.name, r.format)}}
	}
	if f.own == nil {
		return parse(f, text, object)
	}
	if text == nil {
		text = strictjson.Append(nil, object, strictjson.Layout{ItemSeparator: ",", KeySeparator: ":"})
	}
	return f.own.Read(json.RawMessage(text))
}

// textFaults says what is wrong with a text that is no JSON as it must be. Bytes
// count from the start of the line.
func (r *Reader) textFaults(text []byte, root *strictjson.Value, found []strictjson.Fault) Faults {
	var faults Faults
	for _, f := range found {
		line, column := strictjson.Position(text, f.Offset)
		if line == 1 {
			column += r.source.startColumn - 1
		}
		detail := f.Detail
		switch rest := text[f.Offset:]; {
		case f.Cause == strictjson.UTF8 && text[f.Offset] != '\\':
			detail = notUTF8(text[f.Offset])
		case f.Cause == strictjson.Syntax && f.Offset == 0 && string(rest[:min(3, len(rest))]) == "\ufeff":
			detail = "not JSON: byte-order mark (U+FEFF) at the start of a line: were files put together? take it out"
		case f.Cause == strictjson.Syntax:
			detail = "not JSON: " + detail
		}
		fault := Fault{Line: line - 1, Record: root.Get("id").Characters(), Field: f.Path.String(), Err: fmt.Errorf("%s (byte %d)", detail, column)}
		if f.Cause == strictjson.Depth {
			fault.Field = ""
		}
		faults = append(faults, fault)
	}
	return faults
}

// notUTF8 names a byte, and the character that other encodings have it for.
func notUTF8(b byte) string {
	said := fmt.Sprintf("byte 0x%02x is not UTF-8", b)
	if c := charmap.Windows1252.DecodeByte(b); c != utf8.RuneError && unicode.IsPrint(c) {
		said += fmt.Sprintf(" (in Windows-1252 or Latin-1 it is %q): save the file as UTF-8", c)
	}
	return said
}

// ReadFile reads all records of a file and returns the name of their format; see
// [Reader] and [Reader.ReadAll].
func ReadFile(path string, formats ...Format) (records []Record, format string, err error) {
	r, err := Open(path, formats...)
	if err != nil {
		return nil, "", err
	}
	defer r.Close()
	records, err = r.ReadAll()
	return records, r.Format(), err
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
