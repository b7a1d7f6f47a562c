package inspect

import (
	"math"
	"slices"

	"github.com/impulse-salamandra/finetune/dataset"
)

// Lengths are numbers of tokens and how they are spread.
type Lengths struct {
	Count, Total, Min, Max int // Min and Max are 0 of none
	sorted                 []int
}

// NewLengths sums up numbers of tokens.
func NewLengths(tokens []int) Lengths {
	l := Lengths{Count: len(tokens), sorted: slices.Sorted(slices.Values(tokens))}
	for _, n := range tokens {
		l.Total += n
	}
	if l.Count > 0 {
		l.Min, l.Max = l.sorted[0], l.sorted[l.Count-1]
	}
	return l
}

// LengthsOf counts the tokens of examples: all, those before the first trained
// one, and the trained ones.
func LengthsOf(examples []dataset.Example) (all, prompts, trained Lengths) {
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
	return NewLengths(a), NewLengths(p), NewLengths(t)
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
