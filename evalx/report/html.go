package report

import (
	"cmp"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"

	"github.com/impulse-salamandra/finetune/evalx"
	"github.com/impulse-salamandra/finetune/internal/page"
)

//go:embed page.html
var pageText string

var pageTemplates = template.Must(page.Templates().Parse(pageText))

// WriteHTML writes a run as one page for a browser: rates with intervals, groups,
// fields with what was taken for what, classes of errors, and each answer beside
// the wanted value with its differences marked. Several runs of the same questions
// are on one page, line under line. It has no script and needs no network; its
// content security policy allows only its own style.
//
// All text of questions and answers is escaped, for HTML and as in [WriteText].
// Long answers are cut, and it is said where.
func WriteHTML(w io.Writer, title string, runs ...Run) error {
	return page.Write(w, pageTemplates, "report", reportPage(title, runs))
}

// htmlReport has the rows of all runs; a row's Run is empty if there is only one.
type htmlReport struct {
	page.Head
	Task                                         string
	How                                          []string // the answers of the runs came about
	Several, Schema                              bool     // several runs; one with a schema
	Rates                                        []htmlRate
	Groups                                       []htmlGroup
	Compared                                     bool // it is known how fields are compared
	Fields                                       []htmlField
	Errors                                       []htmlError
	Queries                                      []htmlQuery
	Total, Passed, Failed, Violating, Unreadable int // of the first run
}

type htmlRate struct {
	Name, Run, Percent, Interval string
	Count, Total                 int
	Value                        float64
}

type htmlGroup struct {
	Name   string
	Values []htmlValue
}

type htmlValue struct {
	Name, Run                                   string
	Total                                       int
	Passed, Interval, JSON, Schema, All, Fields string
}

type htmlError struct {
	Name, Run         string
	Findings, Answers int
}

func reportPage(title string, runs []Run) htmlReport {
	p := htmlReport{Head: page.NewHead(title), Several: len(runs) > 1}
	for i, r := range runs {
		s := evalx.Summarize(r.Results)
		if i == 0 {
			p.Task, p.Compared = page.Printable(r.Task), r.Comparators != nil
			p.Total, p.Passed = len(r.Results), s.Overall.Passed.Count
			p.Failed = p.Total - p.Passed
			p.Unreadable = p.Total - s.Overall.ValidJSON.Count
		}
		if hasSchema(s.Overall) {
			p.Schema = true
			if i == 0 {
				p.Violating = s.Overall.ValidJSON.Count - s.Overall.Compliant.Count
			}
		}
		name := ""
		if p.Several {
			name = page.Printable(r.title())
		}
		if how := r.how(); how != "" {
			p.How = append(p.How, how)
		}
		p.addCounts(name, s)
		for _, f := range s.Fields {
			p.Fields = append(p.Fields, htmlFieldOf(name, f, r))
		}
	}
	for i := range p.Total {
		p.Queries = append(p.Queries, htmlQueryOf(runs, i))
	}
	slices.SortStableFunc(p.Rates, inOrderOf(p.Rates, func(r htmlRate) string { return r.Name }))
	slices.SortStableFunc(p.Fields, inOrderOf(p.Fields, func(f htmlField) string { return f.Name }))
	slices.SortStableFunc(p.Errors, inOrderOf(p.Errors, func(e htmlError) string { return e.Name }))
	return p
}

// inOrderOf compares rows by the places where their names come first, so that the
// rows of several runs with one name stand together.
func inOrderOf[R any](rows []R, name func(R) string) func(a, b R) int {
	first := map[string]int{}
	for i, r := range rows {
		if _, ok := first[name(r)]; !ok {
			first[name(r)] = i
		}
	}
	return func(a, b R) int { return cmp.Compare(first[name(a)], first[name(b)]) }
}

// addCounts adds the rates, groups and errors of a run.
func (p *htmlReport) addCounts(run string, s evalx.Summary) {
	for _, rate := range rates(s.Overall) {
		value, ok := rate.Value()
		p.Rates = append(p.Rates, htmlRate{rate.name, run, percent(value, ok), interval(rate.Share), rate.Count, rate.Total, max(value, 0)})
	}
	for _, v := range s.Groups {
		name := page.Printable(v.Name)
		i := slices.IndexFunc(p.Groups, func(g htmlGroup) bool { return g.Name == name })
		if i < 0 {
			i = len(p.Groups)
			p.Groups = append(p.Groups, htmlGroup{Name: name})
		}
		g := &p.Groups[i]
		g.Values = append(g.Values, htmlValue{
			page.Printable(cmp.Or(v.Value, "(none)")), run, v.Passed.Total,
			share(v.Passed), interval(v.Passed), share(v.ValidJSON), share(v.Compliant), share(v.AllCorrect), share(v.Fields),
		})
		slices.SortStableFunc(g.Values, inOrderOf(g.Values, func(v htmlValue) string { return v.Name }))
	}
	for _, e := range s.Errors {
		p.Errors = append(p.Errors, htmlError{className(e), run, e.Findings, e.Answers})
	}
}

