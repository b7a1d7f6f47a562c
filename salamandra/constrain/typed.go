package constrain

import (
	"errors"
	"math/big"
	"strconv"
	"strings"
)

// typed returns the values of the types that the keywords of v allow.
func (c *compiler) typed(v *value, types []string, depth int, path string) *node {
	var list []*node
	for _, t := range types {
		switch t {
		case "null":
			list = append(list, c.b.literal("null"))
		case "boolean":
			list = append(list, c.b.literal("false"), c.b.literal("true"))
		case "integer", "number":
			list = append(list, c.number(v, t == "integer"))
		case "string":
			list = append(list, c.string(v))
		case "array":
			list = append(list, c.array(v, depth, path))
		case "object":
			list = append(list, c.object(v, depth, path))
		}
	}
	return c.b.alt(list...)
}

// bound reads a keyword that is a count.
func (c *compiler) bound(v *value, keyword string, without int) int {
	x := v.get(keyword)
	if x == nil {
		return without
	}
	n, ok := x.number()
	if !ok || !n.IsInt() || n.Sign() < 0 {
		c.fault(v, keyword, ErrMalformed, "%s: want an integer of 0 or more", keyword)
		return without
	}
	if n.Cmp(big.NewRat(unbounded-2, 1)) > 0 {
		n.SetInt64(unbounded - 2)
	}
	limit := unbounded
	if strings.HasPrefix(keyword, "min") {
		limit = c.maxStates
	}
	if c.maxCount > 0 {
		limit = min(limit, c.maxCount)
	}
	if m := int(n.Num().Int64()); m <= limit {
		return m
	}
	c.fault(v, keyword, ErrTooLarge, "%s above %d", keyword, limit)
	return without
}

// number returns the numbers that v allows.
func (c *compiler) number(v *value, integer bool) *node {
	var lo, hi limit
	for _, k := range []struct {
		keyword string
		limit   *limit
		open    bool
		sign    int
	}{{"minimum", &lo, false, 1}, {"exclusiveMinimum", &lo, true, 1}, {"maximum", &hi, false, -1}, {"exclusiveMaximum", &hi, true, -1}} {
		x := v.get(k.keyword)
		if x == nil {
			continue
		}
		n, ok := x.number()
		if !ok {
			c.fault(v, k.keyword, ErrUnsupported, "%s: want a number of at most 100 digits and with an exponent of at most 100", k.keyword)
			continue
		}
		// The stricter limit holds, of equal ones the open one, which comes second.
		if k.limit.v == nil || n.Cmp(k.limit.v)*k.sign > 0 || k.open && n.Cmp(k.limit.v) == 0 {
			*k.limit = limit{n, k.open}
		}
	}
	if !integer {
		n, err := c.b.numbers(lo, hi)
		if err != nil {
			c.fault(v, "", ErrUnsupported, "minimum or maximum with more than %d digits after the point", fractionDigits)
			return c.b.empty
		}
		return n
	}
	return c.b.integers(wholeAbove(lo), wholeBelow(hi))
}

// wholeAbove returns the least integer that l, a lower limit, allows.
func wholeAbove(l limit) *big.Int {
	if l.v == nil {
		return nil
	}
	n := wholeBelow(limit{new(big.Rat).Neg(l.v), l.open})
	return n.Neg(n)
}

// wholeBelow returns the greatest integer that l, an upper limit, allows.
func wholeBelow(l limit) *big.Int {
	if l.v == nil {
		return nil
	}
	n := new(big.Int).Div(l.v.Num(), l.v.Denom()) // rounds down
	if l.open && l.v.IsInt() {
		n.Sub(n, big.NewInt(1))
	}
	return n
}

