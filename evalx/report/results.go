package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/impulse-salamandra/finetune/evalx"
)

// resultsVersion rises when a field of the file changes its meaning.
const resultsVersion = 1

// WriteJSON writes a run and its counts as one JSON document, indented by two
// blanks:
//
//	{
//	  "version": 1,
//	  "task": "impulse",
//	  "constrained": true,
//	  "summary": {"overall": {"passed": {"count": 18, "total": 20, "share": 0.9, "low": 0.698966, "high": 0.972134}, ...}, "groups": [...], "fields": [...], "errors": [...]},
//	  "results": [{"id": "TEST_0001", "passed": true, ..., "fields": [{"path": "filters.year", "want": "2023", "got": null, "correct": false}, ...], ...}, ...]
//	}
//
// Results keep their order, keys have a fixed one, members of wanted and given
// values are sorted, and shares are rounded to six decimals: the same results
// give the same bytes. A share of no cases is null, and so is "schema_compliant"
// where there was no schema; "want" or "got" is left out
// where there is nothing, "constrained" is null where it is not known. A run of
// bytes in an answer that is not UTF-8 becomes U+FFFD.
//
// It fails if a wanted value is not JSON or if w does.
func WriteJSON(w io.Writer, r Run) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	file := resultsFile{
		Version: resultsVersion, Task: r.Task, Comparators: r.Comparators, Constrained: r.Constrained,
		Summary: summaryJSON(evalx.Summarize(r.Results)), Results: []resultFile{},
	}
	for _, result := range r.Results {
		file.Results = append(file.Results, resultJSON(result))
	}
	if err := enc.Encode(file); err != nil {
		return fmt.Errorf("write results: %w", err)
	}
	return nil
}

type resultsFile struct {
	Version     int               `json:"version"`
	Task        string            `json:"task"`
	Comparators map[string]string `json:"comparators,omitempty"`
	Constrained *bool             `json:"constrained"`
	Summary     summaryFile       `json:"summary"`
	Results     []resultFile      `json:"results"`
}

type summaryFile struct {
	Overall countsFile  `json:"overall"`
	Groups  []groupFile `json:"groups"`
	Fields  []countFile `json:"fields"`
	Errors  []errorFile `json:"errors"`
}

type errorFile struct {
	Severity string `json:"severity"`
	Class    string `json:"class"`
	Findings int    `json:"findings"`
	Answers  int    `json:"answers"`
}

type groupFile struct {
	Name   string      `json:"name"`
	Values []valueFile `json:"values"`
}

type valueFile struct {
	Value string `json:"value"`
	countsFile
}

type countsFile struct {
	Passed     shareFile  `json:"passed"`
	ValidJSON  shareFile  `json:"valid_json"`
	Compliant  *shareFile `json:"schema_compliant"` // nil without a schema, as below
	AllCorrect shareFile  `json:"all_correct"`
	Fields     shareFile  `json:"fields_correct"`
}

type shareFile struct {
	Count int      `json:"count"`
	Total int      `json:"total"`
	Share *float64 `json:"share"`
	Low   float64  `json:"low"`
	High  float64  `json:"high"`
}

type countFile struct {
	Path      string    `json:"path"`
	Correct   shareFile `json:"correct"`
	Expected  int       `json:"expected"`
	Given     int       `json:"given"`
	Right     int       `json:"right"`
	Precision *float64  `json:"precision"`
	Recall    *float64  `json:"recall"`
	F1        *float64  `json:"f1"`
}

type resultFile struct {
	ID         string            `json:"id"`
	QuestionID string            `json:"question_id,omitempty"`
	Question   string            `json:"question,omitempty"`
	Groups     []evalx.Label     `json:"groups"`
	Passed     bool              `json:"passed"`
	ValidJSON  bool              `json:"valid_json"`
	Compliant  *bool             `json:"schema_compliant"`
	AllCorrect bool              `json:"all_correct"`
	ParseError *parseFaultFile   `json:"parse_error,omitempty"`
	Violations []evalx.Violation `json:"violations"`
	Fields     []fieldFile       `json:"fields"`
	Errors     []evalx.Finding   `json:"errors"`
	Want       fieldValue        `json:"want,omitzero"`
	Answer     string            `json:"answer"`
}

type parseFaultFile struct {
	Offset  int    `json:"offset"` // -1 if the place is not known
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Message string `json:"message"`
}

