package evalx

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/impulse-salamandra/finetune/evalx/page"
)

// WriteText writes a summary for the terminal, in one call of w.Write:
//
//	TEST RESULTS SUMMARY
//	================================================================================
//	Overall:
//	  Total tests: 20
//	  Passed: 18 (90.0%)
//	  Failed: 2 (10.0%)
//
//	By language:
//	  CA: 6/7 (85.7%)
//
// and then the rates with their 95 % intervals ([Share.Wilson]), the fields and
// the error classes.
// Text from questions is written with control characters, bidirectional marks
// and bytes that are not UTF-8 escaped, so that it cannot act on the terminal.
func WriteText(w io.Writer, s Summary) error {
	var b strings.Builder
	passed := s.Overall.Passed
	failed := Share{passed.Total - passed.Count, passed.Total}
	fmt.Fprintf(&b, "TEST RESULTS SUMMARY\n%s\nOverall:\n", strings.Repeat("=", 80))
	fmt.Fprintf(&b, "  Total tests: %d\n", passed.Total)
	fmt.Fprintf(&b, "  Passed: %d (%s)\n", passed.Count, percent(passed.Value()))
	fmt.Fprintf(&b, "  Failed: %d (%s)\n", failed.Count, percent(failed.Value()))
	for _, g := range s.Groups {
		fmt.Fprintf(&b, "\nBy %s:\n", page.Printable(g.Name))
		for _, v := range g.Values {
			fmt.Fprintf(&b, "  %s: %s\n", page.Printable(cmp.Or(v.Value, "(none)")), v.Passed)
		}
	}
	b.WriteString("\nRates (95% interval):\n")
	for _, rate := range s.Overall.rates()[1:] {
		fmt.Fprintf(&b, "  %s: %s, %s\n", rate.name, rate.Share, interval(rate.Share))
	}
	if len(s.Fields) > 0 {
		b.WriteString("\nBy field:\n")
	}
	for _, f := range s.Fields {
		fmt.Fprintf(&b, "  %s: %s, precision %s, recall %s, F1 %s\n",
			page.Printable(cmp.Or(f.Path, "(whole answer)")), f.Correct, f.Precision(), f.Recall(), percent(f.F1()))
	}
	if len(s.Errors) > 0 {
		b.WriteString("\nErrors:\n")
	}
	for _, e := range s.Errors {
		fmt.Fprintf(&b, "  %s: %d in %d answers\n", page.Printable(Finding{Severity: e.Severity, Class: e.Class}.String()), e.Findings, e.Answers)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// namedShare is a share as reports call it.
type namedShare struct {
	name string
	Share
}

func (c Counts) rates() []namedShare {
	return []namedShare{
		{"Passed", c.Passed},
		{"JSON validity", c.ValidJSON},
		{"Schema compliance", c.Compliant},
		{"All fields correct", c.AllCorrect},
		{"Fields correct", c.Fields},
	}
}

// WriteResult writes one result for the terminal: its verdict and whatever is
// wrong with it, escaped as in [WriteText].
//
//	FAILED TEST_0003 (language CA)
//	  schema: /filters/year: pattern: "2023?" does not match ^[0-9]{4}$
//	  filters.programme: want "MSCA", got null
func WriteResult(w io.Writer, r Result) error {
	var b strings.Builder
	verdict := "FAILED"
	if r.Passed {
		verdict = "PASSED"
	}
	var groups []string
	for _, label := range r.Groups {
		groups = append(groups, label.Name+" "+cmp.Or(label.Value, "(none)"))
	}
	fmt.Fprintf(&b, "%s %s (%s)\n", verdict, page.Printable(cmp.Or(r.ID, "-")), page.Printable(strings.Join(groups, ", ")))
	if r.ParseError != nil {
		fmt.Fprintf(&b, "  %s\n", page.Printable(strings.TrimPrefix(r.ParseError.Error(), "evalx: ")))
	}
	for _, v := range r.Violations {
		fmt.Fprintf(&b, "  schema: %s\n", page.Printable(v.String()))
	}
	for _, f := range r.Fields {
		if !f.Correct && r.ParseError == nil {
			fmt.Fprintf(&b, "  %s: want %s, got %s\n", page.Printable(cmp.Or(f.Label(), "(whole answer)")), page.Printable(compactJSON(f.Want)), page.Printable(compactJSON(f.Got)))
		}
	}
	for _, e := range r.Errors {
		fmt.Fprintf(&b, "  error: %s\n", page.Printable(e.String()))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// String returns "18/20 (90.0%)", and "0/0 (n/a)" if there are no cases.
func (s Share) String() string {
	return fmt.Sprintf("%d/%d (%s)", s.Count, s.Total, percent(s.Value()))
}

func percent(value float64, ok bool) string {
	if !ok {
		return "n/a"
	}
	return strconv.FormatFloat(100*value, 'f', 1, 64) + "%"
}

// compactJSON returns a value on one line, "nothing" for Missing.
func compactJSON(v Value) string {
	if _, missing := v.(Missing); missing {
		return "nothing"
	}
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Sprintf("%T that is not JSON", v)
	}
	return strings.TrimSuffix(b.String(), "\n")
}