func share(s evalx.Share) string { return percent(s.Value()) }

func interval(s evalx.Share) string {
	low, high := s.Wilson()
	return percent(low, true) + " to " + percent(high, true)
}

// htmlField counts how wanted and given values of a field went together.
type htmlField struct {
	Name, Run, Comparator, Right, Precision, Recall, F1 string
	Value, Nothing, Another, Lost, Invented, Absent     int
	Pairs                                               []htmlPair
	Cut                                                 int
}

type htmlPair struct {
	Want, Got string
	Count     int
}

func htmlFieldOf(run string, count evalx.FieldCount, of Run) htmlField {
	const most = 30 // pairs
	h := htmlField{
		Name: page.Printable(cmp.Or(count.Name, wholeAnswer)), Run: run, Comparator: page.Printable(of.Comparators[count.Name]), Right: count.Correct.String(),
		Precision: share(count.Precision()), Recall: share(count.Recall()), F1: percent(count.F1()),
	}
	pairs := map[htmlPair]int{}
	for _, r := range of.Results {
		f, ok := r.Field(count.Name)
		if !ok {
			continue
		}
		wanted, given := !evalx.IsEmpty(f.Want), !evalx.IsEmpty(f.Got)
		switch {
		case f.Correct && wanted:
			h.Value++
		case f.Correct:
			h.Nothing++
		case wanted && given:
			h.Another++
		case wanted:
			h.Lost++
		case given:
			h.Invented++
		default:
			h.Absent++
		}
		if !f.Correct && r.ParseError == nil {
			pairs[htmlPair{Want: cellText(f.Want), Got: cellText(f.Got)}]++
		}
	}
	for pair, n := range pairs {
		pair.Count = n
		h.Pairs = append(h.Pairs, pair)
	}
	slices.SortFunc(h.Pairs, func(a, b htmlPair) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Want, b.Want), strings.Compare(a.Got, b.Got))
	})
	if len(h.Pairs) > most {
		h.Pairs, h.Cut = h.Pairs[:most], len(h.Pairs)-most
	}
	return h
}

type htmlQuery struct {
	ID, Question, Classes string
	Labels                []string
	Verdicts              []htmlVerdict
	Wrong                 []string
	Table                 htmlTable
	Answers               []htmlAnswer
}

type htmlVerdict struct {
	Run    string
	Passed bool
}

// htmlAnswer is an answer as it was given and what is wrong with it.
type htmlAnswer struct {
	Side, Answer, ParseError string
	Violations, Errors       []string
}

// htmlQueryOf shows question i as all runs answered it.
func htmlQueryOf(runs []Run, i int) htmlQuery {
	r := runs[0].Results[i]
	q := htmlQuery{ID: page.Printable(cmp.Or(r.ID, "-")), Question: page.Printable(r.Question), Labels: labelsOf(r), Classes: classesOf(r)}
	headings, results := []string{"given"}, []evalx.Result{}
	if len(runs) > 1 {
		headings = nil
	}
	for _, run := range runs {
		if i >= len(run.Results) || run.Results[i].ID != r.ID {
			continue // not asked
		}
		name := ""
		if len(runs) > 1 {
			name = page.Printable(run.title())
			headings = append(headings, name)
		}
		result := run.Results[i]
		results = append(results, result)
		q.Verdicts = append(q.Verdicts, htmlVerdict{name, result.Passed})
		q.Answers = append(q.Answers, htmlAnswerOf(name, result))
	}
	q.Table = alignedTable(r.Want, headings, results...)
	for _, f := range r.Fields {
		if !f.Correct {
			q.Wrong = append(q.Wrong, page.Printable(cmp.Or(f.Name, wholeAnswer)))
		}
	}
	return q
}

// classesOf are the names that the page's filter knows an answer by.
func classesOf(r evalx.Result) string {
	classes := "failed"
	if r.Passed {
		classes = "passed"
	}
	switch {
	case !r.ValidJSON():
		return classes + " unreadable"
	case !r.Compliant():
		return classes + " violating"
	}
	return classes
}

func htmlAnswerOf(side string, r evalx.Result) htmlAnswer {
	const most = 20_000 // bytes
	answer := r.Answer
	if len(answer) > most {
		answer = strings.ToValidUTF8(answer[:most], "") + fmt.Sprintf("\n... and %d bytes more", len(r.Answer)-most)
	}
	a := htmlAnswer{Side: side, Answer: page.PrintableLines(answer)}
	if r.ParseError != nil {
		a.ParseError = page.Printable(r.ParseError.Error())
	}
	for _, v := range r.Violations {
		a.Violations = append(a.Violations, page.Printable(v.String()))
	}
	for _, e := range r.Errors {
		a.Errors = append(a.Errors, page.Printable(e.String()))
	}
	return a
}

func labelsOf(r evalx.Result) []string {
	var labels []string
	for _, l := range r.Groups {
		labels = append(labels, page.Printable(cmp.Or(l.Value, "(none)")))
	}
	return labels
}
