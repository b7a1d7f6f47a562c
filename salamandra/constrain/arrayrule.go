package constrain

import "slices"

// arrayRule is the inside of a JSON array, with the bracket that closes it.
type arrayRule struct {
	prefix             []*node // the first items
	item               *node   // those after; opFail for none
	lo, hi             int     // number of items
	open, comma, close string
	none               string // in place of items
	least              []int  // length of the shortest rest after n items, n up to lo
}

// newArrayRule completes a, whose items and limits are set.
func newArrayRule(a arrayRule, l layout, depth int) *arrayRule {
	a.open, a.comma, a.close, a.none = l.lineBreak(depth+1), l.comma(depth+1), l.lineBreak(depth)+"]", l.empty()+"]"
	if a.item.op == opFail {
		a.hi = min(a.hi, len(a.prefix))
	}
	if i := slices.IndexFunc(a.prefix, func(n *node) bool { return n.op == opFail }); i >= 0 {
		a.hi = min(a.hi, i)
	}
	if a.lo > a.hi {
		a.least = []int{never}
		return &a
	}
	a.least = make([]int, a.lo+1)
	a.least[a.lo] = width(a.end(a.lo))
	for n := a.lo - 1; n >= 0; n-- {
		a.least[n] = plus(width(a.before(n)), plus(a.at(n).min, a.least[n+1]))
	}
	return &a
}

func (a *arrayRule) at(n int) *node {
	if n < len(a.prefix) {
		return a.prefix[n]
	}
	return a.item
}

func (a *arrayRule) before(n int) string {
	if n == 0 {
		return a.open
	}
	return a.comma
}

func (a *arrayRule) end(n int) string {
	if n == 0 {
		return a.none
	}
	return a.close
}

// itemsFrom is an arrayRule after n items. Without a limit n stays where
// nothing changes any more.
type itemsFrom struct {
	a *arrayRule
	n int
}

func (f itemsFrom) expand(b *builder) *node {
	var list []*node
	if f.n >= f.a.lo {
		list = append(list, b.laid(f.a.end(f.n)))
	}
	if f.n < f.a.hi {
		next := f.n + 1
		if f.a.hi == unbounded {
			next = min(next, max(f.a.lo, len(f.a.prefix), 1))
		}
		list = append(list, b.seq(b.laid(f.a.before(f.n)), f.a.at(f.n), b.ruled(itemsFrom{f.a, next})))
	}
	return b.alt(list...)
}

func (f itemsFrom) shortest() int {
	if f.a.lo > f.a.hi {
		return never
	}
	if f.n >= f.a.lo {
		return width(f.a.end(f.n))
	}
	return f.a.least[f.n]
}

func (f itemsFrom) isQuoted() bool { return false }

func (f itemsFrom) parts() []*node {
	list := append([]*node{marks("]" + f.a.open + f.a.comma + f.a.close), f.a.item}, f.a.prefix...)
	return list
}
