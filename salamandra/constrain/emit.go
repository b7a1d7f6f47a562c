package constrain

import (
	"cmp"
	"slices"
	"strings"
)

// maxNesting bounds how deep arrays and objects lie in one another where a schema
// leads back to itself.
const maxNesting = 24

// compiler turns conditions into nodes.
type compiler struct {
	b         *builder
	layout    layout
	constants map[string]*value
	used      map[string]bool // constants with a place
	accepted  map[string]bool // constants that their place allows
	memo      map[emitKey]emitted
	shared    map[emitKey]emitted // with no constant below
	around    map[*cond]int       // how often the present place lies within values of a condition
	deepest   int                 // the depth that what is being made reaches
	cut       bool                // whether it leaves out values that are nested too deep
	faults    []*Fault
	*document
}

// emitted is a node, and what it depends on its depth for: how many levels lie below,
// and whether some were left out.
type emitted struct {
	n      *node
	height int
	cut    bool
}

// anyDepth stands for the depth where it makes no difference.
const anyDepth = -1

type emitKey struct {
	cond  *cond
	depth int
	path  string // "" if no constant lies below
}

// node returns the values that meet a condition, whose first line is indented to
// depth. After a fault the result is any node.
func (c *compiler) node(x *cond, depth int, path string) *node {
	k := emitKey{x, depth, ""}
	for p := range c.constants {
		if path == "" || strings.HasPrefix(p, path+".") || strings.HasPrefix(p, path+"[") {
			k.path = path
		}
	}
	memo := c.memo
	if len(c.constants) == 0 || path != "" && k.path == "" {
		memo = c.shared
	}
	e, ok := memo[k]
	if !ok && c.layout.flat() {
		e, ok = memo[emitKey{x, anyDepth, k.path}]
		ok = ok && depth+e.height < maxNesting
	}
	if !ok {
		if c.b.late(nodeWork) {
			return c.b.empty
		}
		deepest, cut := c.deepest, c.cut
		c.deepest, c.cut = depth, false
		e = emitted{c.newNode(x, depth, path), c.deepest - depth, c.cut}
		c.deepest, c.cut = deepest, cut
		if memo[k] = e; !e.cut {
			memo[emitKey{x, anyDepth, k.path}] = e
		}
	}
	c.deepest, c.cut = max(c.deepest, depth+e.height), c.cut || e.cut
	return e.n
}

// newNode makes the node of a condition.
func (c *compiler) newNode(x *cond, depth int, path string) *node {
	s := c.setOf(x)
	var list []*node
	for _, scalar := range []struct {
		is   bool
		text string
	}{{s.null, "null"}, {s.no, "false"}, {s.yes, "true"}} {
		if scalar.is {
			list = append(list, c.b.literal(scalar.text))
		}
	}
	for _, n := range s.numbers {
		list = append(list, c.number(x, n))
	}
	for _, t := range s.strings {
		list = append(list, c.string(x, t))
	}
	if depth < maxNesting || depth < maxDepth && c.around[x] == 0 {
		c.around[x]++
		for _, a := range s.arrays {
			list = append(list, c.array(x, a, depth, path))
		}
		for _, o := range s.objects {
			list = append(list, c.object(x, o, depth, path))
		}
		c.around[x]--
	} else if len(s.arrays)+len(s.objects) > 0 {
		c.cut = true
	}
	return c.b.alt(list...)
}

// place is the schema that a fault of a condition is noted at.
func (c *compiler) place(x *cond) *value {
	if len(x.terms) == 0 {
		return c.root
	}
	return x.terms[0].schema
}

// string returns the strings of a set.
func (c *compiler) string(x *cond, s *stringSet) *node {
	if s.values != nil {
		var list []*node
		for _, text := range c.valuesOf(s) {
			list = append(list, c.b.literal(string(appendString(nil, text))))
		}
		return c.b.alt(list...)
	}
	r, err := c.b.stringRuleOf(s)
	if err != nil {
		c.stringFault(x, err)
		return c.b.empty
	}
	return c.b.pair(c.b.literal(`"`), r.node(c.b))
}

func (c *compiler) stringFault(x *cond, err error) {
	v, keyword := c.place(x), ""
	for _, t := range x.terms {
		for _, name := range []string{"format", "pattern"} {
			if t.schema.get(name) != nil {
				v, keyword = t.schema, name
			}
		}
	}
	c.document.patternFault(v, keyword, err)
}

// array returns the arrays of a set.
func (c *compiler) array(x *cond, a *arraySet, depth int, path string) *node {
	if len(a.contains) > 0 {
		return c.countedArray(x, a, depth, path)
	}
	if a.unique && a.hi > 1 {
		return c.uniqueArray(x, a, depth, path)
	}
	var prefix []*node
	for i := range a.prefix() {
		prefix = append(prefix, c.node(c.itemOf(a, i), depth+1, path+"[]"))
	}
	item := c.node(c.itemOf(a, a.prefix()), depth+1, path+"[]")
	r := newArrayRule(arrayRule{prefix: prefix, item: item, lo: a.lo, hi: a.hi}, c.layout, depth)
	return c.b.pair(c.b.literal("["), c.b.ruled(itemsFrom{r, 0}))
}

