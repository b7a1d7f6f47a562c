package constrain

import "slices"

// objectSet is objects that meet a conjunction.
type objectSet struct {
	lo, hi   int // number of members
	required []string
	parts    []*objectPart
	names    []term // of the name of every member
	some     []someMember
	plan     *objectPlan // once asked for
}

// someMember asks for a member whose name and value meet terms.
type someMember struct{ name, value term }

// objectPart is what one schema says of members: properties, patternProperties
// and additionalProperties, which knows of those beside it only.
type objectPart struct {
	properties []property
	patterns   []property // by regular expressions of ECMA-262
	additional term
	// evaluates says that unevaluatedProperties does not ask about these members:
	// all, where rest is set, or those that are named.
	evaluates, rest bool
	index           map[string]term // of properties, once asked for
}

type property struct {
	name string
	term term
}

// within compares parts by where they come from.
func (o *objectSet) within(p *objectSet) bool {
	return o.lo >= p.lo && o.hi <= p.hi && contains(o.parts, p.parts) && contains(o.names, p.names) && contains(o.some, p.some) && contains(o.required, p.required) &&
		!slices.ContainsFunc(o.parts, func(x *objectPart) bool { return x.evaluates && !slices.Contains(p.parts, x) })
}

// contains reports whether list has all of part.
func contains[T comparable](list, part []T) bool {
	return len(list) >= len(part) && !slices.ContainsFunc(part, func(x T) bool { return !slices.Contains(list, x) })
}

func (o *objectSet) and(p *objectSet) *objectSet {
	out := &objectSet{lo: max(o.lo, p.lo), hi: min(o.hi, p.hi), names: slices.Concat(o.names, p.names), some: slices.Clone(o.some)}
	for _, x := range p.some {
		if !slices.Contains(out.some, x) {
			out.some = append(out.some, x)
		}
	}
	out.required = slices.Clone(o.required)
	for _, name := range p.required {
		if !slices.Contains(out.required, name) {
			out.required = append(out.required, name)
		}
	}
	out.parts = slices.Clone(o.parts)
	for _, part := range p.parts {
		if !slices.Contains(out.parts, part) {
			out.parts = append(out.parts, part)
		}
	}
	return out
}

func (p *objectPart) property(name string) (term, bool) {
	if p.index == nil {
		p.index = make(map[string]term, len(p.properties))
		for _, x := range p.properties {
			p.index[x.name] = x.term
		}
	}
	t, ok := p.index[name]
	return t, ok
}

// memberOf returns the condition on the member of a name.
func (d *document) memberOf(o *objectSet, name string) *cond {
	var terms []term
	for _, p := range o.parts {
		t, listed := p.property(name)
		if listed {
			terms = append(terms, t)
		}
		for _, x := range p.patterns {
			a, err := d.b.patternOf(x.name)
			if err == nil && a.matches(name) { // what is wrong with a pattern is said where it stands
				terms, listed = append(terms, x.term), true
			}
		}
		if !listed {
			terms = append(terms, p.additional)
		}
	}
	if len(o.names) > 0 && !d.isNamed(name, o.names) {
		terms = append(terms, nothing)
	}
	return d.cond(terms...)
}

// isNamed reports whether a name meets terms.
func (d *document) isNamed(name string, terms []term) bool {
	return slices.ContainsFunc(d.setOf(d.cond(terms...)).strings, func(s *stringSet) bool {
		return (s.values == nil || slices.Contains(s.values, name)) && d.fitsString(s, name)
	})
}

type nameKey struct {
	at   *value
	name string
}

// listed is the names that o speaks of, in the order in which they are written.
func (o *objectSet) listed() []string {
	var list []string
	seen := map[string]bool{}
	add := func(name string) {
		if !seen[name] {
			seen[name] = true
			list = append(list, name)
		}
	}
	for _, p := range o.parts {
		for _, x := range p.properties {
			add(x.name)
		}
	}
	for _, name := range o.required {
		add(name)
	}
	return list
}

// emptyObject reports whether it is certain that o has no object.
func (d *document) emptyObject(o *objectSet) bool {
	if o.lo > o.hi || len(o.required) > o.hi || len(o.some) > 0 && o.hi == 0 {
		return true
	}
	return slices.ContainsFunc(o.required, func(name string) bool { return d.isEmpty(d.memberOf(o, name)) })
}

// notObject returns the objects outside o, a part of v.
func (d *document) notObject(o *objectSet, v *value) []*objectSet {
	var list []*objectSet
	if o.lo > 0 {
		list = append(list, &objectSet{hi: o.lo - 1})
	}
	if o.hi != unbounded {
		list = append(list, &objectSet{lo: o.hi + 1, hi: unbounded})
	}
	for _, name := range o.required { // it is not there, or not what one of the schemas says
		t := anything
		if len(o.parts) == 1 {
			if said, ok := o.parts[0].property(name); ok {
				t = said
			}
		}
		wrong := &objectPart{properties: []property{{name, t.opposite()}}, additional: anything}
		list = append(list, &objectSet{hi: unbounded, parts: []*objectPart{wrong}})
	}
	for _, p := range o.parts {
		list = append(list, d.notPart(p, v, o)...)
	}
	for _, t := range o.names {
		list = append(list, &objectSet{hi: unbounded, some: []someMember{{t.opposite(), anything}}})
	}
	return list
}

// notPart returns the objects with a member that is not as p says, a part of o.
func (d *document) notPart(p *objectPart, v *value, o *objectSet) []*objectSet {
	var list []*objectSet
	names, key := &value{kind: "array"}, "names of"
	for _, x := range p.properties {
		names.items, key = append(names.items, stringValue(x.name)), key+"\x00"+x.name
		if always, _ := x.term.trivial(); !always && (len(o.parts) > 1 || !slices.Contains(o.required, x.name)) {
			wrong := &objectPart{properties: []property{{x.name, x.term.opposite()}}, additional: anything}
			list = append(list, &objectSet{hi: unbounded, required: []string{x.name}, parts: []*objectPart{wrong}})
		}
	}
	some := func(name, t term) {
		if always, _ := t.trivial(); !always {
			list = append(list, &objectSet{hi: unbounded, some: []someMember{{name, t.opposite()}}})
		}
	}
	spoken := &value{kind: "array"} // schemas of the names that p speaks of
	if len(names.items) > 0 {
		spoken.items = []*value{d.once(v, key, member{"enum", names})}
	}
	for _, x := range p.patterns {
		matches := d.once(v, "pattern "+x.name, member{"pattern", stringValue(x.name)})
		some(term{schema: matches}, x.term)
		spoken.items, key = append(spoken.items, matches), key+"\x00\x00"+x.name
	}
	others := anything
	if len(spoken.items) > 0 {
		others = term{d.once(v, "not "+key, member{"anyOf", spoken}), true}
	}
	some(others, p.additional)
	return list
}
