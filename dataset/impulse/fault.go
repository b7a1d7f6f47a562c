package impulse

import (
	"errors"
	"fmt"
	"strings"

	"github.com/impulse-salamandra/finetune/internal/faults"
)

// Causes of faults.
var (
	// errSyntax: the file is not JSON.
	errSyntax = errors.New("not JSON")
	// errUTF8: bytes that are not UTF-8, or half of a surrogate pair.
	errUTF8 = errors.New("not valid UTF-8")
	// errDepth: nesting deeper than 64 levels.
	errDepth = errors.New("nested too deep")
	// errDuplicateKey: a key stands twice in one object.
	errDuplicateKey = errors.New("duplicate key")
	// errType: a value has another JSON type than it must.
	errType = errors.New("wrong type")
	// errMissing: a required key is absent.
	errMissing = errors.New("missing")
	// errUnknownKey: the schema has no such key.
	errUnknownKey = errors.New("unknown key")
	// errValue: the schema excludes the value.
	errValue = errors.New("bad value")
	// errBlank: a text is empty or white space.
	errBlank = errors.New("blank")
	// errDuplicateID: an earlier record has the same meta.id.
	errDuplicateID = errors.New("duplicate id")
	// errControlToken: a text holds a control token of the chat template.
	errControlToken = errors.New("control token in a text")
	// errVariant: the records are of both variants.
	errVariant = errors.New("mixed variants")
	// errEmpty: a file without records.
	errEmpty = errors.New("no records")
	// errInconsistent: two fields disagree. Always a warning.
	errInconsistent = errors.New("inconsistent")
	// errBOM: the file begins with a byte-order mark. Always a warning.
	errBOM = errors.New("byte-order mark")
)

// Fault is one thing wrong with a batch file.
type Fault struct {
	// File is the name under which the file was read.
	File string
	// Index is the record's place in the file from 0, or -1 if the fault is in
	// no record.
	Index int
	// ID is the record's meta.id, empty if it has none.
	ID string
	// Path leads to the field, such as "organisations[0].name"; empty means the
	// record or, without a record, the top level of the file.
	Path string
	// Line counts from 1, Offset, in bytes, from 0. They are those of the value
	// at fault or, for a missing key, of the object that lacks it.
	Line, Offset int
	// Message says what is wrong and what was expected.
	Message string
	// Warning marks what does not make the file unusable.
	Warning bool

	err error // the cause
}

// Error gives the fault in one line:
//
//	batch2.json:29: index 1 (TRAIN_0102) filters: want object, got array
func (f Fault) Error() string { return f.placed().Error() }

// placed returns the fault with file, line, record and field as its place.
func (f Fault) placed() *faults.Fault {
	place := fmt.Sprintf("%s:%d: ", f.File, f.Line)
	switch {
	case f.Index >= 0:
		id := f.ID
		if id == "" {
			id = "no id"
		}
		place += strings.TrimRight(fmt.Sprintf("index %d (%s) %s", f.Index, id, f.Path), " ")
	case f.Path == "":
		place += "top level"
	default:
		place += f.Path
	}
	text := f.Message
	if f.Warning {
		text = "warning: " + text
	}
	if errors.Is(f.err, errSyntax) || errors.Is(f.err, errUTF8) {
		text = fmt.Sprintf("%s (byte offset %d)", text, f.Offset)
	}
	return &faults.Fault{Place: place, Err: faults.Caused(f.err, "%s", text)}
}

// FaultsError is everything wrong with a set of batch files, warnings included,
// in the order of the files.
type FaultsError struct {
	Faults []Fault
}

// Error gives a line for each cause, with the first places and their number, and a
// last line with the number of all faults.
func (e *FaultsError) Error() string {
	var list faults.List
	errs := 0
	files := map[string]bool{}
	for _, f := range e.Faults {
		list.Join(f.placed())
		files[f.File] = true
		if !f.Warning {
			errs++
		}
	}
	return fmt.Sprintf("%v\nimpulse: errors: %d, warnings: %d, files with faults: %d", list.Err(), errs, len(e.Faults)-errs, len(files))
}
