package evalx

import (
	"cmp"
	"slices"
	"strings"
)

// severities of errors, the worst first; others rank below these.
var severities = []string{"critical", "moderate", "minor"}

// rank orders severities: a smaller one is worse.
func rank(severity string) int {
	if i := slices.Index(severities, severity); i >= 0 {
		return i
	}
	return len(severities)
}

// Class is a kind of error that the answers of a [Task] are looked through for.
type Class struct {
	Name string // "wrong_year"
	// Severity is "critical", "moderate" or "minor"; another, or none, ranks
	// below these.
	Severity string
	// Find returns the details of each finding, such as a place; "" says no more
	// than the class. r has everything but Errors and Passed; got is the value
	// that was scored, [Missing] if the answer could not be read and has no
	// stand-in.
	Find func(r Result, got Value) []string
}

// Finding is one error of a class.
type Finding struct {
	Severity string `json:"severity,omitempty"`
	Class    string `json:"class"`
	Detail   string `json:"detail,omitempty"`
}

// String returns "moderate.invented_filter:year", without the parts that are
// empty.
func (f Finding) String() string {
	text := f.Class
	if f.Severity != "" {
		text = f.Severity + "." + text
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

// ErrorCount is how often a class was found.
type ErrorCount struct {
	Severity string
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
			cmp.Compare(rank(a.Severity), rank(b.Severity)),
			cmp.Compare(a.Severity, b.Severity),
			cmp.Compare(a.Class, b.Class),
		)
	})
}
