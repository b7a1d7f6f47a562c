package constrain

import (
	"encoding/binary"
	"slices"
)

// term is the condition of being valid under a schema, or of not being so.
type term struct {
	schema *value
	not    bool
}

// cond is a condition on a value: all of its terms hold. Equal conditions are the
// same. That of no term holds always.
type cond struct {
	terms []term
	never bool // the terms are known to contradict each other
}

// set is the values that meet a condition, by their types.
type set struct {
	null, no, yes bool // null, false, true
	numbers       []*numberSet
	strings       []*stringSet
	arrays        []*arraySet
	objects       []*objectSet
}

// full is the set of all values.
func full() *set {
	return &set{null: true, no: true, yes: true, numbers: []*numberSet{{}}, strings: []*stringSet{{hi: unbounded}}, arrays: []*arraySet{{hi: unbounded}}, objects: []*objectSet{{hi: unbounded}}}
}

// maxAlternatives bounds what allOf, anyOf, oneOf, not and if multiply to.
const maxAlternatives = 500

func (s *set) alternatives() int {
	return max(len(s.numbers), len(s.strings), len(s.arrays), len(s.objects))
}

// cond returns the condition that all terms hold.
func (d *document) cond(terms ...term) *cond {
	if len(terms) == 1 {
		c := d.single[terms[0]]
		if c == nil {
			c = d.newCond(terms)
			d.single[terms[0]] = c
		}
		return c
	}
	return d.newCond(terms)
}

func (d *document) newCond(terms []term) *cond {
	list := make([]term, 0, len(terms))
	for _, t := range terms {
		always, never := t.trivial()
		if never {
			return d.intern(nil, true)
		}
		if !always {
			list = append(list, t)
		}
	}
	slices.SortFunc(list, func(x, y term) int {
		if x.schema == y.schema && x.not != y.not {
			if y.not {
				return -1
			}
			return 1
		}
		return x.schema.at.id - y.schema.at.id
	})
	return d.intern(slices.Compact(list), false)
}

// trivial reports whether a term obviously holds always, or never.
func (t term) trivial() (always, never bool) {
	v := t.schema
	if v.kind == "boolean" {
		return (v.text == "true") != t.not, (v.text == "true") == t.not
	}
	if v.kind == "object" && len(v.members) == 0 {
		return !t.not, t.not
	}
	return false, false
}

func (d *document) intern(terms []term, never bool) *cond {
	var key []byte
	for _, t := range terms {
		n := 2 * t.schema.at.id
		if t.not {
			n++
		}
		key = binary.AppendUvarint(key, uint64(n))
	}
	if never {
		key = []byte("never")
	}
	c := d.conds[string(key)]
	if c == nil {
		c = &cond{terms, never}
		d.conds[string(key)] = c
	}
	return c
}

// both is the condition that two hold.
func (d *document) both(x, y *cond) *cond {
	if x.never || y.never {
		return d.intern(nil, true)
	}
	return d.cond(slices.Concat(x.terms, y.terms)...)
}

// setOf returns the values that meet a condition. After a fault it is any set.
func (d *document) setOf(c *cond) *set {
	if s := d.sets[c]; s != nil {
		return s
	}
	if c.never {
		return &set{}
	}
	s := full()
	for i, t := range c.terms {
		if i == 0 {
			s = d.termSet(t)
		} else {
			s = d.intersect(s, d.termSet(t), t.schema)
		}
	}
	if !d.doubt {
		d.sets[c] = s
	}
	return s
}

// termSet returns the values that meet a term.
func (d *document) termSet(t term) *set {
	if s := d.terms[t]; s != nil {
		return s
	}
	switch always, never := t.trivial(); {
	case always:
		return full()
	case never, d.b.late(nodeWork):
		return &set{}
	}
	if d.busy[t] {
		if d.doubt = true; d.probes == 0 {
			d.fault(t.schema, "", deepReference)
		}
		return full()
	}
	d.busy[t] = true
	var s *set
	if t.not {
		s = d.opposite(t.schema)
	} else {
		s = d.schemaSet(t.schema)
	}
	delete(d.busy, t)
	if !d.doubt {
		d.terms[t] = s
	}
	return s
}

// maxProbes bounds how deep members are looked into to find a contradiction.
const maxProbes = 5

// isEmpty reports whether it is certain that no value meets a condition. Formats
// are left out of account, as validators differ about them.
func (d *document) isEmpty(c *cond) bool {
	if c.never {
		return true
	}
	if len(c.terms) == 0 || d.probes >= maxProbes {
		return false
	}
	if known, ok := d.empty[c]; ok {
		return known
	}
	before := d.doubt
	d.doubt = false
	d.probes++
	s := d.setOf(c)
	result := !d.doubt && d.emptySet(s)
	d.probes--
	if !d.doubt {
		d.empty[c] = result
	}
	d.doubt = before
	return result
}

