package constrain

import "slices"

// maxAlternatives bounds what allOf, anyOf and if multiply to.
const maxAlternatives = 64

// expansion is a schema as alternatives without applicators, of which one at
// least must hold.
type expansion struct {
	alternatives []*value
	targets      []*value // schemas that $ref put in
}

// expander works out an expansion.
type expander struct {
	c         *compiler
	of        *value
	targets   []*value
	deferred  []*value        // schemas with if, seen last: what they ask about is known then
	expanding map[*value]bool // targets of $ref around the present schema
}

// expand returns the expansion of v. Faults are noted at the first call.
func (c *compiler) expand(v *value) *expansion {
	if known := c.expansions[v]; known != nil {
		return known
	}
	e := &expander{c: c, of: v, expanding: map[*value]bool{}}
	alternatives := e.refine([]*value{e.synthetic(nil)}, v)
	for len(e.deferred) > 0 {
		s := e.deferred[0]
		e.deferred = e.deferred[1:]
		alternatives = e.decide(alternatives, s)
	}
	c.expansions[v] = &expansion{alternatives, e.targets}
	return c.expansions[v]
}

// synthetic makes a schema that stands at the place of e.of.
func (e *expander) synthetic(members []member) *value {
	v := &value{kind: "object", members: members}
	e.c.pointers[v] = e.c.pointers[e.of]
	e.c.synthetic[v] = true
	return v
}

// refine returns the alternatives in which s holds too.
func (e *expander) refine(alternatives []*value, s *value) []*value {
	if s.kind == "boolean" && s.text == "false" || len(alternatives) == 0 || e.c.b.late(nodeWork) {
		return nil
	}
	if s.kind == "boolean" {
		return alternatives
	}
	if s.kind != "object" {
		e.c.fault(s, "", ErrMalformed, "a schema is an object or a boolean, not %s", s.kind)
		return nil
	}
	applicators, assertions := e.c.sort(s)
	for name, kind := range map[string]string{"properties": "object", "required": "array", "prefixItems": "array"} {
		if x := s.get(name); x != nil && x.kind != kind {
			e.c.fault(s, name, ErrMalformed, "want an %s", kind)
			return nil
		}
	}
	var list []*value
	for _, a := range alternatives {
		if both, ok := e.both(a, s, assertions); ok {
			list = append(list, both)
		}
	}
	for _, name := range applicators {
		if list = e.apply(list, s, name); len(list) > maxAlternatives {
			e.c.fault(s, name, ErrTooLarge, "%s makes more than %d alternatives", name, maxAlternatives)
			return nil
		}
	}
	return list
}

// apply refines by one applicator of s.
func (e *expander) apply(list []*value, s *value, name string) []*value {
	x := s.get(name)
	switch name {
	case "if":
		e.deferred = append(e.deferred, s)
		return list
	case "$ref":
		target, err := e.c.resolve(x)
		if err != nil {
			e.c.fault(s, name, ErrUnsupported, "%v", err)
			return nil
		}
		if e.expanding[target] {
			e.c.fault(s, name, ErrUnsupported, "recursive $ref %q", x.text)
			return nil
		}
		e.targets = append(e.targets, target)
		e.expanding[target] = true
		defer delete(e.expanding, target)
		return e.refine(list, target)
	}
	if x.kind != "array" || len(x.items) == 0 {
		e.c.fault(s, name, ErrMalformed, "want an array with at least one schema")
		return nil
	}
	if name == "allOf" {
		for _, part := range x.items {
			list = e.refine(list, part)
		}
		return list
	}
	if name == "oneOf" {
		e.c.checkDisjoint(s, x.items)
	}
	var either []*value
	for _, part := range x.items {
		either = append(either, e.refine(list, part)...)
	}
	return either
}

