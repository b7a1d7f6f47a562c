package impulse

import (
	"errors"
	"fmt"
	"strings"
)

// Causes of faults.
var (
	// ErrSyntax: the file is not JSON.
	ErrSyntax = errors.New("not JSON")
	// ErrUTF8: bytes that are not UTF-8, or half of a surrogate pair.
	ErrUTF8 = errors.New("not valid UTF-8")
	// ErrDepth: nesting deeper than [MaxDepth].
	ErrDepth = errors.New("nested too deep")
	// ErrDuplicateKey: a key stands twice in one object.
	ErrDuplicateKey = errors.New("duplicate key")
	// ErrType: a value has another JSON type than it must.
	ErrType = errors.New("wrong type")
	// ErrMissing: a required key is absent.
	ErrMissing = errors.New("missing")
	// ErrUnknownKey: the schema has no such key.
	ErrUnknownKey = errors.New("unknown key")
	// ErrValue: the schema excludes the value.
	ErrValue = errors.New("bad value")
	// ErrBlank: a text is empty or white space.
	ErrBlank = errors.New("blank")
	// ErrDuplicateID: an earlier record has the same meta.id.
	ErrDuplicateID = errors.New("duplicate id")
	// ErrControlToken: a text holds a control token of the chat template.
	ErrControlToken = errors.New("control token in a text")
	// ErrVariant: the records are of both variants.
	ErrVariant = errors.New("mixed variants")
	// ErrEmpty: a file without records.
	ErrEmpty = errors.New("no records")
	// ErrInconsistent: two fields disagree. Always a warning.
	ErrInconsistent = errors.New("inconsistent")
	// ErrBOM: the file begins with a byte-order mark. Always a warning.
	ErrBOM = errors.New("byte-order mark")
)

// Errors that do not concern one file's content.
var (
	// ErrNoFiles: no file fits the pattern.
	ErrNoFiles = errors.New("no batch files")
	// ErrSchema: the given schema is not a JSON Schema.
	ErrSchema = errors.New("bad JSON Schema")
	// ErrPrompt: a system prompt is empty, not UTF-8, or holds a control token.
	ErrPrompt = errors.New("bad system prompt")
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
	// Err is the cause, one of this package's errors.
	Err error
}

// Error gives the fault in one line:
//
//	batch2.json:29: index 1 (TRAIN_0102) filters: want object, got array
func (f Fault) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d: ", f.File, f.Line)
	switch {
	case f.Index >= 0:
		id := f.ID
		if id == "" {
			id = "no id"
		}
		b.WriteString(strings.TrimRight(fmt.Sprintf("index %d (%s) %s", f.Index, id, f.Path), " "))
	case f.Path == "":
		b.WriteString("top level")
	default:
		b.WriteString(f.Path)
	}
	b.WriteString(": ")
	if f.Warning {
		b.WriteString("warning: ")
	}
	b.WriteString(f.Message)
	if errors.Is(f.Err, ErrSyntax) || errors.Is(f.Err, ErrUTF8) {
		fmt.Fprintf(&b, " (byte offset %d)", f.Offset)
	}
	return b.String()
}

// Unwrap returns Err.
func (f Fault) Unwrap() error { return f.Err }

// FaultsError is everything wrong with a set of batch files, warnings included,
// in the order of the files.
type FaultsError struct {
	Faults []Fault
}

// Error gives one line per fault and a last line with their number.
func (e *FaultsError) Error() string {
	var b strings.Builder
	errs := 0
	files := map[string]bool{}
	for _, f := range e.Faults {
		b.WriteString(f.Error() + "\n")
		files[f.File] = true
		if !f.Warning {
			errs++
		}
	}
	fmt.Fprintf(&b, "impulse: errors: %d, warnings: %d, files with faults: %d", errs, len(e.Faults)-errs, len(files))
	return b.String()
}

// Unwrap returns the faults, so that [errors.Is] finds each cause.
func (e *FaultsError) Unwrap() []error {
	errs := make([]error, len(e.Faults))
	for i, f := range e.Faults {
		errs[i] = f
	}
	return errs
}
