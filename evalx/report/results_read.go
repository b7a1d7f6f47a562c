package report

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/impulse-salamandra/finetune/evalx"
)

// ReadJSON reads what [WriteJSON] wrote. Writing it again gives the same bytes,
// since the summary is counted anew. A result that the file calls unreadable has
// a [*evalx.ParseError] with the place and the reason. name is the run's, and
// stands for the file in errors.
func ReadJSON(name string, data []byte) (Run, error) {
	var file resultsFile
	if err := json.Unmarshal(data, &file); err != nil {
		return Run{}, fmt.Errorf("%s: not a file of results: %w", name, worded(err))
	}
	if file.Version != resultsVersion {
		return Run{}, fmt.Errorf("%s: not a file of results: version %d, want %d", name, file.Version, resultsVersion)
	}
	if file.Results == nil {
		return Run{}, fmt.Errorf("%s: not a file of results: it has no list of results", name)
	}
	r := Run{Name: name, Task: file.Task, Comparators: file.Comparators, Constrained: file.Constrained}
	for _, f := range file.Results {
		r.Results = append(r.Results, f.result())
	}
	return r, nil
}

// worded says without Go's types why JSON cannot be read.
func worded(err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Errorf("not JSON at byte %d", syntax.Offset)
	case errors.As(err, &kind):
		return fmt.Errorf("%s is %s", cmp.Or(kind.Field, "the whole"), kind.Value)
	}
	return err
}

func (f resultFile) result() evalx.Result {
	r := evalx.Result{
		ID: f.ID, QuestionID: f.QuestionID, Question: f.Question, Answer: f.Answer, Want: f.Want.get(),
		Groups: f.Groups, Violations: f.Violations, Errors: f.Errors,
		AllCorrect: f.AllCorrect, Passed: f.Passed, NoSchema: f.Compliant == nil,
	}
	if fault := f.ParseError; fault != nil && fault.Offset < 0 {
		r.ParseError = errors.New(fault.Message)
	} else if fault != nil {
		r.ParseError = &evalx.ParseError{Offset: fault.Offset, Line: fault.Line, Column: fault.Column, Reason: fault.Message}
	}
	for _, field := range f.Fields {
		r.Fields = append(r.Fields, evalx.FieldResult{
			Name: cmp.Or(field.Name, field.Path), Path: field.Path, Want: field.Want.get(), Got: field.Got.get(), Correct: field.Correct,
		})
	}
	return r
}