type fieldFile struct {
	Name    string     `json:"name,omitempty"`
	Path    string     `json:"path"`
	Want    fieldValue `json:"want,omitzero"`
	Got     fieldValue `json:"got,omitzero"`
	Correct bool       `json:"correct"`
}

// fieldValue is a value that is left out of the file if it is Missing, so that
// null and nothing differ.
type fieldValue struct {
	present bool
	value   evalx.Value
}

func present(v evalx.Value) fieldValue {
	if _, missing := v.(evalx.Missing); missing {
		return fieldValue{}
	}
	return fieldValue{true, v}
}

// get is the reverse of present.
func (v fieldValue) get() evalx.Value {
	if !v.present {
		return evalx.Missing{}
	}
	return v.value
}

// IsZero implements what omitzero asks.
func (v fieldValue) IsZero() bool { return !v.present }

// MarshalJSON implements [json.Marshaler].
func (v fieldValue) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v.value)
	return b.Bytes(), err
}

// UnmarshalJSON implements [json.Unmarshaler].
func (v *fieldValue) UnmarshalJSON(data []byte) (err error) {
	v.present = true
	v.value, err = evalx.Parse(string(data))
	return err
}

func summaryJSON(s evalx.Summary) summaryFile {
	file := summaryFile{Overall: countsJSON(s.Overall), Groups: []groupFile{}, Fields: []countFile{}, Errors: []errorFile{}}
	for _, values := range grouped(s.Groups) {
		group := groupFile{Name: values[0].Name}
		for _, v := range values {
			group.Values = append(group.Values, valueFile{v.Value, countsJSON(v.Counts)})
		}
		file.Groups = append(file.Groups, group)
	}
	for _, f := range s.Fields {
		file.Fields = append(file.Fields, countFile{
			Path: f.Name, Correct: shareJSON(f.Correct),
			Expected: f.Expected, Given: f.Given, Right: f.Right,
			Precision: orNull(f.Precision().Value()), Recall: orNull(f.Recall().Value()), F1: orNull(f.F1()),
		})
	}
	for _, e := range s.Errors {
		file.Errors = append(file.Errors, errorFile(e))
	}
	return file
}

func countsJSON(c evalx.Counts) countsFile {
	file := countsFile{
		Passed:     shareJSON(c.Passed),
		ValidJSON:  shareJSON(c.ValidJSON),
		AllCorrect: shareJSON(c.AllCorrect),
		Fields:     shareJSON(c.Fields),
	}
	if hasSchema(c) {
		compliant := shareJSON(c.Compliant)
		file.Compliant = &compliant
	}
	return file
}

func shareJSON(s evalx.Share) shareFile {
	low, high := s.Wilson()
	return shareFile{s.Count, s.Total, orNull(s.Value()), rounded(low), rounded(high)}
}

// rounded hides the last bits, which processors may compute differently.
func rounded(value float64) float64 { return math.Round(value*1e6) / 1e6 }

// orNull rounds a value, or returns nil if there is none.
func orNull(value float64, ok bool) *float64 {
	if !ok {
		return nil
	}
	value = rounded(value)
	return &value
}

func resultJSON(r evalx.Result) resultFile {
	file := resultFile{
		ID: r.ID, QuestionID: r.QuestionID, Question: strings.ToValidUTF8(r.Question, "\ufffd"),
		Want: present(r.Want), Answer: strings.ToValidUTF8(r.Answer, "\ufffd"),
		Passed: r.Passed, ValidJSON: r.ValidJSON(), AllCorrect: r.AllCorrect,
		Groups:     append([]evalx.Label{}, r.Groups...),
		Violations: append([]evalx.Violation{}, r.Violations...),
		Fields:     []fieldFile{},
		Errors:     append([]evalx.Finding{}, r.Errors...),
	}
	if compliant := r.Compliant(); !r.NoSchema {
		file.Compliant = &compliant
	}
	if r.ParseError != nil {
		fault := parseFaultFile{Offset: -1, Message: r.ParseError.Error()}
		var place *evalx.ParseError
		if errors.As(r.ParseError, &place) {
			fault = parseFaultFile{place.Offset, place.Line, place.Column, place.Reason}
		}
		file.ParseError = &fault
	}
	for _, f := range r.Fields {
		file.Fields = append(file.Fields, fieldFile{nameBeside(f), f.Path, present(f.Want), present(f.Got), f.Correct})
	}
	return file
}

// nameBeside is the name of a field, "" if that is its path.
func nameBeside(f evalx.FieldResult) string {
	if f.Name == f.Path {
		return ""
	}
	return f.Name
}
