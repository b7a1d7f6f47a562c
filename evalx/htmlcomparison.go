package evalx

import (
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/impulse-salamandra/finetune/evalx/page"
)

// Rival is a set of results that is compared with another.
type Rival struct {
	Name       string
	Results    []Result
	Comparison Comparison // with the others as A, by Compare
}

// WriteComparisonHTML writes comparisons of results a with rivals as one page
// like that of [WriteHTML]: the measures, and for each question on which the two
// differ in the first measure, both answers beside the wanted value.
func WriteComparisonHTML(w io.Writer, opts HTMLOptions, nameA string, a []Result, rivals []Rival) error {
	p := htmlComparison{reportHead: newHead(opts), Base: page.Printable(nameA)}
	for _, rival := range rivals {
		p.Rivals = append(p.Rivals, htmlRivalOf(opts, a, rival))
	}
	return page.Write(w, pageTemplates, "comparison", p)
}

type htmlComparison struct {
	reportHead
	Base   string
	Rivals []htmlRival
}

type htmlRival struct {
	Name     string
	Measures []htmlMeasure
	Sides    []htmlSide
}

type htmlMeasure struct {
	Name, A, B, Difference, P string
	Wins, Losses              int
}

type htmlSide struct {
	Name    string
	Queries []htmlDuel
}

type htmlDuel struct {
	ID, Question string
	Labels       []string
	Table        htmlTable
	Answers      []htmlAnswer
}

func htmlRivalOf(opts HTMLOptions, a []Result, rival Rival) htmlRival {
	h := htmlRival{Name: page.Printable(rival.Name)}
	for _, m := range rival.Comparison.Measures {
		h.Measures = append(h.Measures, htmlMeasure{
			page.Printable(m.Name), m.A.String(), m.B.String(), points(m.Difference), strconv.FormatFloat(m.P, 'f', 3, 64), len(m.Wins), len(m.Losses),
		})
	}
	if len(rival.Comparison.Measures) == 0 {
		return h
	}
	first := rival.Comparison.Measures[0]
	for _, side := range []struct {
		name string
		ids  []string
	}{{"B wins", first.Wins}, {"B loses", first.Losses}} {
		s := htmlSide{Name: fmt.Sprintf("%s: %s", side.name, page.Printable(first.Name))}
		for _, id := range side.ids {
			with := func(results []Result) (r Result) {
				if i := slices.IndexFunc(results, func(r Result) bool { return r.ID == id }); i >= 0 {
					r = results[i]
				}
				return r
			}
			inA, inB := with(a), with(rival.Results)
			s.Queries = append(s.Queries, htmlDuel{
				ID: page.Printable(id), Question: questionOf(opts, inA), Labels: labelsOf(inA),
				Table:   alignedTable(inA.Want, []string{"A", "B"}, inA, inB),
				Answers: []htmlAnswer{htmlAnswerOf("A", inA), htmlAnswerOf("B", inB)},
			})
		}
		h.Sides = append(h.Sides, s)
	}
	return h
}