// decide refines by the keywords if, then and else of s.
func (e *expander) decide(alternatives []*value, s *value) []*value {
	yes, no, condition := s.get("then"), s.get("else"), s.get("if")
	if yes == nil && no == nil {
		return alternatives
	}
	var list []*value
	for _, a := range alternatives {
		holds := e.refine([]*value{a}, condition)
		if yes != nil {
			holds = e.refine(holds, yes)
		}
		list = append(list, holds...)
		opposites, ok := e.opposites(a, condition)
		if !ok {
			e.c.fault(s, "if", ErrUnsupported, "if is other than required, and properties with const or enum whose values the schema lists")
			return nil
		}
		for _, o := range opposites {
			fails := e.refine([]*value{a}, o)
			if no != nil {
				fails = e.refine(fails, no)
			}
			list = append(list, fails...)
		}
	}
	if len(list) > maxAlternatives {
		e.c.fault(s, "if", ErrTooLarge, "if makes more than %d alternatives", maxAlternatives)
		return nil
	}
	return list
}

// opposites returns schemas of which one holds where a holds and condition does
// not. It reports false if it does not know them.
func (e *expander) opposites(a, condition *value) ([]*value, bool) {
	var list []*value
	object := func(name string, schema *value, required bool) {
		members := []member{{"properties", &value{kind: "object", members: []member{{name, schema}}}}}
		if required {
			members = append(members, member{"required", &value{kind: "array", items: []*value{{kind: "string", text: name}}}})
		}
		list = append(list, e.synthetic(members))
	}
	isObject := len(e.c.kinds(a)) == 1 && e.c.kinds(a)[0] == "object"
	for _, m := range condition.members {
		switch {
		case m.name == "type" && m.value.text == "object" && isObject:
		case m.name == "properties" && isObject:
			for _, p := range m.value.members {
				values, ok := e.domain(p.value)
				all, known := e.domain(property(a, p.name))
				if !ok || !known {
					return nil, false
				}
				others := slices.DeleteFunc(slices.Clone(all), func(x *value) bool { return slices.ContainsFunc(values, x.equal) })
				if len(others) > 0 {
					object(p.name, e.synthetic([]member{{"enum", &value{kind: "array", items: others}}}), true)
				}
			}
		case m.name == "required" && isObject:
			for _, x := range m.value.items {
				object(x.text, &value{kind: "boolean", text: "false"}, false)
			}
		case slices.Contains(ignored, m.name):
		default:
			return nil, false
		}
	}
	return list, condition.kind == "object"
}

// domain returns the values of a schema that lists them.
func (e *expander) domain(v *value) ([]*value, bool) {
	if v == nil || v.kind != "object" {
		return nil, false
	}
	var all []*value
	for _, a := range e.c.expand(v).alternatives {
		list, ok := e.c.listed(a)
		if !ok && a.get("type") != nil && a.get("type").text == "boolean" {
			list, ok = []*value{{kind: "boolean", text: "false"}, {kind: "boolean", text: "true"}}, true
		}
		if !ok {
			return nil, false
		}
		all = append(all, list...)
	}
	return all, true
}

// both returns a with the assertions of s added, which it names. It reports
// false where they obviously contradict each other; other contradictions show
// in the values that are left.
func (e *expander) both(a, s *value, assertions []string) (*value, bool) {
	out := e.synthetic(slices.Clone(a.members))
	for _, name := range assertions {
		if name == "properties" || name == "required" || name == "additionalProperties" || name == "items" || name == "prefixItems" {
			continue
		}
		x, y := a.get(name), s.get(name)
		if x == nil {
			out.set(name, y)
			continue
		}
		z := e.stricter(s, name, x, y)
		if z == nil {
			return nil, false
		}
		out.set(name, z)
	}
	e.objects(out, a, s)
	e.arrays(out, a, s)
	if list, ok := e.c.listed(out); ok && len(list) == 0 {
		return nil, false
	}
	for _, name := range required(out) {
		if p := property(out, name); p != nil && p.kind == "boolean" && p.text == "false" {
			return nil, false
		}
	}
	return out, true
}

