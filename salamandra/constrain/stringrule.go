package constrain

import (
	"fmt"
	"slices"
)

// stringRule is the inside of a JSON string of lo to hi code points, recognised by
// an automaton if there is one, and the quote that closes it.
type stringRule struct {
	lo, hi  int
	anyChar *node
	dfa     *dfa
	edges   [][]edge // of each state of dfa
	// The length in bytes of the shortest rest, without the quote, by the state of
	// dfa: need[k] after k characters, fewer than lo; room[r] where r more may
	// come, at most as many as there are states; free where any number may.
	need, room [][]int
	free       []int
	counting   *stringRule // see [stringFrom.counted]
}

// edge is the characters that lead from one state of a pattern to another.
type edge struct {
	to    int
	chars *node
}

// patternOf recognises the strings in which a pattern of ECMA-262 matches.
func (b *builder) patternOf(text string) (*dfa, error) {
	if d := b.patterns[text]; d != nil {
		return d, nil
	}
	compiled := formatDFAs[text]
	if compiled == nil {
		compiled = func() (*dfa, error) { return compileECMA(text, b.limit, b.late) }
	}
	d, err := compiled()
	if err == nil {
		b.patterns[text] = d
	}
	return d, err
}

// stringRuleOf returns the rule of a set of strings that lists none. It fails with
// ErrTooLarge, or if a pattern cannot be read.
func (b *builder) stringRuleOf(s *stringSet) (*stringRule, error) {
	name := s.ruleName()
	if r := b.strings[name]; r != nil {
		return r, nil
	}
	d, err := b.recogniser(s)
	if err != nil {
		return nil, err
	}
	r, err := b.newStringRule(s.lo, s.hi, d)
	if err == nil {
		b.strings[name] = r
	}
	return r, err
}

// recogniser returns what recognises the strings that match the patterns of s and
// are not among those left out, nil if it asks for neither.
func (b *builder) recogniser(s *stringSet) (*dfa, error) {
	var list []*dfa
	var want []bool
	for _, p := range s.patterns {
		d, err := b.patternOf(p.text)
		if err != nil {
			return nil, err
		}
		list, want = append(list, d), append(want, !p.not)
	}
	if len(s.others) > 0 {
		list, want = append(list, wordsDFA(s.others)), append(want, false)
	}
	switch {
	case len(list) == 0:
		return nil, nil
	case len(list) == 1 && want[0]:
		return list[0], nil
	}
	return b.product(list, func(each []bool) bool { return slices.Equal(each, want) })
}

func (b *builder) newStringRule(lo, hi int, d *dfa) (*stringRule, error) {
	s := &stringRule{lo: lo, hi: hi, anyChar: b.anyChar}
	if d == nil {
		return s, nil
	}
	s.dfa = d.minimal()
	s.link(b)
	s.free = s.never()
	for s.relax(s.free, s.free) {
	}
	if s.longest() <= s.hi {
		s.hi = unbounded
	}
	rows := s.lo
	if s.hi != unbounded {
		rows += min(s.hi-s.lo, len(s.dfa.next))
	}
	if n := (rows + 1) * len(s.dfa.next); n > 10*b.limit {
		return nil, fmt.Errorf("%w: with the limits of length it needs a table of %d places, more than %d", ErrTooLarge, n, 10*b.limit)
	}
	s.measure(b.late)
	if b.late(0) {
		return nil, fmt.Errorf("%w: no time is left", ErrTooLarge)
	}
	return s, nil
}

// link finds the characters of each edge of the pattern.
func (s *stringRule) link(b *builder) {
	made := map[string]*node{} // by classes of this dfa
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

// never is the lengths where no end is known: 0 in the states that accept.
func (s *stringRule) never() []int {
	row := make([]int, len(s.dfa.next))
	for q := range row {
		if row[q] = never; s.dfa.accept[q] {
			row[q] = 0
		}
	}
	return row
}

// longest returns how many characters the longest string has, unbounded if there
// is none.
func (s *stringRule) longest() int {
	const open = -1
	known := make([]int, len(s.edges)) // one more than the length
	var visit func(q int) int
	visit = func(q int) int {
		if known[q] != 0 {
			return known[q]
		}
		known[q] = open
		best := 1
		for _, e := range s.edges[q] {
			if s.free[e.to] == never {
				continue
			}
			n := visit(e.to)
			if n == open {
				return open
			}
			best = max(best, n+1)
		}
		known[q] = best
		return best
	}
	if n := visit(0); n != open {
		return n - 1
	}
	return unbounded
}

// measure fills need and room, unless it gets late.
func (s *stringRule) measure(late func(work int) bool) {
	last := s.free // after lo characters
	if s.hi != unbounded {
		for r := range min(s.hi-s.lo, len(s.dfa.next)) + 1 {
			row := s.never()
			if r > 0 {
				s.relax(row, s.room[r-1])
			}
			s.room = append(s.room, row)
			if last = row; late(len(row)) {
				return
			}
		}
	}
	s.need = make([][]int, s.lo)
	for k := s.lo - 1; k >= 0 && !late(len(last)); k-- {
		s.need[k] = slices.Repeat([]int{never}, len(s.dfa.next))
		s.relax(s.need[k], last)
		last = s.need[k]
	}
}

// relax shortens the lengths in row by going on with a character to those in
// next, and reports whether it could.
func (s *stringRule) relax(row, next []int) bool {
	changed := false
	for q := len(row) - 1; q >= 0; q-- {
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
	s := f.s
	switch {
	case s.lo > s.hi:
		return never
	case s.dfa == nil:
		return max(s.lo-f.k, 0) + 1
	case f.k < s.lo:
		return plus(s.need[f.k][f.q], 1)
	case s.hi == unbounded:
		return plus(s.free[f.q], 1)
	}
	return plus(s.room[min(s.hi-f.k, len(s.room)-1)][f.q], 1)
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

// counted is the same place in strings of any length, where every number of
// characters is a state of its own. See [cache.classOf].
func (f stringFrom) counted(b *builder) *node {
	if f.s.counting == nil {
		c := &stringRule{hi: unbounded - 1, anyChar: f.s.anyChar, dfa: f.s.dfa, edges: f.s.edges, free: f.s.free}
		if c.dfa == nil {
			c = b.counting
		} else {
			c.room = [][]int{f.s.free} // no length is out of reach
		}
		f.s.counting = c
	}
	return b.ruled(stringFrom{f.s.counting, 0, f.q})
}
