package constrain

import "slices"

// unevaluated keeps those values of v whose items and members that nothing else in
// v speaks of meet unevaluatedItems and unevaluatedProperties. Each alternative
// knows the parts that it is made of.
func (d *document) unevaluated(v *value, s *set) *set {
	items, members := d.get(v, "unevaluatedItems"), d.get(v, "unevaluatedProperties")
	if items == nil && members == nil {
		return s
	}
	if d.choosesInPlace(v, 0) {
		d.narrowed = v
	}
	out := *s
	if items != nil {
		out.arrays = nil
		for _, a := range s.arrays {
			if len(a.contains) > 0 {
				d.fault(v, "unevaluatedItems", unevaluatedContains)
			}
			out.arrays = append(out.arrays, a.otherItems(term{schema: items}))
		}
	}
	if members != nil {
		out.objects = nil
		for _, o := range s.objects {
			out.objects = append(out.objects, o.otherMembers(term{schema: members}))
		}
	}
	return &out
}

// choosesInPlace reports whether v chooses between schemas of which more than one
// may hold, by itself or by what it refers to. An alternative then knows of one
// only, and asks more of a value than it must.
func (d *document) choosesInPlace(v *value, depth int) bool {
	if v.get("anyOf") != nil || depth > maxProbes {
		return true
	}
	var parts []*value
	if ref := v.get("$ref"); ref != nil {
		if target, err := d.resolve(ref); err == nil {
			parts = append(parts, target)
		}
	}
	for _, name := range []string{"if", "then", "else", "not"} {
		if x := v.get(name); x != nil {
			parts = append(parts, x)
		}
	}
	for _, name := range []string{"allOf", "oneOf"} {
		if x := v.get(name); x != nil {
			parts = append(parts, x.items...)
		}
	}
	for _, name := range []string{"dependentSchemas", "dependencies"} {
		if v.get(name) != nil {
			return true
		}
	}
	return slices.ContainsFunc(parts, func(x *value) bool { return d.choosesInPlace(x, depth+1) })
}

// otherItems returns a with a term on the items that no part speaks of.
func (a *arraySet) otherItems(t term) *arraySet {
	n := 0
	for _, p := range a.parts {
		if p.evaluates && p.rest {
			return a
		}
		if p.evaluates {
			n = max(n, len(p.prefix))
		}
	}
	rest := arrayPart{prefix: slices.Repeat([]term{anything}, n), items: t, evaluates: true, rest: true}
	return a.and(&arraySet{hi: unbounded, parts: []arrayPart{rest}})
}

// otherMembers returns o with a term on the members that no part speaks of.
func (o *objectSet) otherMembers(t term) *objectSet {
	rest := &objectPart{additional: t, evaluates: true, rest: true}
	for _, p := range o.parts {
		if p.evaluates && p.rest {
			return o
		}
		if !p.evaluates {
			continue
		}
		for _, x := range p.properties {
			rest.properties = append(rest.properties, property{x.name, anything})
		}
		for _, x := range p.patterns {
			rest.patterns = append(rest.patterns, property{x.name, anything})
		}
	}
	return o.and(&objectSet{hi: unbounded, parts: []*objectPart{rest}})
}

// unevaluating is the same set, whose parts do not count for unevaluatedItems and
// unevaluatedProperties: those under not do not.
func (s *set) unevaluating() *set {
	out := *s
	out.arrays, out.objects = slices.Clone(s.arrays), slices.Clone(s.objects)
	for i, a := range out.arrays {
		b := *a
		b.parts = slices.Clone(a.parts)
		for k := range b.parts {
			b.parts[k].evaluates = false
		}
		out.arrays[i] = &b
	}
	for i, o := range out.objects {
		p := *o
		p.plan = nil
		p.parts = slices.Clone(o.parts)
		for k, part := range p.parts {
			q := *part
			q.evaluates = false
			p.parts[k] = &q
		}
		out.objects[i] = &p
	}
	return &out
}
