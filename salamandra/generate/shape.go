package generate

import (
	"fmt"
	"slices"
)

// stepShape is what a program for a step is compiled for. A step takes the next
// tokens of several requests, each with as many as it has: one, a forced run, a
// prompt. Linear layers see the tokens one after the other, attention sees them
// by rows.
type stepShape struct {
	w int // rows of the cache
	m int // places of a row
	size
	p int // places of the prefix, 0 for none
	r int // tokens whose successor is chosen
}

// size is how many tokens fit into a step.
type size struct {
	n int // of all rows
	s int // of one row
}

func (s stepShape) String() string {
	return fmt.Sprintf("step W=%d M=%d N=%d S=%d P=%d R=%d", s.w, s.m, s.n, s.s, s.p, s.r)
}

// buckets are the sizes that steps are rounded up to: few shapes are few
// programs to compile.
type buckets struct {
	// exact: the backend takes other shapes without compiling anew, as the Go
	// backend does, and gains by every place that is left out.
	exact bool
	// limit is the most tokens of a request.
	limit int
	// prefix is the places of every prefix once programs are compiled ahead of
	// time, and negative before.
	prefix int
}

// Most tokens of one request in a step: alone; where others would wait; and
// there where one has a prompt of more than four such steps.
const (
	chunkAlone  = 256
	chunkShared = 16
	chunkLong   = 64
)

// sizes lists the steps of w rows, smallest first.
func (b buckets) sizes(w int) []size {
	if w == 1 {
		return []size{{1, 1}, {4, 4}, {16, 16}, {64, 64}, {chunkAlone, chunkAlone}}
	}
	list := []size{{w, 1}, {4 * w, chunkShared}, {8 * w, chunkShared}, {16 * w, chunkShared}, {16 * w, chunkLong}, {chunkLong * w, chunkLong}}
	for i := range list {
		list[i].s = min(list[i].s, list[i].n)
	}
	return list
}

// size rounds a step of w rows up.
func (b buckets) size(w int, least size) size {
	if b.exact {
		return exactSize(w, least)
	}
	list := b.sizes(w)
	at := slices.IndexFunc(list, func(z size) bool { return z.n >= least.n && z.s >= least.s })
	return list[at] // a step is at most the last one
}

// exactSize leaves out a third of the places at most: beside powers of two there are
// those and a half.
func exactSize(w int, least size) size {
	n := roundTo(least.n, 1, 2)
	if n%4 == 0 && least.n <= n/4*3 {
		n = n / 4 * 3
	}
	if w == 1 {
		return size{n, n}
	}
	if least.s > 1 {
		least.s = roundTo(least.s, 4, 4)
	}
	return size{max(n, w), least.s}
}

// choices is how many tokens can be chosen in a step of n places of w rows. All
// are computed, so that those that are not used cost something.
func (b buckets) choices(n, w int) int {
	if b.exact {
		return min(n, max(8, 2*w))
	}
	return min(n, max(8, 3*w))
}

// room returns the places of a row of the cache for m tokens.
func (b buckets) room(m int) int {
	if b.exact {
		return multipleOf(m, 64)
	}
	return min(roundTo(m, 512, 4), max(m, multipleOf(b.limit, 64)))
}

// rooms lists the rooms there are, smallest first.
func (b buckets) rooms() []int {
	list := []int{b.room(1)}
	for last := list[0]; last < b.limit; last = list[len(list)-1] {
		list = append(list, b.room(last+1))
	}
	return list
}

// prefixPlaces returns the places of a prefix of n tokens.
func (b buckets) prefixPlaces(n int) int {
	if b.exact {
		return multipleOf(n, 64)
	}
	return max(multipleOf(n, 128), b.prefix)
}

// shapes lists the steps that there can be of so many rows, those of the smallest
// room first.
func (b buckets) shapes(widths ...int) []stepShape {
	var list []stepShape
	for _, m := range b.rooms() {
		for _, w := range widths {
			for _, z := range b.sizes(w) {
				list = append(list, stepShape{w: w, m: m, size: z, p: b.prefix, r: b.choices(z.n, w)})
			}
		}
	}
	return list
}

// roundTo returns the least of first, first·factor, ... that is n or more.
func roundTo(n, first, factor int) int {
	for first < n {
		first *= factor
	}
	return first
}

// multipleOf returns the least multiple of unit that is n or more.
func multipleOf(n, unit int) int { return (n + unit - 1) / unit * unit }
