package dataset

import (
	"fmt"
	"strings"

	"github.com/impulse-salamandra/finetune/internal/faults"
)

// Fault is one thing wrong with one record. Fields that do not apply are zero.
type Fault struct {
	File   string
	Line   int    // from 1
	Record string // the record's id, or "#3" for the third if it has none
	Field  string // such as "messages[1].role"
	Err    error
}

// Error reads file:line: record "id": field: cause.
func (f Fault) Error() string { return f.placed().Error() }

// placed returns the fault with file and record as its place.
func (f Fault) placed() *faults.Fault {
	var place []string
	if f.File != "" {
		place = append(place, fmt.Sprintf("%s:%d", f.File, f.Line))
	}
	if f.Record != "" {
		place = append(place, fmt.Sprintf("record %q", f.Record))
	}
	cause := f.Err
	if f.Field != "" {
		cause = fmt.Errorf("%s: %w", f.Field, f.Err)
	}
	return &faults.Fault{Place: strings.Join(place, ": "), Err: cause}
}

// Faults is everything wrong with a set of records, as one error.
type Faults []Fault

// Error gives one line for each cause, with the first records that it is found in
// and their number. Causes are the same that differ only in numbers.
func (fs Faults) Error() string {
	var list faults.List
	for _, f := range fs {
		list.Join(f.placed())
	}
	return fmt.Sprint(list.Err())
}

// err returns nil for no faults: a nil Faults in an error would not be nil.
func (fs Faults) err() error {
	if len(fs) == 0 {
		return nil
	}
	return fs
}
