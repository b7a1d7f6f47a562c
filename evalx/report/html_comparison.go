package report

import (
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/impulse-salamandra/finetune/evalx"
	"github.com/impulse-salamandra/finetune/internal/page"
)

// WriteComparisonHTML writes comparisons with one run as a page like that of
// [WriteHTML]: the measures, and for each question on which the two differ in the
// first measure, both answers beside the wanted value. A is the first's.
func WriteComparisonHTML(w io.Writer, title string, comparisons ...Comparison) error {
	p := htmlComparison{Head: page.NewHead(title)}
	for i, c := range comparisons {
		if i == 0 {
			p.Task, p.Base, p.How = page.Printable(c.A.Task), page.Printable(c.A.title()), c.A.how()
		}
		p.Rivals = append(p.Rivals, htmlRivalOf(c))
	}
	return page.Write(w, pageTemplates, "comparison", p)
}

type htmlComparison struct {
	page.Head
	Task, Base, How string
	Rivals          []htmlRival
}

type htmlRival struct {
	Name, How string
	Measures  []htmlMeasure
	Sides     []htmlSide
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

func htmlRivalOf(c Comparison) htmlRival {
	h := htmlRival{Name: page.Printable(c.B.title()), How: c.B.how()}
	for _, m := range c.Measures {
		h.Measures = append(h.Measures, htmlMeasure{
			page.Printable(m.Name), m.A.String(), m.B.String(), points(m), strconv.FormatFloat(m.P, 'f', 3, 64), len(m.Wins), len(m.Losses),
		})
	}
	if len(c.Measures) == 0 {
		return h
	}
	first := c.Measures[0]
	for _, side := range []struct {
		name string
		ids  []string
	}{{"B wins", first.Wins}, {"B loses", first.Losses}} {
		s := htmlSide{Name: fmt.Sprintf("%s: %s", side.name, page.Printable(first.Name))}
		for _, id := range side.ids {
			with := func(results []evalx.Result) (r evalx.Result) {
				if i := slices.IndexFunc(results, func(r evalx.Result) bool { return r.ID == id }); i >= 0 {
					r = results[i]
				}
				return r
			}
			inA, inB := with(c.A.Results), with(c.B.Results)
			s.Queries = append(s.Queries, htmlDuel{
				ID: page.Printable(id), Question: page.Printable(inA.Question), Labels: labelsOf(inA),
				Table:   alignedTable(inA.Want, []string{"A", "B"}, inA, inB),
				Answers: []htmlAnswer{htmlAnswerOf("A", inA), htmlAnswerOf("B", inB)},
			})
		}
		h.Sides = append(h.Sides, s)
	}
	return h
}
