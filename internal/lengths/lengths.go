// Package lengths counts the tokens of examples and shows how they are spread.
package lengths

import (
	"fmt"
	"math"
	"slices"

	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/internal/page"
)

// Lengths are numbers of tokens and how they are spread.
type Lengths struct {
	Count, Total, Min, Max int // Min and Max are 0 of none
	sorted                 []int
}

// New sums up numbers of tokens.
func New(tokens []int) Lengths {
	l := Lengths{Count: len(tokens), sorted: slices.Sorted(slices.Values(tokens))}
	for _, n := range tokens {
		l.Total += n
	}
	if l.Count > 0 {
		l.Min, l.Max = l.sorted[0], l.sorted[l.Count-1]
	}
	return l
}

// Of counts the tokens of examples: all, those before the first trained
// one, and the trained ones.
func Of(examples []dataset.Example) (all, prompts, trained Lengths) {
	var a, p, t []int
	for _, e := range examples {
		n := 0
		for _, on := range e.Train {
			if on {
				n++
			}
		}
		a, p, t = append(a, len(e.IDs)), append(p, slices.Index(e.Train, true)), append(t, n)
	}
	return New(a), New(p), New(t)
}

// Mean returns the average, 0 of none.
func (l Lengths) Mean() float64 {
	if l.Count == 0 {
		return 0
	}
	return float64(l.Total) / float64(l.Count)
}

// Percentile returns the least number that p percent are not above, 0 of none.
func (l Lengths) Percentile(p float64) int {
	if l.Count == 0 {
		return 0
	}
	return l.sorted[min(max(int(math.Ceil(p/100*float64(l.Count)))-1, 0), l.Count-1)]
}

// Bin counts lengths from From to below To.
type Bin struct{ From, To, Count int }

// Histogram returns at most most bins of equal width, 1, 2 or 5 times a power
// of ten.
func (l Lengths) Histogram(most int) []Bin {
	if l.Count == 0 {
		return nil
	}
	width := 1
	for step := 0; l.Max/width-l.Min/width >= most; step++ {
		width = []int{1, 2, 5}[step%3] * int(math.Pow10(step/3))
	}
	var bins []Bin
	for _, n := range l.sorted {
		from := n / width * width
		for len(bins) == 0 || bins[len(bins)-1].From < from {
			next := from
			if len(bins) > 0 {
				next = bins[len(bins)-1].To
			}
			bins = append(bins, Bin{From: next, To: next + width})
		}
		bins[len(bins)-1].Count++
	}
	return bins
}

// MostBins is how many bars a chart of lengths has at most.
const MostBins = 20

// Chart draws how lengths are spread.
func (l Lengths) Chart(title string) page.Chart {
	c := page.Chart{Title: title, Last: fmt.Sprintf("median %d, most %d", l.Percentile(50), l.Max), X: "tokens"}
	for _, b := range l.Histogram(MostBins) {
		c.Bars = append(c.Bars, page.Bar{From: float64(b.From), To: float64(b.To), Count: b.Count, Text: fmt.Sprintf("%d to %d: %d", b.From, b.To-1, b.Count)})
	}
	return c
}
