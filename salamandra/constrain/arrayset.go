package constrain

import "slices"

// arraySet is arrays that meet a conjunction.
type arraySet struct {
	lo, hi   int // number of items
	unique   bool
	parts    []arrayPart
	contains []containing
}

// arrayPart is what one schema says of items: of the first ones each for itself,
// and of those after them.
type arrayPart struct {
	prefix []term
	items  term
	// evaluates says that unevaluatedItems does not ask about these items: all,
	// where rest is set, or those of the prefix.
	evaluates, rest bool
}

// containing asks for a number of items, from an index on, that meet a term.
type containing struct {
	item     term
	from     int
	min, max int
}

// Terms that hold always, and never.
var (
	anything = term{schema: &value{kind: "boolean", text: "true"}}
	nothing  = term{schema: &value{kind: "boolean", text: "false"}}
)

func (t term) opposite() term { return term{t.schema, !t.not} }

func (p arrayPart) at(i int) term {
	if i < len(p.prefix) {
		return p.prefix[i]
	}
	return p.items
}

func (a *arraySet) within(b *arraySet) bool {
	has := func(list []arrayPart, p arrayPart) bool { return slices.ContainsFunc(list, p.same) }
	return a.lo >= b.lo && a.hi <= b.hi && (a.unique || !b.unique) && contains(a.contains, b.contains) &&
		!slices.ContainsFunc(b.parts, func(p arrayPart) bool { return !has(a.parts, p) }) &&
		!slices.ContainsFunc(a.parts, func(p arrayPart) bool { return p.evaluates && !has(b.parts, p) })
}

func (p arrayPart) same(q arrayPart) bool {
	return p.items == q.items && p.evaluates == q.evaluates && p.rest == q.rest && slices.Equal(p.prefix, q.prefix)
}

func (a *arraySet) and(b *arraySet) *arraySet {
	return &arraySet{
		lo: max(a.lo, b.lo), hi: min(a.hi, b.hi), unique: a.unique || b.unique,
		parts: slices.Concat(a.parts, b.parts), contains: slices.Concat(a.contains, b.contains),
	}
}

// prefix is how many first items are spoken of one by one.
func (a *arraySet) prefix() int {
	n := 0
	for _, p := range a.parts {
		n = max(n, len(p.prefix))
	}
	return n
}

// itemOf returns the condition on item i.
func (d *document) itemOf(a *arraySet, i int) *cond {
	var terms []term
	for _, p := range a.parts {
		terms = append(terms, p.at(i))
	}
	return d.cond(terms...)
}

// emptyArray reports whether it is certain that a has no array.
func (d *document) emptyArray(a *arraySet) bool {
	if a.lo > a.hi {
		return true
	}
	for i := range min(a.lo, a.prefix()+1) {
		if d.isEmpty(d.itemOf(a, i)) {
			return true
		}
	}
	return slices.ContainsFunc(a.contains, func(c containing) bool { return c.min > c.max || c.min > a.hi })
}

// notArray returns the arrays outside a, a part of v.
func (d *document) notArray(a *arraySet, v *value) []*arraySet {
	var list []*arraySet
	if a.lo > 0 {
		list = append(list, &arraySet{hi: a.lo - 1})
	}
	if a.hi != unbounded {
		list = append(list, &arraySet{lo: a.hi + 1, hi: unbounded})
	}
	if a.unique {
		d.fault(v, "uniqueItems", oppositeUnique)
	}
	for _, p := range a.parts {
		for i, t := range p.prefix {
			if always, _ := t.trivial(); !always {
				wrong := arrayPart{prefix: append(slices.Repeat([]term{anything}, i), t.opposite()), items: anything}
				list = append(list, &arraySet{lo: i + 1, hi: unbounded, parts: []arrayPart{wrong}})
			}
		}
		switch always, never := p.items.trivial(); {
		case always:
		case never:
			list = append(list, &arraySet{lo: len(p.prefix) + 1, hi: unbounded})
		default:
			list = append(list, &arraySet{hi: unbounded, contains: []containing{{p.items.opposite(), len(p.prefix), 1, unbounded}}})
		}
	}
	for _, c := range a.contains {
		if c.min > 0 {
			list = append(list, &arraySet{hi: unbounded, contains: []containing{{c.item, c.from, 0, c.min - 1}}})
		}
		if c.max != unbounded {
			list = append(list, &arraySet{hi: unbounded, contains: []containing{{c.item, c.from, c.max + 1, unbounded}}})
		}
	}
	return list
}
