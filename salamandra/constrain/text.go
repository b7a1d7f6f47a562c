package constrain

import (
	"fmt"
	"math"
	"unicode/utf8"
)

// runeRange is the code points from lo to hi, both included.
type runeRange struct{ lo, hi rune }

// chars returns the characters of the ranges as a canonical JSON string writes
// them: raw UTF-8, with an escape only where JSON demands one. Surrogates are
// left out.
func (b *builder) chars(ranges []runeRange) *node {
	var list []*node
	for _, r := range ranges {
		for c := r.lo; c <= min(r.hi, 0x7F); c++ {
			if text := escape(c); text != "" {
				list = append(list, b.literal(text))
				continue
			}
			from := c
			for c < min(r.hi, 0x7F) && escape(c+1) == "" {
				c++
			}
			list = append(list, b.byteIn(byte(from), byte(c)))
		}
		for _, part := range []runeRange{{0x80, 0x7FF}, {0x800, 0xD7FF}, {0xE000, 0xFFFF}, {0x10000, 0x10FFFF}} {
			if lo, hi := max(r.lo, part.lo), min(r.hi, part.hi); lo <= hi {
				list = b.utf8Between(list, lo, hi)
			}
		}
	}
	return b.alt(list...)
}

// escape returns the canonical escape of an ASCII character, "" if it needs none.
func escape(c rune) string {
	switch c {
	case '"':
		return `\"`
	case '\\':
		return `\\`
	case '\n':
		return `\n`
	case '\r':
		return `\r`
	case '\t':
		return `\t`
	case '\b':
		return `\b`
	case '\f':
		return `\f`
	}
	if c < 0x20 {
		return fmt.Sprintf(`\u%04x`, c)
	}
	return ""
}

// utf8Between appends the code points from lo to hi, whose UTF-8 has equal
// length, as products of byte ranges.
func (b *builder) utf8Between(list []*node, lo, hi rune) []*node {
	for low := rune(0x3F); low < hi; low = low<<6 | 0x3F {
		if lo|low == hi|low {
			break
		}
		if lo&low != 0 {
			list = b.utf8Between(list, lo, lo|low)
			return b.utf8Between(list, (lo|low)+1, hi)
		}
		if hi&low != low {
			list = b.utf8Between(list, lo, hi&^low-1)
			return b.utf8Between(list, hi&^low, hi)
		}
	}
	first, last := utf8.AppendRune(nil, lo), utf8.AppendRune(nil, hi)
	parts := make([]*node, len(first))
	for i := range first {
		parts[i] = b.byteIn(first[i], last[i])
	}
	return append(list, b.seq(parts...))
}

// unbounded is the maxLength of a string without one.
const unbounded = math.MaxInt32

// stringKey says which strings a rule holds.
type stringKey struct {
	lo, hi  int    // code points
	pattern string // "" for none
}

// stringRule is the inside of a JSON string of lo to hi code points, matched by
// a pattern if there is one, and the quote that closes it.
type stringRule struct {
	stringKey
	anyChar *node
	dfa     *dfa
	edges   [][]edge // of each state of dfa
	// best[k][q] is the length in bytes of the shortest rest after k characters
	// in state q, without the quote. With no hi, k stays at lo.
	best [][]int
}

// edge is the characters that lead from one state of a pattern to another.
type edge struct {
	to    int
	chars *node
}

// stringRuleOf returns the rule of a key. It fails with ErrTooLarge, or if the
// pattern cannot be read.
func (b *builder) stringRuleOf(k stringKey) (*stringRule, error) {
	if s, ok := b.strings[k]; ok {
		return s, nil
	}
	s := &stringRule{stringKey: k, anyChar: b.anyChar}
	if k.pattern != "" {
		d, err := compilePattern(k.pattern, b.limit, b.late)
		if err != nil {
			return nil, err
		}
		rows := k.lo // what k runs to
		if k.hi != unbounded {
			rows = k.hi
		}
		if n := (rows + 1) * len(d.next); n > b.limit {
			return nil, fmt.Errorf("%w: the pattern with the length limits needs %d states, more than %d", ErrTooLarge, n, b.limit)
		}
		s.dfa = d
		s.link(b)
		s.measure(rows, b.late)
		if b.late(0) {
			return nil, fmt.Errorf("%w: no time is left", ErrTooLarge)
		}
	}
	b.strings[k] = s
	return s, nil
}

