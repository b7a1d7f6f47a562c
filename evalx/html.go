package evalx

import (
	"cmp"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"

	"github.com/impulse-salamandra/finetune/evalx/page"
)

//go:embed html/page.html
var pageText string

var pageTemplates = template.Must(page.Templates().Parse(pageText))

// HTMLOptions configure pages.
type HTMLOptions struct {
	Title string // of the page
	Task  string // name of the task, said on the page
	// QuestionPath is where wanted values hold the text of the question, as in
	// [Lookup]; "" shows none.
	QuestionPath string
}

// WriteHTML writes results as one page for a browser: rates with intervals,
// groups, fields with what was taken for what, classes of errors, and each
// answer beside the wanted value with its differences marked. It has no script
// and needs no network; its content security policy allows its own style alone.
//
// All text of questions and answers is escaped, for HTML and as in [WriteText].
// Long answers are cut, and it is said where.
func WriteHTML(w io.Writer, opts HTMLOptions, results []Result) error {
	return page.Write(w, pageTemplates, "report", reportPage(opts, results))
}

// reportHead is what both pages have.
type reportHead struct {
	page.Head
	Task string
}

func newHead(opts HTMLOptions) reportHead {
	return reportHead{page.NewHead(opts.Title), page.Printable(opts.Task)}
}

type htmlReport struct {
	reportHead
	Rates                                        []htmlRate
	Groups                                       []htmlGroup
	Fields                                       []htmlField
	Errors                                       []htmlError
	Queries                                      []htmlQuery
	Total, Passed, Failed, Violating, Unreadable int
}

type htmlRate struct {
	Name, Percent, Interval string
	Count, Total            int
	Value                   float64
}

type htmlGroup struct {
	Name   string
	Values []htmlValue
}

type htmlValue struct {
	Name                                        string
	Total                                       int
	Passed, Interval, JSON, Schema, All, Fields string
}

type htmlError struct {
	Name              string
	Findings, Answers int
}

func reportPage(opts HTMLOptions, results []Result) htmlReport {
	s := Summarize(results)
	p := htmlReport{reportHead: newHead(opts), Total: len(results), Passed: s.Overall.Passed.Count}
	p.Failed = p.Total - p.Passed
	p.Unreadable = p.Total - s.Overall.ValidJSON.Count
	p.Violating = s.Overall.ValidJSON.Count - s.Overall.Compliant.Count
	for _, rate := range s.Overall.rates() {
		value, ok := rate.Value()
		p.Rates = append(p.Rates, htmlRate{rate.name, percent(value, ok), interval(rate.Share), rate.Count, rate.Total, max(value, 0)})
	}
	for _, g := range s.Groups {
		group := htmlGroup{Name: page.Printable(g.Name)}
		for _, v := range g.Values {
			group.Values = append(group.Values, htmlValue{
				page.Printable(cmp.Or(v.Value, "(none)")), v.Passed.Total,
				share(v.Passed), interval(v.Passed), share(v.ValidJSON), share(v.Compliant), share(v.AllCorrect), share(v.Counts.Fields),
			})
		}
		p.Groups = append(p.Groups, group)
	}
	for _, f := range s.Fields {
		p.Fields = append(p.Fields, htmlFieldOf(f, results))
	}
	for _, e := range s.Errors {
		p.Errors = append(p.Errors, htmlError{page.Printable(Finding{Severity: e.Severity, Class: e.Class}.String()), e.Findings, e.Answers})
	}
	for _, r := range results {
		p.Queries = append(p.Queries, htmlQueryOf(opts, r))
	}
	return p
}

func share(s Share) string { return percent(s.Value()) }

func interval(s Share) string {
	low, high := s.Wilson()
	return percent(low, true) + " to " + percent(high, true)
}

// htmlField counts how wanted and given values of a field went together.
type htmlField struct {
	Name, Right, Precision, Recall, F1              string
	Value, Nothing, Another, Lost, Invented, Absent int
	Pairs                                           []htmlPair
	Cut                                             int
}

type htmlPair struct {
	Want, Got string
	Count     int
}

func htmlFieldOf(count FieldCount, results []Result) htmlField {
	const most = 30 // pairs
	h := htmlField{
		Name: page.Printable(cmp.Or(count.Path, "(whole answer)")), Right: count.Correct.String(),
		Precision: share(count.Precision()), Recall: share(count.Recall()), F1: percent(count.F1()),
	}
	pairs := map[htmlPair]int{}
	for _, r := range results {
		f, ok := r.Field(count.Path)
		if !ok {
			continue
		}
		wanted, given := !isEmpty(f.Want), !isEmpty(f.Got)
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
	Labels, Wrong         []string
	Passed                bool
	Table                 htmlTable
	htmlAnswer
}

// htmlAnswer is an answer as it was given and what is wrong with it.
type htmlAnswer struct {
	Side, Answer, ParseError string
	Violations, Errors       []string
}

func htmlQueryOf(opts HTMLOptions, r Result) htmlQuery {
	q := htmlQuery{
		ID: page.Printable(cmp.Or(r.ID, "-")), Question: questionOf(opts, r), Labels: labelsOf(r),
		Passed: r.Passed, Table: alignedTable(r.Want, []string{"given"}, r), htmlAnswer: htmlAnswerOf("", r),
	}
	classes := []string{"failed"}
	if r.Passed {
		classes[0] = "passed"
	}
	if !r.ValidJSON() {
		classes = append(classes, "unreadable")
	} else if !r.Compliant() {
		classes = append(classes, "violating")
	}
	q.Classes = strings.Join(classes, " ")
	for _, f := range r.Fields {
		if !f.Correct {
			q.Wrong = append(q.Wrong, page.Printable(cmp.Or(f.Label(), "(whole answer)")))
		}
	}
	return q
}

func htmlAnswerOf(side string, r Result) htmlAnswer {
	const most = 20_000 // bytes
	answer := r.Answer
	if len(answer) > most {
		answer = strings.ToValidUTF8(answer[:most], "") + fmt.Sprintf("\n... and %d bytes more", len(r.Answer)-most)
	}
	a := htmlAnswer{Side: side, Answer: page.PrintableLines(answer)}
	if r.ParseError != nil {
		a.ParseError = page.Printable(strings.TrimPrefix(r.ParseError.Error(), "evalx: "))
	}
	for _, v := range r.Violations {
		a.Violations = append(a.Violations, page.Printable(v.String()))
	}
	for _, e := range r.Errors {
		a.Errors = append(a.Errors, page.Printable(e.String()))
	}
	return a
}

func questionOf(opts HTMLOptions, r Result) string {
	if opts.QuestionPath == "" {
		return ""
	}
	text, _ := Lookup(r.Want, opts.QuestionPath).(string)
	return page.Printable(text)
}

func labelsOf(r Result) []string {
	var labels []string
	for _, l := range r.Groups {
		labels = append(labels, page.Printable(cmp.Or(l.Value, "(none)")))
	}
	return labels
}