// uniqueArray returns the arrays whose items differ: those of a list of values, and
// those of which one item suffices and equal values have equal texts.
func (c *compiler) uniqueArray(x *cond, a *arraySet, depth int, path string) *node {
	items := c.setOf(c.itemOf(a, 0))
	open, comma, end, none := c.layout.lineBreak(depth+1), c.layout.comma(depth+1), c.layout.lineBreak(depth)+"]", c.layout.empty()+"]"
	if values, ok := c.choices(items); ok && a.prefix() == 0 {
		slices.SortStableFunc(values, func(v, w *node) int { return cmp.Compare(v.min, w.min) })
		r := &choiceRule{values: values, lo: a.lo, hi: a.hi, open: open, comma: comma, close: end, none: none}
		return c.b.pair(c.b.literal("["), c.b.ruled(choicesFrom{r, 0, 0}))
	}
	if a.prefix() > 0 || a.lo > 1 || !items.spelledOnce() {
		c.fault(c.place(x), "uniqueItems", uniqueForms)
		return c.b.empty
	}
	r := &uniqueRule{item: c.node(c.itemOf(a, 0), depth+1, path+"[]"), lo: a.lo, hi: a.hi, open: open, comma: comma, close: end, none: none}
	return c.b.pair(c.b.literal("["), c.b.ruled(uniqueFrom{r: r}))
}

// spelledOnce reports whether each value of a set is written in one way.
func (s *set) spelledOnce() bool {
	return len(s.arrays) == 0 && len(s.objects) == 0 && !slices.ContainsFunc(s.numbers, func(n *numberSet) bool {
		return n.values != nil || n.step == nil || !n.step.IsInt()
	})
}

// choices lists the values of a set, where they are few; equal numbers, however
// they are written, are one.
func (c *compiler) choices(s *set) ([]*node, bool) {
	var list []*node
	for _, scalar := range []struct {
		is   bool
		text string
	}{{s.null, "null"}, {s.no, "false"}, {s.yes, "true"}} {
		if scalar.is {
			list = append(list, c.b.literal(scalar.text))
		}
	}
	var numbers []*value
	for _, n := range s.numbers {
		if n.values == nil {
			return nil, false
		}
		for _, v := range n.values {
			if !slices.ContainsFunc(numbers, v.equal) {
				numbers = append(numbers, v)
				list = append(list, c.b.literal(v.text))
			}
		}
	}
	var words []string
	for _, t := range s.strings {
		if t.values == nil {
			return nil, false
		}
		words = append(words, c.valuesOf(t)...)
	}
	slices.Sort(words)
	for _, text := range slices.Compact(words) {
		list = append(list, c.b.literal(string(appendString(nil, text))))
	}
	return list, len(list) <= maxChoices && len(s.arrays) == 0 && len(s.objects) == 0
}

// countedArray returns the arrays in which a number of items meets a condition.
func (c *compiler) countedArray(x *cond, a *arraySet, depth int, path string) *node {
	if a.unique && a.hi > 1 || len(a.contains) > maxContains {
		c.fault(c.place(x), "contains", manyContains, maxContains)
		return c.b.empty
	}
	r := &countedRule{lo: a.lo, hi: a.hi, least: map[countedFrom]int{}, open: c.layout.lineBreak(depth + 1), comma: c.layout.comma(depth + 1), close: c.layout.lineBreak(depth) + "]", none: c.layout.empty() + "]"}
	last := a.prefix()
	for i := range r.max {
		r.max[i] = unbounded
	}
	for i, k := range a.contains {
		r.min[i], r.max[i] = k.min, k.max
		last = max(last, k.from)
	}
	for i := range last + 1 {
		r.kinds = append(r.kinds, c.itemKinds(a, i, depth, path))
	}
	return c.b.pair(c.b.literal("["), c.b.ruled(countedFrom{a: r}))
}

// itemKinds returns the kinds of item i, by which of the conditions of contains
// they are written for. Where there may only be so many, the others must not meet
// it.
func (c *compiler) itemKinds(a *arraySet, i, depth int, path string) []itemKind {
	var kinds []itemKind
	for mask := range 1 << len(a.contains) {
		item, k, possible := c.itemOf(a, i), itemKind{}, true
		for j, what := range a.contains {
			switch {
			case mask>>j&1 == 1:
				possible = possible && i >= what.from
				k.counts[j] = 1
				item = c.both(item, c.cond(what.item))
			case i >= what.from && what.max != unbounded:
				item = c.both(item, c.cond(what.item.opposite()))
			}
		}
		if k.item = c.b.fail; possible {
			k.item = c.node(item, depth+1, path+"[]")
		}
		if k.item.op != opFail {
			kinds = append(kinds, k)
		}
	}
	return kinds
}