// link finds the characters of each edge of the pattern.
func (s *stringRule) link(b *builder) {
	made := map[string]*node{}
	s.edges = make([][]edge, len(s.dfa.next))
	for q, next := range s.dfa.next {
		classes := map[int][]byte{}
		var order []int
		for c, to := range next {
			if classes[to] == nil {
				order = append(order, to)
			}
			classes[to] = append(classes[to], byte(c), byte(c>>8))
		}
		for _, to := range order {
			id := string(classes[to])
			if made[id] == nil {
				var ranges []runeRange
				for i := 0; i < len(id); i += 2 {
					ranges = append(ranges, s.dfa.classes[int(id[i])|int(id[i+1])<<8]...)
				}
				made[id] = b.chars(ranges)
			}
			if made[id].op != opFail { // a class of surrogates alone
				s.edges[q] = append(s.edges[q], edge{to, made[id]})
			}
		}
	}
}

// measure fills best, unless it gets late.
func (s *stringRule) measure(rows int, late func(work int) bool) {
	s.best = make([][]int, rows+1)
	for k := rows; k >= 0; k-- {
		if late(len(s.dfa.next)) {
			break
		}
		row := make([]int, len(s.dfa.next))
		for q := range row {
			row[q] = never
			if s.dfa.accept[q] && k >= s.lo {
				row[q] = 0
			}
		}
		s.best[k] = row
		switch {
		case k < rows:
			s.relax(row, s.best[k+1])
		case s.hi == unbounded:
			for s.relax(row, row) {
			}
		}
	}
}

// relax shortens the lengths in row by going on with a character to those in
// next, and tells whether it could.
func (s *stringRule) relax(row, next []int) bool {
	changed := false
	for q := range row {
		for _, e := range s.edges[q] {
			if n := plus(e.chars.min, next[e.to]); n < row[q] {
				row[q], changed = n, true
			}
		}
	}
	return changed
}

// node returns the inside of the string from its beginning.
func (s *stringRule) node(b *builder) *node { return b.ruled(stringFrom{s, 0, 0}) }

// stringFrom is a stringRule after k characters, with the pattern in state q.
type stringFrom struct {
	s    *stringRule
	k, q int
}

func (f stringFrom) after(q int) stringFrom {
	k := f.k + 1
	if f.s.hi == unbounded {
		k = min(k, f.s.lo)
	}
	return stringFrom{f.s, k, q}
}

func (f stringFrom) expand(b *builder) *node {
	var list []*node
	if f.k >= f.s.lo && (f.s.dfa == nil || f.s.dfa.accept[f.q]) {
		list = append(list, b.literal(`"`))
	}
	if f.k < f.s.hi {
		if f.s.dfa == nil {
			list = append(list, b.pair(f.s.anyChar, b.ruled(f.after(0))))
		} else {
			for _, e := range f.s.edges[f.q] {
				list = append(list, b.pair(e.chars, b.ruled(f.after(e.to))))
			}
		}
	}
	return b.alt(list...)
}

func (f stringFrom) shortest() int {
	if f.s.dfa != nil {
		return plus(f.s.best[f.k][f.q], 1)
	}
	if f.s.lo > f.s.hi {
		return never
	}
	return max(f.s.lo-f.k, 0) + 1
}

func (f stringFrom) parts() []*node {
	list := []*node{{op: opText, text: `"`}}
	if f.s.dfa == nil {
		return append(list, f.s.anyChar)
	}
	for _, edges := range f.s.edges {
		for _, e := range edges {
			list = append(list, e.chars)
		}
	}
	return list
}

func (f stringFrom) isQuoted() bool { return true }

// counting is the inside of strings of any length, in which every number of
// characters is a state of its own. See [cache.classOf].
func (b *builder) counting() *node {
	k := stringKey{hi: unbounded - 1}
	if b.strings[k] == nil {
		b.strings[k] = &stringRule{stringKey: k, anyChar: b.anyChar}
	}
	return b.strings[k].node(b)
}
