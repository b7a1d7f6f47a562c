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
	// ErrUnsatisfiable is the cause where no value is valid.
	ErrUnsatisfiable = errors.New("no value is valid")
	// ErrConstant is the cause where a constant cannot be put in its place.
	ErrConstant = errors.New("constant does not fit")
	// ErrTooLarge is the cause where a limit of [Options] is exceeded.
	ErrTooLarge = errors.New("too large")
	// ErrVocabulary says that a vocabulary cannot spell the answers of a grammar.
	ErrVocabulary = errors.New("vocabulary lacks bytes")
	// ErrToken says that a token is not allowed where it was given.
	ErrToken = errors.New("token not allowed")
	// ErrBudget says that no completion is short enough.
	ErrBudget = errors.New("budget too small")
)

// Fault is one thing wrong with a schema or a constant. It unwraps to its cause.
type Fault struct {
	// Pointer is the JSON pointer of the place in the schema, "" for the whole;
	// for ErrConstant it is the path of the constant.
	Pointer string
	// Cause is ErrMalformed, ErrUnsupported, ErrUnsatisfiable, ErrConstant or
	// ErrTooLarge.
	Cause error
	// Detail names what was found and says what was expected.
	Detail string
}

func (f *Fault) Error() string {
	if f.Pointer == "" {
		return fmt.Sprintf("%v: %s", f.Cause, f.Detail)
	}
	return fmt.Sprintf("%s: %v: %s", f.Pointer, f.Cause, f.Detail)
}

// Unwrap returns the cause.
func (f *Fault) Unwrap() error { return f.Cause }

// CompileError lists every fault found in a schema and its constants.
type CompileError struct {
	Faults []*Fault // at least one
}

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
