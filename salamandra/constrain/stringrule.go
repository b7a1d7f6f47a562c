package constrain

import "slices"

// stringRule is the inside of a JSON string of lo to hi code points, recognised by
// an automaton if there is one, and the quote that closes it.
type stringRule struct {
	lo, hi  int
	anyChar *node
	of      *automaton
	chars   []*node // the sets of characters of the automaton, once asked for
	// The least bytes of the rest, without the quote, by the state of the automaton:
	// need[k] after k characters, fewer than lo; room[r] where r more may come, the
	// last one for more than that too.
	need, room [][]int32
	counting   *stringRule // see [stringFrom.counted]
}

// patternOf recognises the strings in which a pattern of ECMA-262 matches.
func (b *builder) patternOf(text string) (*automaton, error) {
	if a := b.patterns[text]; a != nil {
		return a, nil
	}
	compiled := formatAutomata[text]
	if compiled == nil {
		compiled = func() (*automaton, error) {
			return b.recogniser("pattern "+text, func() (*automaton, error) {
				d, made, err := compileECMA(text, b.limit, b.late)
				if err != nil {
					return nil, err
				}
				return newAutomaton(d, made), nil
			})
		}
	}
	a, err := compiled()
	if err == nil {
		b.patterns[text] = a
	}
	return a, err
}

// stringRuleOf returns the rule of a set of strings that lists none. It fails with
// ErrTooLarge, or if a pattern cannot be read.
func (b *builder) stringRuleOf(s *stringSet) (*stringRule, error) {
	name := s.ruleName()
	if r := b.strings[name]; r != nil {
		return r, nil
	}
	a, err := b.automatonOf(s)
	if err != nil {
		return nil, err
	}
	r, err := b.newStringRule(s.lo, s.hi, a)
	if err == nil {
		b.strings[name] = r
	}
	return r, err
}

// asks returns what runs together for the strings that match the patterns of s and are
// not among those left out, and what each must do.
func (b *builder) asks(s *stringSet) (list []*dfa, want []int8, err error) {
	for _, p := range s.patterns {
		a, err := b.patternOf(p.text)
		if err != nil {
			return nil, nil, err
		}
		list, want = append(list, a.dfa), append(want, 1)
		if p.not {
			want[len(want)-1] = -1
		}
	}
	if len(s.others) > 0 {
		list, want = append(list, wordsDFA(s.others)), append(want, -1)
	}
	return list, want, nil
}

// automatonOf recognises the strings that match the patterns of s and are not among
// those left out. It is nil if s asks for neither.
func (b *builder) automatonOf(s *stringSet) (*automaton, error) {
	if len(s.others) == 0 {
		switch {
		case len(s.patterns) == 0:
			return nil, nil
		case len(s.patterns) == 1 && !s.patterns[0].not:
			return b.patternOf(s.patterns[0].text)
		}
	}
	list, want, err := b.asks(s)
	if err != nil {
		return nil, err
	}
	return b.recogniser("strings"+s.asked(), func() (*automaton, error) {
		p := b.product(list, want)
		if err := p.all(); err != nil {
			return nil, err
		}
		return newAutomaton(&p.dfa, len(p.accept)), nil
	})
}

func (b *builder) newStringRule(lo, hi int, a *automaton) (*stringRule, error) {
	s := &stringRule{lo: lo, hi: hi, anyChar: b.anyChar, of: a}
	if a == nil {
		return s, nil
	}
	s.chars = make([]*node, len(a.sets))
	if a.longest <= s.hi {
		s.hi = unbounded
	}
	rows := s.lo
	if s.hi != unbounded {
		rows += min(s.hi-s.lo, a.states())
	}
	if n := (rows + 1) * a.states(); n > 10*b.limit {
		return nil, tooLarge("with the limits of length it needs a table of %d places, more than %d", n, 10*b.limit)
	}
	s.measure(b.late)
	if b.late(0) {
		return nil, tooLarge("no time is left")
	}
	return s, nil
}

// measure fills need and room, unless it gets late.
func (s *stringRule) measure(late func(work int) bool) {
	a := s.of
	last := a.free // after lo characters
	if s.hi != unbounded {
		s.room = append(s.room, a.ends())
		for r := 1; r <= s.hi-s.lo && !late(len(last)); r++ {
			last = a.ends()
			if a.relax(last, s.room[r-1]); slices.Equal(last, s.room[r-1]) {
				break // more room makes no difference
			}
			s.room = append(s.room, last)
		}
		last = s.room[len(s.room)-1]
	}
	s.need = make([][]int32, s.lo)
	for k := s.lo - 1; k >= 0 && !late(len(last)); k-- {
		s.need[k] = slices.Repeat([]int32{noLength}, a.states())
		a.relax(s.need[k], last)
		last = s.need[k]
	}
}

// charsOf is the characters of an edge.
func (s *stringRule) charsOf(b *builder, e edge) *node {
	if s.chars[e.set] == nil {
		s.chars[e.set] = b.chars(s.of.sets[e.set].ranges)
	}
	return s.chars[e.set]
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
	if f.k >= f.s.lo && (f.s.of == nil || f.s.of.accept[f.q]) {
		list = append(list, b.literal(`"`))
	}
	if f.k < f.s.hi {
		if f.s.of == nil {
			return b.alt(append(list, b.pair(f.s.anyChar, b.ruled(f.after(0))))...)
		}
		for _, e := range f.s.of.edgesOf(f.q) {
			if f.s.of.free[e.to] == noLength {
				continue
			}
			list = append(list, b.pair(f.s.charsOf(b, e), b.ruled(f.after(int(e.to)))))
		}
	}
	return b.alt(list...)
}

func (f stringFrom) shortest() int {
	s := f.s
	if s.lo > s.hi {
		return never
	}
	if s.of == nil {
		return max(s.lo-f.k, 0) + 1
	}
	row := s.of.free
	switch {
	case f.k < s.lo:
		row = s.need[f.k]
	case s.hi != unbounded:
		row = s.room[min(s.hi-f.k, len(s.room)-1)]
	}
	if row[f.q] == noLength {
		return never
	}
	return int(row[f.q]) + 1
}

func (f stringFrom) parts() []*node {
	if f.s.of == nil {
		return []*node{{op: opText, text: `"`}, f.s.anyChar}
	}
	return f.s.of.bytes
}

func (f stringFrom) isQuoted() bool { return true }

// counted is the same place in strings of any length, where every number of
// characters is a state of its own. See [cache.classOf].
func (f stringFrom) counted(b *builder) *node {
	if f.s.counting == nil {
		c := b.counting
		if f.s.of != nil { // no length is out of reach
			c = &stringRule{hi: unbounded - 1, anyChar: f.s.anyChar, of: f.s.of, chars: f.s.chars, room: [][]int32{f.s.of.free}}
		}
		f.s.counting = c
	}
	return b.ruled(stringFrom{f.s.counting, 0, f.q})
}
