package constrain

import (
	"slices"
	"strconv"
	"unicode/utf8"
)

// stringSet is strings that meet a conjunction.
type stringSet struct {
	lo, hi   int // code points
	patterns []pattern
	values   []string // of these only, unless nil
	others   []string // none of these
}

// pattern is a regular expression of ECMA-262 that matches, or must not.
type pattern struct {
	text string
	not  bool
	// narrow says that there may be valid strings that are not among these: it is
	// that of a format, or of not being of one, about which validators differ.
	narrow string
}

func (s *stringSet) within(t *stringSet) bool {
	return s.lo >= t.lo && s.hi <= t.hi && contains(s.patterns, t.patterns) && contains(s.others, t.others) &&
		(t.values == nil || s.values != nil && contains(t.values, s.values))
}

func (s *stringSet) and(t *stringSet) *stringSet {
	out := &stringSet{lo: max(s.lo, t.lo), hi: min(s.hi, t.hi), patterns: slices.Clone(s.patterns), values: s.values, others: slices.Concat(s.others, t.others)}
	for _, p := range t.patterns {
		if !slices.Contains(out.patterns, p) {
			out.patterns = append(out.patterns, p)
		}
	}
	slices.Sort(out.others)
	out.others = slices.Compact(out.others)
	switch {
	case out.values == nil:
		out.values = t.values
	case t.values != nil:
		out.values = slices.DeleteFunc(slices.Clone(out.values), func(x string) bool { return !slices.Contains(t.values, x) })
	}
	if out.values != nil {
		out.values = slices.DeleteFunc(slices.Clone(out.values), func(x string) bool { return slices.Contains(out.others, x) })
		out.values = append([]string{}, out.values...)
		out.others = nil
	}
	return out
}

// wide leaves out the patterns of formats.
func (s *stringSet) wide() *stringSet {
	out := *s
	out.patterns = slices.DeleteFunc(slices.Clone(s.patterns), func(p pattern) bool { return p.narrow != "" })
	return &out
}

// emptyString reports whether it is certain that s has no string.
func (d *document) emptyString(s *stringSet) bool {
	s = s.wide()
	if s.lo > s.hi {
		return true
	}
	if s.values != nil {
		return len(d.valuesOf(s)) == 0
	}
	if len(s.patterns) == 0 && len(s.others) == 0 {
		return false
	}
	name := s.ruleName()
	if known, ok := d.noString[name]; ok {
		return known
	}
	list, want, err := d.b.asks(s)
	empty := false
	if err == nil {
		some, known := d.b.product(list, want).accepts(s.lo, s.hi)
		empty = known && !some
	}
	d.noString[name] = empty
	return empty
}

// valuesOf returns the listed values of s that meet the rest of it.
func (d *document) valuesOf(s *stringSet) []string {
	if s.lo == 0 && s.hi == unbounded && len(s.patterns) == 0 {
		return s.values
	}
	var list []string
	for _, x := range s.values {
		if d.fitsString(s, x) {
			list = append(list, x)
		}
	}
	return list
}

// fitsString reports whether a string meets s, its values left out of account.
func (d *document) fitsString(s *stringSet, x string) bool {
	n := utf8.RuneCountInString(x)
	return n >= s.lo && n <= s.hi && !slices.Contains(s.others, x) && !slices.ContainsFunc(s.patterns, func(p pattern) bool {
		a, err := d.b.patternOf(p.text)
		return err == nil && a.matches(x) == p.not // what is wrong with a pattern is said where it stands
	})
}

// notString returns the strings outside s, a part of v.
func (d *document) notString(s *stringSet, v *value) []*stringSet {
	if s.values != nil {
		list := []*stringSet{{hi: unbounded, others: s.values}}
		rest := *s
		if rest.values = nil; s.lo > 0 || s.hi != unbounded || len(s.patterns) > 0 {
			for _, x := range d.notString(&rest, v) {
				x.values = s.values
				list = append(list, x)
			}
		}
		return list
	}
	var list []*stringSet
	if s.lo > 0 {
		list = append(list, &stringSet{hi: s.lo - 1})
	}
	if s.hi != unbounded {
		list = append(list, &stringSet{lo: s.hi + 1, hi: unbounded})
	}
	for _, p := range s.patterns {
		if p.narrow != "" {
			list = append(list, &stringSet{hi: unbounded, patterns: []pattern{{text: notFormats[p.narrow], not: true, narrow: p.narrow}}})
			continue
		}
		list = append(list, &stringSet{hi: unbounded, patterns: []pattern{{text: p.text, not: !p.not}}})
	}
	if len(s.others) > 0 {
		list = append(list, &stringSet{hi: unbounded, values: s.others})
	}
	return list
}

// ruleName tells string rules apart.
func (s *stringSet) ruleName() string {
	return strconv.Itoa(s.lo) + " " + strconv.Itoa(s.hi) + s.asked()
}

// asked tells apart what patterns and words left out ask of strings.
func (s *stringSet) asked() string {
	var b []byte
	add := func(mark byte, text string) {
		b = append(strconv.AppendInt(append(b, mark), int64(len(text)), 10), ':')
		b = append(b, text...)
	}
	for _, p := range s.patterns {
		mark := byte('+')
		if p.not {
			mark = '-'
		}
		add(mark, p.text)
	}
	for _, x := range s.others {
		add('x', x)
	}
	return string(b)
}
