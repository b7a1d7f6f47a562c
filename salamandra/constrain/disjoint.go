package constrain

import "slices"

// disjoint tells whether it is certain that no value is valid under both
// schemas: they differ in type, in the values of const or enum, or in those of
// a property that both require.
func (c *compiler) disjoint(s, t *value, depth int) bool {
	s, t = c.target(s), c.target(t)
	if s == nil || t == nil || depth > maxDepth {
		return false
	}
	for _, pair := range [][2]*value{{s, t}, {t, s}} {
		for _, name := range []string{"anyOf", "oneOf"} {
			if x := pair[0].get(name); x != nil {
				return len(x.items) > 0 && !slices.ContainsFunc(x.items, func(u *value) bool { return !c.disjoint(u, pair[1], depth+1) })
			}
		}
	}
	if !overlap(c.kinds(s), c.kinds(t)) {
		return true
	}
	x, okX := c.listed(s)
	y, okY := c.listed(t)
	if okX && okY {
		return !slices.ContainsFunc(x, func(v *value) bool { return slices.ContainsFunc(y, v.equal) })
	}
	if !slices.Equal(c.kinds(s), []string{"object"}) || !slices.Equal(c.kinds(t), []string{"object"}) {
		return false
	}
	for _, name := range required(s) {
		p, q := property(s, name), property(t, name)
		if slices.Contains(required(t), name) && p != nil && q != nil && c.disjoint(p, q, depth+1) {
			return true
		}
	}
	return false
}

// target follows $ref. It returns nil where that leads nowhere.
func (c *compiler) target(v *value) *value {
	for range maxDepth {
		ref := v.get("$ref")
		if ref == nil {
			return v
		}
		next, err := c.resolve(ref)
		if err != nil {
			return nil
		}
		v = next
	}
	return nil
}

// kinds returns the types of the values of a schema, integers as numbers.
func (c *compiler) kinds(v *value) []string {
	var list []string
	if values, ok := c.listed(v); ok {
		for _, x := range values {
			list = append(list, x.kind)
		}
	} else if t := v.get("type"); t == nil {
		list = []string{"null", "boolean", "number", "string", "array", "object"}
	} else {
		for _, x := range append([]*value{t}, t.items...) {
			switch {
			case x.kind != "string":
			case x.text == "integer":
				list = append(list, "number")
			default:
				list = append(list, x.text)
			}
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

func overlap(x, y []string) bool {
	return slices.ContainsFunc(x, func(s string) bool { return slices.Contains(y, s) })
}

func required(v *value) []string {
	var list []string
	if x := v.get("required"); x != nil {
		for _, name := range x.items {
			list = append(list, name.text)
		}
	}
	return list
}

func property(v *value, name string) *value {
	if x := v.get("properties"); x != nil {
		return x.get(name)
	}
	return nil
}
