package evalx

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// ErrResults: a file is not one that WriteJSON wrote, or is of another version.
var ErrResults = errors.New("bad results file")

// ReadJSON reads what [WriteJSON] wrote and returns the name of the task and the
// results. Writing them again gives the same bytes, since the summary is counted
// anew. A result that the file calls unreadable has a [*ParseError] with the
// place and the text of the reason; errors.Is finds the cause in it.
//
// name stands for the file in errors, which wrap [ErrResults].
func ReadJSON(name string, data []byte) (task string, results []Result, err error) {
	var file resultsFile
	if err := json.Unmarshal(data, &file); err != nil {
		return "", nil, fmt.Errorf("evalx: %s: %w: %w", name, ErrResults, err)
	}
	if file.Version != resultsVersion {
		return "", nil, fmt.Errorf("evalx: %s: %w: version %d, want %d", name, ErrResults, file.Version, resultsVersion)
	}
	if file.Results == nil {
		return "", nil, fmt.Errorf("evalx: %s: %w: no list of results", name, ErrResults)
	}
	for _, f := range file.Results {
		results = append(results, f.result())
	}
	return file.Task, results, nil
}

func (f resultFile) result() Result {
	r := Result{
		ID: f.ID, Answer: f.Answer, Want: f.Want.get(),
		Groups: f.Groups, Violations: f.Violations, Errors: f.Errors,
		AllCorrect: f.AllCorrect, Passed: f.Passed,
	}
	if fault := f.ParseError; fault != nil {
		r.ParseError = savedError(fault.Message)
		if fault.Offset >= 0 {
			r.ParseError = &ParseError{Offset: fault.Offset, Line: fault.Line, Column: fault.Column, Err: r.ParseError}
		}
	}
	for _, field := range f.Fields {
		r.Fields = append(r.Fields, FieldResult{
			Name: field.Name, Path: field.Path, Want: field.Want.get(), Got: field.Got.get(), Correct: field.Correct,
		})
	}
	return r
}

// savedError is the text of an error, which begins with that of its cause.
type savedError string

func (e savedError) Error() string { return string(e) }

// Is reports whether the error that was saved wrapped a cause of ParseError.
func (e savedError) Is(cause error) bool {
	for _, known := range []error{ErrEmpty, ErrSyntax, ErrTruncated, ErrTrailing, ErrDuplicateKey, ErrDepth, ErrUTF8, ErrNumber, ErrNoObject} {
		if cause == known {
			return strings.HasPrefix(string(e), known.Error())
		}
	}
	return false
}