// stricter joins two values of an assertion, nil where nothing satisfies both.
func (e *expander) stricter(s *value, name string, x, y *value) *value {
	switch name {
	case "minLength", "minItems", "minimum", "exclusiveMinimum", "maxLength", "maxItems", "maximum", "exclusiveMaximum":
		m, okM := x.number()
		n, okN := y.number()
		if okM && okN && (m.Cmp(n) < 0) == (name[:3] == "max" || name == "exclusiveMaximum") {
			return x
		}
		return y
	case "enum":
		list := slices.DeleteFunc(slices.Clone(x.items), func(v *value) bool { return !slices.ContainsFunc(y.items, v.equal) })
		if len(list) == 0 {
			return nil
		}
		return &value{kind: "array", items: list}
	case "type":
		return commonTypes(x, y)
	}
	if x.equal(y) {
		return x
	}
	if name != "const" {
		e.c.fault(s, name, ErrUnsupported, "%s in two schemas that must both hold", name)
	}
	return nil
}

// commonTypes returns the types in both of two values of the keyword type.
func commonTypes(x, y *value) *value {
	names := func(v *value) []*value {
		if v.kind == "string" {
			return []*value{v}
		}
		return v.items
	}
	var list []*value
	for _, s := range names(x) {
		for _, t := range names(y) {
			switch {
			case s.text == t.text, s.text == "integer" && t.text == "number":
				list = append(list, s)
			case s.text == "number" && t.text == "integer":
				list = append(list, t)
			}
		}
	}
	if len(list) == 0 {
		return nil
	}
	return &value{kind: "array", items: list}
}

// objects puts what a and s say about members into out.
func (e *expander) objects(out, a, s *value) {
	if p := s.get("required"); p != nil {
		list := slices.Clone(p.items)
		if old := a.get("required"); old != nil {
			list = append(slices.Clone(old.items), list...)
		}
		out.set("required", &value{kind: p.kind, items: list})
	}
	closed := func(v *value) bool {
		x := v.get("additionalProperties")
		return x != nil && x.kind == "boolean" && x.text == "false"
	}
	if x := s.get("additionalProperties"); x != nil && !closed(a) {
		out.set("additionalProperties", x)
	}
	p, q := a.get("properties"), s.get("properties")
	if p == nil && q == nil {
		return
	}
	all := &value{kind: "object"}
	add := func(from, other, holder *value) {
		if from == nil {
			return
		}
		for _, m := range from.members {
			var y *value
			if other != nil {
				y = other.get(m.name)
			}
			switch {
			case all.get(m.name) != nil:
			case y != nil:
				all.members = append(all.members, member{m.name, e.allOf(m.value, y)})
			case !closed(holder):
				all.members = append(all.members, m)
			}
		}
	}
	add(p, q, s)
	add(q, p, a)
	out.set("properties", all)
}

// arrays puts what a and s say about items into out.
func (e *expander) arrays(out, a, s *value) {
	if s.get("items") == nil && s.get("prefixItems") == nil {
		return
	}
	if a.get("items") == nil && a.get("prefixItems") == nil {
		for _, name := range []string{"items", "prefixItems"} {
			if x := s.get(name); x != nil {
				out.set(name, x)
			}
		}
		return
	}
	at := func(v *value, i int) *value {
		if x := v.get("prefixItems"); x != nil && i < len(x.items) {
			return x.items[i]
		}
		return v.get("items")
	}
	joined := func(i int) *value {
		x, y := at(a, i), at(s, i)
		if x != nil && y != nil {
			return e.allOf(x, y)
		}
		if x == nil {
			return y
		}
		return x
	}
	n := 0
	for _, v := range []*value{a, s} {
		if x := v.get("prefixItems"); x != nil {
			n = max(n, len(x.items))
		}
	}
	if n > 0 {
		prefix := &value{kind: "array"}
		for i := range n {
			prefix.items = append(prefix.items, joined(i))
		}
		out.set("prefixItems", prefix)
	}
	if x := joined(n); x != nil {
		out.set("items", x)
	}
}

// allOf is the schema of the values of both.
func (e *expander) allOf(x, y *value) *value {
	v := e.synthetic([]member{{"allOf", &value{kind: "array", items: []*value{x, y}}}})
	e.c.pointers[v] = e.c.pointers[x]
	return v
}
