package constrain

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// maxSome bounds the kinds of member that are needed at once.
const maxSome = 4

// object returns the objects of a set.
func (c *compiler) object(x *cond, o *objectSet, depth int, path string) *node {
	if len(o.some) > maxSome {
		c.fault(c.place(x), "", manyMembers, maxSome)
		return c.b.empty
	}
	names := o.listed()
	r := objectRule{lo: o.lo, hi: o.hi, wanted: uint8(1)<<len(o.some) - 1}
	for _, name := range names {
		m, can := c.member(o, name, depth, path)
		if !can && m.required {
			return c.b.fail
		}
		if can {
			r.members = append(r.members, m)
		}
	}
	if !c.opts.Closed || !o.lists() {
		r.extras = c.extras(x, o, names, depth)
	}
	if len(r.extras) > 0 && o.lo > len(r.members)+1 {
		c.fault(c.place(x), "minProperties", doubleNames, o.lo, len(r.members))
	}
	return c.b.pair(c.b.literal("{"), c.b.ruled(membersFrom{o: newObjectRule(r, c.layout, depth), may: allExtras}))
}

// member returns a member that o speaks of. It reports false where there cannot be
// one.
func (c *compiler) member(o *objectSet, name string, depth int, path string) (m objectMember, can bool) {
	at := name
	if path != "" {
		at = path + "." + name
	}
	m = objectMember{key: string(appendString(nil, name)) + c.layout.key, required: slices.Contains(o.required, name)}
	constant := c.constants[at]
	m.required = m.required || constant != nil
	for meets := range uint8(1) << len(o.some) {
		value, possible := c.memberOf(o, name), true
		for i, s := range o.some {
			if meets>>i&1 == 1 {
				value, possible = c.both(value, c.cond(s.value)), possible && c.isNamed(name, []term{s.name})
			}
		}
		if !possible {
			continue
		}
		n := c.node(value, depth+1, at)
		if constant != nil {
			n = c.constant(at, constant, n, depth+1)
		}
		if n.op != opFail {
			m.values = append(m.values, memberValue{n, meets})
		}
	}
	return m, len(m.values) > 0
}

// lists reports whether some schema names members and says nothing of others: the
// objects that the option Closed closes.
func (o *objectSet) lists() bool {
	named := false
	for _, p := range o.parts {
		if len(p.patterns) > 0 || p.rest {
			return false
		}
		named = named || len(p.properties) > 0
	}
	return named
}

// extras returns the members whose names o does not speak of, with their keys, by
// which of the kinds that are needed they are written for.
func (c *compiler) extras(x *cond, o *objectSet, names []string, depth int) []extraMember {
	var list []extraMember
	var classes []*objectSet
	var fixed []bool // whether the value is what is asked for
	for kind := range uint8(2) << len(o.some) {
		meets, alone := kind>>1, kind&1 == 1 // alone: of no name that another kind may have
		if alone && len(o.some) == 0 {
			break
		}
		of, value := *o, c.cond()
		of.names = slices.Clone(o.names)
		for i, s := range o.some {
			if meets>>i&1 == 1 {
				of.names, value = append(of.names, s.name), c.both(value, c.cond(s.value))
			} else if alone {
				of.names = append(of.names, s.name.opposite())
			}
		}
		var members []*node
		for _, class := range c.nameClasses(x, &of, names) {
			if n := c.node(c.both(c.matching(o, class.matched), value), depth+1, "\x00"); n.op != opFail {
				members = append(members, c.b.seq(c.b.literal(`"`), class.name, c.b.laid(c.layout.key), n))
			}
		}
		if n := c.b.alt(members...); n.op != opFail {
			list = append(list, extraMember{member: n, meets: meets})
			classes, fixed = append(classes, &of), append(fixed, len(value.terms) > 0 || value.never)
		}
	}
	for i := range list {
		for j := range list {
			if !fixed[i] || c.apartNames(classes[i], classes[j]) {
				list[i].after |= 1 << j
			}
		}
	}
	return list
}

// apartNames reports whether no name is allowed by both sets.
func (c *compiler) apartNames(o, p *objectSet) bool {
	return !slices.ContainsFunc(c.setOf(c.cond(slices.Concat(o.names, p.names)...)).strings, func(s *stringSet) bool { return !c.emptyString(s) })
}

// nameClass is names of members, from the quote on, that match the same patterns.
type nameClass struct {
	name    *node
	matched []string
}

// classKey is what names are sorted by: the patterns, what they must meet, and those
// that are left out.
type classKey struct {
	patterns string
	allowed  *cond
	listed   string
}

