package tokenizer

import (
	"errors"
	"fmt"
	"strings"
)

// Causes of a [Fault].
var (
	// ErrUnsupported is the cause of a fault in a file that may be sound but
	// asks for a component or an option that this package does not implement.
	ErrUnsupported = errors.New("not supported")
	// ErrMalformed is the cause of a fault in a file that contradicts itself
	// or is no tokenizer.json at all.
	ErrMalformed = errors.New("malformed")
)

// Fault is one thing wrong with a tokenizer.json. It unwraps to its cause.
type Fault struct {
	// Path says where, as the JSON member names joined by dots and 0-based
	// indices: "pre_tokenizer.pretokenizers[1].use_regex". It is empty where
	// the file as a whole is meant.
	Path string
	// Cause is ErrUnsupported or ErrMalformed.
	Cause error
	// Detail says what was found and what was expected.
	Detail string
}

func (f *Fault) Error() string {
	text := fmt.Sprintf("%v: %s", f.Cause, f.Detail)
	if f.Path != "" {
		text = f.Path + ": " + text
	}
	return text
}

func (f *Fault) Unwrap() error { return f.Cause }

// ParseError lists every fault found in one tokenizer.json.
type ParseError struct {
	Faults []*Fault // at least one, in the order of the checks
}

// shownFaults bounds the message of a ParseError: one wrong vocabulary can
// make every merge wrong.
const shownFaults = 20

func (e *ParseError) Error() string {
	var text strings.Builder
	fmt.Fprintf(&text, "tokenizer: tokenizer.json has %d fault(s)", len(e.Faults))
	for i, f := range e.Faults {
		if i == shownFaults {
			fmt.Fprintf(&text, "\n\tand %d more", len(e.Faults)-i)
			break
		}
		text.WriteString("\n\t" + f.Error())
	}
	return text.String()
}

// Unwrap returns the faults, for [errors.Is] and [errors.As].
func (e *ParseError) Unwrap() []error {
	errs := make([]error, len(e.Faults))
	for i, f := range e.Faults {
		errs[i] = f
	}
	return errs
}

// faults collects what a parse finds wrong.
type faults struct {
	list []*Fault
}

func (fs *faults) malformed(path, format string, args ...any) {
	fs.list = append(fs.list, &Fault{path, ErrMalformed, fmt.Sprintf(format, args...)})
}

func (fs *faults) unsupported(path, format string, args ...any) {
	fs.list = append(fs.list, &Fault{path, ErrUnsupported, fmt.Sprintf(format, args...)})
}

// err returns nil if nothing was found.
func (fs *faults) err() error {
	if len(fs.list) == 0 {
		return nil
	}
	return &ParseError{Faults: fs.list}
}