// string returns the strings that v allows.
func (c *compiler) string(v *value) *node {
	k := stringKey{lo: c.bound(v, "minLength", 0), hi: c.bound(v, "maxLength", unbounded)}
	keyword := "pattern"
	if x := v.get("pattern"); x != nil {
		if x.kind != "string" {
			c.fault(v, "pattern", ErrMalformed, "want a string")
		}
		k.pattern = x.text
	}
	if x := v.get("format"); x != nil {
		keyword = "format"
		switch {
		case x.text != "date":
			c.fault(v, "format", ErrUnsupported, "format %q, want date", x.text)
		case k.pattern != "":
			c.fault(v, "format", ErrUnsupported, "format beside pattern")
		}
		k.pattern = datePattern
	}
	s, err := c.b.stringRuleOf(k)
	if err != nil {
		cause := ErrUnsupported
		if errors.Is(err, ErrTooLarge) {
			cause = ErrTooLarge
		}
		c.fault(v, keyword, cause, "%s: %v", keyword, err)
		return c.b.empty
	}
	return c.b.pair(c.b.literal(`"`), s.node(c.b))
}

// datePattern is RFC 3339's full-date, the 29th of February in leap years only.
const datePattern = `^([0-9]{4}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))` +
	`|([0-9]{2}(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)-02-29)$`

// array returns the arrays that v allows.
func (c *compiler) array(v *value, depth int, path string) *node {
	var prefix []*node
	if x := v.get("prefixItems"); x != nil {
		if x.kind != "array" || len(x.items) == 0 {
			c.fault(v, "prefixItems", ErrMalformed, "want an array with at least one schema")
		}
		for _, s := range x.items {
			prefix = append(prefix, c.schema(s, depth+1, path+"[]"))
		}
	}
	lo, hi := c.bound(v, "minItems", 0), c.bound(v, "maxItems", unbounded)
	item := c.b.fail
	if x := v.get("items"); x != nil {
		item = c.schema(x, depth+1, path+"[]")
	} else if prefix == nil && hi > 0 {
		c.fault(v, "", ErrUnsupported, "no items: an array of any values is allowed")
	}
	a := newArrayRule(prefix, item, lo, hi, c.layout, depth)
	return c.b.pair(c.b.literal("["), c.b.ruled(itemsFrom{a, 0}))
}

// object returns the objects that v allows.
func (c *compiler) object(v *value, depth int, path string) *node {
	properties, closed := v.get("properties"), v.get("additionalProperties")
	if closed != nil && closed.kind != "boolean" {
		c.fault(v, "additionalProperties", ErrUnsupported, "additionalProperties with a schema")
	}
	if properties == nil {
		properties = &value{kind: "object"}
		if closed == nil || closed.text != "false" {
			c.fault(v, "", ErrUnsupported, "no properties: an object with any members is allowed")
		}
	}
	if properties.kind != "object" {
		c.fault(v, "properties", ErrMalformed, "want an object")
	}
	required := map[string]bool{}
	if x := v.get("required"); x != nil {
		for i, name := range x.items {
			if properties.get(name.text) == nil {
				c.fault(v, "required/"+strconv.Itoa(i), ErrUnsupported, "required property %q, which properties does not list", name.text)
			}
			required[name.text] = true
		}
	}
	var members []objectMember
	for _, m := range properties.members {
		at := m.name
		if path != "" {
			at = path + "." + m.name
		}
		n := c.schema(m.value, depth+1, at)
		if x := c.constants[at]; x != nil {
			n = c.constant(at, x, n, depth+1)
			required[m.name] = true
		}
		members = append(members, objectMember{string(appendString(nil, m.name)) + ": ", n, required[m.name]})
	}
	o := newObjectRule(members, c.layout, depth)
	return c.b.pair(c.b.literal("{"), c.b.ruled(membersFrom{o, 0, 0}))
}

// constant returns the text of a constant, which must be among the values of n.
func (c *compiler) constant(path string, x *value, n *node, depth int) *node {
	c.used[path] = true
	text := c.layout.append(nil, x, depth)
	if end := c.b.run(n, text); end == nil || end.min != 0 {
		c.refused = true
		return c.b.fail // perhaps allowed in another alternative
	}
	c.accepted[path] = true
	return c.b.literal(string(text))
}