// nameClasses sorts all names but the listed ones by the patterns they match, and
// leaves out those that o does not allow.
func (c *compiler) nameClasses(x *cond, o *objectSet, listed []string) []nameClass {
	var patterns []string
	for _, p := range o.parts {
		for _, y := range p.patterns {
			if !slices.Contains(patterns, y.name) {
				patterns = append(patterns, y.name)
			}
		}
	}
	key := classKey{strings.Join(patterns, "\x00"), c.cond(o.names...), strings.Join(listed, "\x00")}
	if known, ok := c.classes[key]; ok {
		return known
	}
	if len(c.document.faults) > 0 {
		return nil
	}
	classes, err := c.sortNames(o, patterns)
	if err != nil {
		c.fault(c.place(x), "patternProperties", largeNames, err)
	}
	words := make([]string, len(listed))
	for i, name := range listed {
		words[i] = string(appendString(nil, name))[1:]
	}
	for i := range classes {
		classes[i].name = c.b.except(classes[i].name, words)
	}
	c.classes[key] = classes
	return classes
}

// sortNames runs the automata of patterns, and of what o allows, together.
func (c *compiler) sortNames(o *objectSet, patterns []string) ([]nameClass, error) {
	var list []*dfa
	for _, text := range patterns {
		d, err := c.b.patternOf(text)
		if err != nil {
			return nil, err
		}
		list = append(list, d)
	}
	allowed, err := c.allowedNames(o)
	switch {
	case err != nil:
		return nil, err
	case allowed != nil:
		list = append(list, allowed)
	case len(list) == 0:
		return []nameClass{{c.b.anyString.node(c.b), nil}}, nil
	}
	sign := func(each []bool) string {
		if len(list) > len(patterns) && !each[len(patterns)] {
			return ""
		}
		return "matched" + fmt.Sprint(each[:len(patterns)])
	}
	found := map[string][]string{}
	all, err := c.b.product(list, func(each []bool) bool {
		s := sign(each)
		if _, known := found[s]; s != "" && !known {
			found[s] = nil
			for i, text := range patterns {
				if each[i] {
					found[s] = append(found[s], text)
				}
			}
		}
		return s != ""
	})
	if err != nil {
		return nil, err
	}
	var classes []nameClass
	for _, s := range slices.Sorted(maps.Keys(found)) {
		d := all
		if len(found) > 1 {
			if d, err = c.b.product(list, func(each []bool) bool { return sign(each) == s }); err != nil {
				return nil, err
			}
		}
		r, err := c.b.newStringRule(0, unbounded, d)
		if err != nil {
			return nil, err
		}
		classes = append(classes, nameClass{r.node(c.b), found[s]})
	}
	return classes, nil
}

// matching is the condition on members whose names match some of the patterns and
// are not listed.
func (c *compiler) matching(o *objectSet, matched []string) *cond {
	var terms []term
	for _, p := range o.parts {
		named := false
		for _, y := range p.patterns {
			if slices.Contains(matched, y.name) {
				terms, named = append(terms, y.term), true
			}
		}
		if !named {
			terms = append(terms, p.additional)
		}
	}
	return c.cond(terms...)
}

// allowedNames recognises the names that propertyNames allows, nil for all.
func (c *compiler) allowedNames(o *objectSet) (*dfa, error) {
	if len(o.names) == 0 {
		return nil, nil
	}
	var list []*dfa
	for _, s := range c.setOf(c.cond(o.names...)).strings {
		d, err := c.stringDFA(s)
		if err != nil {
			return nil, err
		}
		list = append(list, d)
	}
	return c.b.product(append(list, wordsDFA(nil)), func(each []bool) bool { return slices.Contains(each, true) })
}

// stringDFA recognises the strings of a set.
func (c *compiler) stringDFA(s *stringSet) (*dfa, error) {
	if s.values != nil {
		return wordsDFA(c.valuesOf(s)), nil
	}
	list := []*dfa{lengthDFA(s.lo, s.hi)}
	d, err := c.b.recogniser(s)
	if err != nil {
		return nil, err
	}
	if d != nil {
		list = append(list, d)
	}
	return c.b.product(list, func(each []bool) bool { return !slices.Contains(each, false) })
}

// constant returns the text of a constant, which must be among the values of n.
func (c *compiler) constant(path string, x *value, n *node, depth int) *node {
	c.used[path] = true
	as := c.layout
	if as.free {
		as = layout{item: ", ", key: ": "}
	}
	text := as.append(nil, x, depth)
	if end := c.b.run(n, text); end == nil || end.min != 0 {
		return c.b.fail // perhaps allowed in another alternative
	}
	c.accepted[path] = true
	return c.b.literal(string(text))
}
