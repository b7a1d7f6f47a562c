package report

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/impulse-salamandra/finetune/evalx"
	"github.com/impulse-salamandra/finetune/internal/page"
)

// WriteText writes the counts of a run for the terminal, in one call of w.Write:
//
//	TEST RESULTS SUMMARY
//	================================================================================
//	Overall:
//	  Total tests: 20
//	  Passed: 18 (90.0%)
//	  Failed: 2 (10.0%)
//	  Answers: kept to the schema while they were generated
//
//	By language:
//	  CA: 6/7 (85.7%)
//
// and then the rates with their 95 % intervals ([evalx.Share.Wilson]), the fields
// and the error classes. Several runs of the same questions stand side by side, in
// columns.
//
// Text from questions is written with control characters, bidirectional marks
// and bytes that are not UTF-8 escaped, so that it cannot act on the terminal.
func WriteText(w io.Writer, runs ...Run) error {
	var b strings.Builder
	fmt.Fprintf(&b, "TEST RESULTS SUMMARY\n%s\n", strings.Repeat("=", 80))
	if len(runs) == 1 {
		writeCounts(&b, runs[0])
	} else {
		writeColumns(&b, runs)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func writeCounts(b *strings.Builder, r Run) {
	s := evalx.Summarize(r.Results)
	passed := s.Overall.Passed
	failed := evalx.Share{Count: passed.Total - passed.Count, Total: passed.Total}
	fmt.Fprintf(b, "Overall:\n  Total tests: %d\n", passed.Total)
	fmt.Fprintf(b, "  Passed: %d (%s)\n", passed.Count, percent(passed.Value()))
	fmt.Fprintf(b, "  Failed: %d (%s)\n", failed.Count, percent(failed.Value()))
	if how := r.how(); how != "" {
		fmt.Fprintf(b, "  Answers: %s\n", how)
	}
	for _, values := range grouped(s.Groups) {
		fmt.Fprintf(b, "\nBy %s:\n", page.Printable(values[0].Name))
		for _, v := range values {
			fmt.Fprintf(b, "  %s: %s\n", page.Printable(cmp.Or(v.Value, "(none)")), v.Passed)
		}
	}
	b.WriteString("\nRates (95% interval):\n")
	for _, rate := range rates(s.Overall)[1:] {
		fmt.Fprintf(b, "  %s: %s, %s\n", rate.name, rate.Share, interval(rate.Share))
	}
	if len(s.Fields) > 0 {
		b.WriteString("\nBy field:\n")
	}
	for _, f := range s.Fields {
		fmt.Fprintf(b, "  %s: %s, precision %s, recall %s, F1 %s\n",
			page.Printable(cmp.Or(f.Name, wholeAnswer)), f.Correct, f.Precision(), f.Recall(), percent(f.F1()))
	}
	if len(s.Errors) > 0 {
		b.WriteString("\nErrors:\n")
	}
	for _, e := range s.Errors {
		fmt.Fprintf(b, "  %s: %d in %d answers\n", className(e), e.Findings, e.Answers)
	}
}

func className(e evalx.ErrorCount) string {
	return page.Printable(evalx.Finding{Severity: e.Severity, Class: e.Class}.String())
}

// writeColumns writes the counts of several runs side by side: a line that is
// missing in one of them is empty there.
func writeColumns(b *strings.Builder, runs []Run) {
	t := columns{cells: map[string][]string{}}
	for i, r := range runs {
		s := evalx.Summarize(r.Results)
		t.set(i, len(runs), "", "", page.Printable(r.title()))
		t.set(i, len(runs), "", "Total tests", strconv.Itoa(s.Overall.Passed.Total))
		for _, rate := range rates(s.Overall) {
			t.set(i, len(runs), "", rate.name, rate.Share.String()+", "+interval(rate.Share))
		}
		for _, g := range s.Groups {
			t.set(i, len(runs), "By "+page.Printable(g.Name), page.Printable(cmp.Or(g.Value, "(none)")), g.Passed.String())
		}
		for _, f := range s.Fields {
			t.set(i, len(runs), "By field", page.Printable(cmp.Or(f.Name, wholeAnswer)), fmt.Sprintf("%s, F1 %s", f.Correct, percent(f.F1())))
		}
		for _, e := range s.Errors {
			t.set(i, len(runs), "Errors", className(e), fmt.Sprintf("%d in %d answers", e.Findings, e.Answers))
		}
	}
	t.write(b)
}

// columns are cells in named lines of named sections.
type columns struct {
	sections []string
	lines    map[string][]string // of a section
	cells    map[string][]string // of a line of a section
}

func (t *columns) set(column, of int, section, line, cell string) {
	key := section + "\x00" + line
	if t.cells[key] == nil {
		if !slices.Contains(t.sections, section) {
			t.sections = append(t.sections, section)
		}
		if t.lines == nil {
			t.lines = map[string][]string{}
		}
		t.lines[section] = append(t.lines[section], line)
		t.cells[key] = make([]string, of)
	}
	t.cells[key][column] = cell
}

func (t *columns) write(b *strings.Builder) {
	var text strings.Builder
	out := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	for _, section := range t.sections {
		if section != "" { // with all its columns, which go on below
			fmt.Fprintf(out, "%s:%s\n", section, strings.Repeat("\t", len(t.cells["\x00"])))
		}
		for _, line := range t.lines[section] {
			fmt.Fprintf(out, "  %s\t%s\n", line, strings.Join(t.cells[section+"\x00"+line], "\t"))
		}
	}
	_ = out.Flush() // to memory
	for line := range strings.Lines(text.String()) {
		b.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
}

// grouped returns the counts of each group.
func grouped(counts []evalx.GroupCounts) [][]evalx.GroupCounts {
	var groups [][]evalx.GroupCounts
	for i, c := range counts {
		if i == 0 || c.Name != counts[i-1].Name {
			groups = append(groups, nil)
		}
		groups[len(groups)-1] = append(groups[len(groups)-1], c)
	}
	return groups
}

// namedShare is a share as reports call it.
type namedShare struct {
	name string
	evalx.Share
}

// hasSchema reports whether answers were held against a schema, if there are any.
func hasSchema(c evalx.Counts) bool { return c.Compliant.Total > 0 || c.ValidJSON.Total == 0 }

// rates are the shares of counts in the order of reports.
func rates(c evalx.Counts) []namedShare {
	shares := []namedShare{{"Passed", c.Passed}, {"JSON validity", c.ValidJSON}}
	if hasSchema(c) {
		shares = append(shares, namedShare{"Schema compliance", c.Compliant})
	}
	return append(shares, namedShare{"All fields correct", c.AllCorrect}, namedShare{"Fields correct", c.Fields})
}

// WriteResult writes one result for the terminal: its verdict and whatever is
// wrong with it, escaped as in [WriteText].
//
//	FAILED TEST_0003 (language CA)
//	  schema: /filters/year: pattern: "2023?" does not match ^[0-9]{4}$
//	  filters.programme: want "MSCA", got null
func WriteResult(w io.Writer, r evalx.Result) error {
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
		fmt.Fprintf(&b, "  %s\n", page.Printable(r.ParseError.Error()))
	}
	for _, v := range r.Violations {
		fmt.Fprintf(&b, "  schema: %s\n", page.Printable(v.String()))
	}
	for _, f := range r.Fields {
		if !f.Correct && r.ParseError == nil {
			want, got := page.Printable(compactJSON(f.Want)), page.Printable(compactJSON(f.Got))
			fmt.Fprintf(&b, "  %s: want %s, got %s\n", page.Printable(cmp.Or(f.Name, wholeAnswer)), want, got)
		}
	}
	for _, e := range r.Errors {
		fmt.Fprintf(&b, "  error: %s\n", page.Printable(e.String()))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// compactJSON returns a value on one line, "nothing" for Missing.
func compactJSON(v evalx.Value) string {
	if _, missing := v.(evalx.Missing); missing {
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

// percent is a share for people, "n/a" where there are no cases.
func percent(value float64, ok bool) string {
	if !ok {
		return "n/a"
	}
	return strconv.FormatFloat(100*value, 'f', 1, 64) + "%"
}
