package dataset

import (
	"errors"
	"fmt"
	"strings"
)

// Causes of faults.
var (
	// ErrSyntax: a line, or an item of an array, is not one JSON value.
	ErrSyntax = errors.New("not JSON")
	// ErrType: a field, or the record itself, has another JSON type than it must.
	ErrType = errors.New("wrong type")
	// ErrMissing: a required field is absent or empty.
	ErrMissing = errors.New("missing")
	// ErrDuplicate: a key stands twice in an object, or an id in the records.
	ErrDuplicate = errors.New("duplicate")
	// ErrTooLong: a record is longer than [MaxRecord].
	ErrTooLong = errors.New("record too long")
	// ErrFormat: a record has the keys of no known format, or of several.
	ErrFormat = errors.New("unknown format")
	// ErrMixed: a record is of another format than those before it.
	ErrMixed = errors.New("mixed formats")
	// ErrOverlong: a record has more tokens than the builder's limit.
	ErrOverlong = errors.New("too many tokens")
	// ErrUntrained: an example has no token to learn, or its mask does not fit
	// its ids.
	ErrUntrained = errors.New("bad mask of trained tokens")
	// ErrEmpty: there are no records or examples, or none is left.
	ErrEmpty = errors.New("no examples")
	// ErrOption: an option is out of range.
	ErrOption = errors.New("bad option")
	// ErrShape: the asked batch fits no shape of the plan.
	ErrShape = errors.New("no shape fits")
)

// Fault is one thing wrong with one record. Fields that do not apply are zero.
type Fault struct {
	File   string
	Line   int    // from 1
	Record string // the record's id, or "#3" for the third if it has none
	Field  string // such as "messages[1].role"
	Err    error  // wraps one of this package's or chatml's errors
}

// Error reads file:line: record "id": field: cause.
func (f Fault) Error() string {
	var b strings.Builder
	if f.File != "" {
		fmt.Fprintf(&b, "%s:%d: ", f.File, f.Line)
	}
	if f.Record != "" {
		fmt.Fprintf(&b, "record %q: ", f.Record)
	}
	if f.Field != "" {
		fmt.Fprintf(&b, "%s: ", f.Field)
	}
	return b.String() + f.Err.Error()
}

// Unwrap returns Err.
func (f Fault) Unwrap() error { return f.Err }

// Faults is everything wrong with a set of records, as one error.
type Faults []Fault

// Error gives one line per fault, the first hundred and the number of the rest.
func (fs Faults) Error() string {
	const most = 100
	var b strings.Builder
	fmt.Fprintf(&b, "dataset: %d faults:", len(fs))
	for _, f := range fs[:min(len(fs), most)] {
		b.WriteString("\n  " + f.Error())
	}
	if len(fs) > most {
		fmt.Fprintf(&b, "\n  and %d more", len(fs)-most)
	}
	return b.String()
}

// Unwrap returns the faults, so that [errors.Is] finds each cause.
func (fs Faults) Unwrap() []error {
	errs := make([]error, len(fs))
	for i, f := range fs {
		errs[i] = f
	}
	return errs
}

// err returns nil for no faults: a nil Faults in an error would not be nil.
func (fs Faults) err() error {
	if len(fs) == 0 {
		return nil
	}
	return fs
}
