package constrain

import (
	"errors"
	"fmt"
	"strings"
)

// Causes of a [Fault] and of the errors of a [Matcher].
var (
	// ErrMalformed is the cause where a schema is not JSON, or a keyword has a
	// value that JSON Schema does not allow.
	ErrMalformed = errors.New("malformed schema")
	// ErrUnsupported is the cause where a keyword cannot be enforced.
	ErrUnsupported = errors.New("cannot be enforced")
	// errUnsatisfiable is the cause where no value is valid.
	errUnsatisfiable = errors.New("no value is valid")
	// errConstant is the cause where a constant cannot be put in its place.
	errConstant = errors.New("constant does not fit")
	// ErrNoPlace is the cause where the place of a constant is missing: the schema has no property of that path.
	ErrNoPlace = fmt.Errorf("%w, nowhere", errConstant)
	// ErrTooLarge is the cause where a limit of [Options] is exceeded.
	ErrTooLarge = errors.New("too large")
	// errVocabulary says that a vocabulary cannot spell the answers of a grammar.
	errVocabulary = errors.New("vocabulary lacks bytes")
	// errToken says that a token is not allowed where it was given.
	errToken = errors.New("token not allowed")
	// errBudget says that no completion is short enough.
	errBudget = errors.New("budget too small")
)

// Fault is one thing wrong with a schema or a constant. It unwraps to its cause.
type Fault struct {
	// Pointer is the JSON pointer of the place in the schema, "" for the whole;
	// where a constant does not fit, its path.
	Pointer string
	// Cause is one to test for with errors.Is, such as ErrMalformed or ErrTooLarge.
	Cause error
	// Detail names what was found.
	Detail string
	// Instead is the nearest form that is taken, "" of constants.
	Instead string
}

// fault is a fault at a place of a schema. The arguments are those of what was found,
// and then of what is taken instead.
func (r reason) fault(pointer string, args ...any) *Fault {
	say := refusals[r]
	n := strings.Count(say.why, "%")
	return &Fault{pointer, say.cause, fmt.Sprintf(say.why, args[:n]...), fmt.Sprintf(say.instead, args[n:]...)}
}

// Error returns "POINTER: CAUSE: DETAIL; want INSTEAD".
func (f *Fault) Error() string {
	text := fmt.Sprintf("%v: %s", f.Cause, f.Detail)
	if f.Pointer != "" {
		text = f.Pointer + ": " + text
	}
	if f.Instead != "" {
		text += "; want " + f.Instead
	}
	return text
}

// Unwrap returns the cause.
func (f *Fault) Unwrap() error { return f.Cause }

// tooLarge is an error of which the cause is ErrTooLarge.
func tooLarge(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrTooLarge}, args...)...)
}

// CompileError lists every fault found in a schema and its constants.
type CompileError struct {
	Faults []*Fault // at least one
}

// Error lists the faults.
func (e *CompileError) Error() string {
	var list strings.Builder
	for i, f := range e.Faults {
		if i > 0 {
			list.WriteString("; ")
		}
		list.WriteString(f.Error())
	}
	return "constrain: " + list.String()
}

// Unwrap returns the faults, for errors.Is and errors.As.
func (e *CompileError) Unwrap() []error {
	list := make([]error, len(e.Faults))
	for i, f := range e.Faults {
		list[i] = f
	}
	return list
}
