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
	// host: the host computes attention, so that programs depend on the number of tokens
	// alone.
	host bool
	// limit is the most tokens of a request.
	limit int
	// prefix is the places of every prefix once programs are compiled ahead of
	// time, and negative before.
	prefix int
	// choice is how many tokens the blocks compute in the time that the head takes for
	// one, 0 where steps choose as many in any case.
	choice float64
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
	if b.host {
		return b.hostSizes(w)
	}
	if w == 1 {
		return []size{{1, 1}, {4, 4}, {16, 16}, {64, 64}, {chunkAlone, chunkAlone}}
	}
	list := []size{{w, 1}, {4 * w, chunkShared}, {8 * w, chunkShared}, {16 * w, chunkShared}, {16 * w, chunkLong}, {chunkLong * w, chunkLong}}
	for i := range list {
		list[i].s = min(list[i].s, list[i].n)
	}
	return list
}

// hostSizes are those where attention takes no places: few as long as programs are
// compiled when a request waits for them.
func (b buckets) hostSizes(w int) []size {
	list, factor, most := []size{{n: 16}}, 4, chunkAlone
	if w > 1 {
		list, factor, most = []size{{n: 32}}, 2, chunkLong*w
	}
	if b.prefix >= 0 {
		list, factor = []size{{n: 1}, {n: 4}}, 2
	}
	for list[len(list)-1].n < most {
		list = append(list, size{n: factor * list[len(list)-1].n})
	}
	return list
}

// size rounds a step of w rows up.
func (b buckets) size(w int, least size) size {
	if b.exact {
		z := exactSize(w, least)
		if b.host {
			z.s = 0
		}
		return z
	}
	list := b.sizes(w)
	at := slices.IndexFunc(list, func(z size) bool { return z.n >= least.n && (b.host || z.s >= least.s) })
	return list[at] // a step is at most the last one
}

// exactSize leaves out an eighth of the places at most, and of those of a row a third.
func exactSize(w int, least size) size {
	n := inParts(least.n, 16)
	if w == 1 {
		return size{n, n}
	}
	return size{n, inParts(least.s, 4)}
}

// choices is how many tokens can be chosen in a step of n places of w rows.
func (b buckets) choices(n, w int) int {
	if b.exact {
		return min(n, max(16, 4*w))
	}
	return min(n, max(8, 3*w))
}

// chosen rounds up how many are: where shapes are compiled ahead of time to as many as one
// row can have, or all rows.
func (b buckets) chosen(least, n, w int) int {
	if b.exact {
		return min(n, inParts(max(least, 1), 4))
	}
	if one := b.choices(n, 1); b.host && n <= chunkAlone && least <= one {
		return one
	}
	return b.choices(n, w)
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
	if b.host {
		return []int{0}
	}
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
				s := stepShape{w: w, m: m, size: z, p: b.prefix, r: b.choices(z.n, w)}
				if b.host {
					s.p = 0
				}
				list = append(list, s)
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

// inParts rounds n up to a whole number of parts of the next power of two.
func inParts(n, parts int) int { return multipleOf(n, max(1, roundTo(n, 1, 2)/parts)) }

// multipleOf returns the least multiple of unit that is n or more.
func multipleOf(n, unit int) int { return (n + unit - 1) / unit * unit }