// emptySet reports whether it is certain that a set has no value.
func (d *document) emptySet(s *set) bool {
	return !s.null && !s.no && !s.yes &&
		!slices.ContainsFunc(s.numbers, func(n *numberSet) bool { return !n.empty() }) &&
		!slices.ContainsFunc(s.strings, func(x *stringSet) bool { return !d.emptyString(x) }) &&
		!slices.ContainsFunc(s.arrays, func(a *arraySet) bool { return !d.emptyArray(a) }) &&
		!slices.ContainsFunc(s.objects, func(o *objectSet) bool { return !d.emptyObject(o) })
}

// intersect returns the values of both sets. A fault about too many alternatives
// is noted at v.
func (d *document) intersect(x, y *set, v *value) *set {
	return d.limited(v, &set{
		null: x.null && y.null, no: x.no && y.no, yes: x.yes && y.yes,
		numbers: pairs(x.numbers, y.numbers, (*numberSet).and, (*numberSet).empty),
		strings: pairs(x.strings, y.strings, (*stringSet).and, d.emptyString),
		arrays:  pairs(x.arrays, y.arrays, (*arraySet).and, d.emptyArray),
		objects: pairs(x.objects, y.objects, (*objectSet).and, d.emptyObject),
	})
}

// shape is the values of one type that meet a conjunction.
type shape[S any] interface {
	// within reports whether it is obvious that all values are in the other set too.
	within(S) bool
}

// pairs joins each of x with each of y, and leaves out what is empty where that
// makes a difference.
func pairs[S shape[S]](x, y []S, and func(S, S) S, empty func(S) bool) []S {
	var list []S
	for _, s := range x {
		for _, t := range y {
			if both := and(s, t); len(x)*len(y) == 1 || !empty(both) {
				list = append(list, both)
			}
		}
		if len(list) > 2*maxAlternatives {
			if list = distinct(list); len(list) > maxAlternatives {
				return list // which is refused
			}
		}
	}
	return distinct(list)
}

// distinct leaves out shapes that obviously lie within another.
func distinct[S shape[S]](list []S) []S {
	out := make([]S, 0, len(list))
	for _, s := range list {
		if slices.ContainsFunc(out, s.within) {
			continue
		}
		out = append(slices.DeleteFunc(out, func(t S) bool { return t.within(s) }), s)
	}
	return out
}

// unite returns the values of any of the sets.
func (d *document) unite(v *value, sets ...*set) *set {
	out := &set{}
	for _, s := range sets {
		out.null, out.no, out.yes = out.null || s.null, out.no || s.no, out.yes || s.yes
		out.numbers = append(out.numbers, s.numbers...)
		out.strings = append(out.strings, s.strings...)
		out.arrays = append(out.arrays, s.arrays...)
		out.objects = append(out.objects, s.objects...)
	}
	out.numbers, out.strings, out.arrays, out.objects = distinct(out.numbers), distinct(out.strings), distinct(out.arrays), distinct(out.objects)
	return d.limited(v, out)
}

func (d *document) limited(v *value, s *set) *set {
	d.b.late(nodeWork * s.alternatives())
	if s.alternatives() > maxAlternatives {
		d.fault(v, "", manyAlternatives, maxAlternatives)
		return &set{}
	}
	return s
}

// complement returns the values outside a set of v.
func (d *document) complement(s *set, v *value) *set {
	out := &set{null: !s.null, no: !s.no, yes: !s.yes, numbers: []*numberSet{{}}, strings: []*stringSet{{hi: unbounded}}, arrays: []*arraySet{{hi: unbounded}}, objects: []*objectSet{{hi: unbounded}}}
	for _, n := range s.numbers {
		out.numbers = pairs(out.numbers, n.not(), (*numberSet).and, (*numberSet).empty)
	}
	for _, x := range s.strings {
		out.strings = pairs(out.strings, d.notString(x, v), (*stringSet).and, d.emptyString)
	}
	for _, a := range s.arrays {
		out.arrays = pairs(out.arrays, d.notArray(a, v), (*arraySet).and, d.emptyArray)
	}
	for _, o := range s.objects {
		out.objects = pairs(out.objects, d.notObject(o, v), (*objectSet).and, d.emptyObject)
		if out = d.limited(v, out); len(out.objects) == 0 {
			break
		}
	}
	return out
}
