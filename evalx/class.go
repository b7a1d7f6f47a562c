package evalx

import (
	"cmp"
	"slices"
	"strings"
)

// Severity ranks the classes of errors of a task.
type Severity string

// The usual severities, the worst first. A class can have another one, which
// ranks below these, or none.
const (
	Critical Severity = "critical"
	Moderate Severity = "moderate"
	Minor    Severity = "minor"
)

// rank orders severities: a smaller one is worse.
func (s Severity) rank() int {
	i := slices.Index([]Severity{Critical, Moderate, Minor}, s)
	if i < 0 {
		return 3
	}
	return i
}

// Class is a kind of error that the answers of a [Task] are looked through for.
type Class struct {
	Name     string // "wrong_year"
	Severity Severity
	// Find returns the details of each finding, such as a place; "" says no more
	// than the class. r has everything but Errors and Passed; got is the value
	// that was scored, [Missing] if the answer could not be read and has no
	// stand-in. [Unreadable], [WrongValue] and [InventedValue] make such
	// functions.
	Find func(r Result, got Value) []string
}

// Finding is one error of a class.
type Finding struct {
	Severity Severity `json:"severity,omitempty"`
	Class    string   `json:"class"`
	Detail   string   `json:"detail,omitempty"`
}

// String returns "moderate.invented_filter:year", without the parts that are
// empty.
func (f Finding) String() string {
	text := f.Class
	if f.Severity != "" {
		text = string(f.Severity) + "." + text
	}
	if f.Detail != "" {
		text += ":" + f.Detail
	}
	return text
}

// findAll looks for all classes, sorted by their text.
func findAll(classes []Class, r Result, got Value) []Finding {
	var findings []Finding
	for _, c := range classes {
		for _, detail := range c.Find(r, got) {
			findings = append(findings, Finding{c.Severity, c.Name, detail})
		}
	}
	slices.SortStableFunc(findings, func(a, b Finding) int { return strings.Compare(a.String(), b.String()) })
	return findings
}

// Unreadable finds answers that could not be read.
func Unreadable() func(Result, Value) []string {
	return func(r Result, _ Value) []string {
		if r.ParseError != nil {
			return []string{""}
		}
		return nil
	}
}

// WrongValue finds answers that were scored and are wrong in the field with the
// label although there was a value to be found: null, "", [] and {} are none.
func WrongValue(label string) func(Result, Value) []string {
	return func(r Result, got Value) []string {
		f, _ := r.Field(label)
		if _, unread := got.(Missing); unread || f.Correct || isEmpty(f.Want) {
			return nil
		}
		return []string{""}
	}
}

// InventedValue finds values that were given where none was wanted, in any of
// the fields with these labels. The detail is the label.
func InventedValue(labels ...string) func(Result, Value) []string {
	return func(r Result, _ Value) []string {
		var details []string
		for _, f := range r.Fields {
			if slices.Contains(labels, f.Label()) && !f.Correct && isEmpty(f.Want) && !isEmpty(f.Got) {
				details = append(details, f.Label())
			}
		}
		return details
	}
}

// ErrorCount is how often a class was found.
type ErrorCount struct {
	Severity Severity
	Class    string
	Findings int // in all answers
	Answers  int // with at least one
}

func (s *Summary) addErrors(findings []Finding) {
	seen := map[Finding]bool{}
	for _, f := range findings {
		class := Finding{Severity: f.Severity, Class: f.Class}
		i := slices.IndexFunc(s.Errors, func(e ErrorCount) bool { return e.Severity == f.Severity && e.Class == f.Class })
		if i < 0 {
			i = len(s.Errors)
			s.Errors = append(s.Errors, ErrorCount{Severity: f.Severity, Class: f.Class})
		}
		s.Errors[i].Findings++
		if !seen[class] {
			seen[class] = true
			s.Errors[i].Answers++
		}
	}
}

func (s *Summary) sortErrors() {
	slices.SortFunc(s.Errors, func(a, b ErrorCount) int {
		return cmp.Or(
			cmp.Compare(a.Severity.rank(), b.Severity.rank()),
			cmp.Compare(a.Severity, b.Severity),
			cmp.Compare(a.Class, b.Class),
		)
	})
}
