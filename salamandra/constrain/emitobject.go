package constrain

// maxSome bounds the kinds of member that are needed at once.
const maxSome = 4

// object returns the objects of a set.
func (c *compiler) object(x *cond, o *objectSet, depth int, path string) *node {
	if len(o.some) > maxSome {
		c.fault(c.place(x), "", manyMembers, maxSome)
		return c.b.empty
	}
	plan := c.planOf(x, o)
	r := objectRule{lo: o.lo, hi: o.hi, wanted: uint8(1)<<len(o.some) - 1}
	for _, p := range plan.members {
		m, can := c.member(p, depth, path)
		if !can && m.required {
			return c.b.fail
		}
		if can {
			r.members = append(r.members, m)
		}
	}
	r.extras = c.extras(plan, depth)
	if len(r.extras) > 0 && o.lo > len(r.members)+1 {
		c.fault(c.place(x), "minProperties", doubleNames, o.lo, len(r.members))
	}
	return c.b.pair(c.b.literal("{"), c.b.ruled(membersFrom{o: newObjectRule(r, c.layout, depth), may: allExtras}))
}

// member returns a member that is spoken of. It reports false where there cannot be
// one.
func (c *compiler) member(p plannedMember, depth int, path string) (m objectMember, can bool) {
	at := p.name
	if path != "" {
		at = path + "." + p.name
	}
	constant := c.constants[at]
	m = objectMember{key: p.key, required: p.required || constant != nil}
	for _, v := range p.values {
		n := c.node(v.value, depth+1, at)
		if constant != nil {
			n = c.constant(at, constant, n, depth+1)
		}
		if n.op != opFail {
			m.values = append(m.values, memberValue{n, v.meets})
		}
	}
	return m, len(m.values) > 0
}

// extras returns the members whose names are not spoken of, with their keys, by which
// of the kinds that are needed they are written for.
func (c *compiler) extras(plan *objectPlan, depth int) []extraMember {
	var list []extraMember
	var from []int // in the plan
	for i, p := range plan.extras {
		var members []*node
		for _, class := range p.classes {
			if n := c.node(class.value, depth+1, "\x00"); n.op != opFail {
				members = append(members, c.b.seq(c.b.literal(`"`), class.name, c.b.laid(c.layout.key), n))
			}
		}
		if n := c.b.alt(members...); n.op != opFail {
			list, from = append(list, extraMember{member: n, meets: p.meets}), append(from, i)
		}
	}
	for i := range list {
		for j := range list {
			if plan.extras[from[i]].after>>from[j]&1 == 1 {
				list[i].after |= 1 << j
			}
		}
	}
	return list
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
