package constrain

// countedRule is the inside of an array of whose items some are counted, with the
// bracket that closes it. Several kinds of item may come at a place: an item that
// is of two kinds at once is written as either.
type countedRule struct {
	kinds              [][]itemKind // of the first items, and of all after them
	lo, hi             int
	min, max           tally // of each thing counted
	open, comma, close string
	none               string // in place of items
	least              map[countedFrom]int
}

// maxContains bounds the things counted.
const maxContains = 3

type tally [maxContains]int

// itemKind is the items that count for some things.
type itemKind struct {
	item   *node
	counts tally // 1 for each thing it counts for
}

// countedFrom is a countedRule after n items.
type countedFrom struct {
	a     *countedRule
	n     int
	found tally
}

func (a *countedRule) at(n int) []itemKind { return a.kinds[min(n, len(a.kinds)-1)] }

// after is the place after one more item of a kind; ok is false where there may
// not be one.
func (f countedFrom) after(k itemKind) (next countedFrom, ok bool) {
	next = f
	next.n = f.n + 1
	if f.a.hi == unbounded {
		next.n = min(next.n, max(f.a.lo, len(f.a.kinds)-1, 1))
	}
	for i, one := range k.counts {
		if next.found[i] += one; f.a.max[i] == unbounded {
			next.found[i] = min(next.found[i], f.a.min[i])
		} else if next.found[i] > f.a.max[i] {
			return next, false
		}
	}
	return next, f.n < f.a.hi && k.item.op != opFail
}

func (f countedFrom) mayEnd() bool {
	for i, n := range f.found {
		if n < f.a.min[i] {
			return false
		}
	}
	return f.n >= f.a.lo
}

func (f countedFrom) end() string {
	if f.n == 0 {
		return f.a.none
	}
	return f.a.close
}

func (f countedFrom) before() string {
	if f.n == 0 {
		return f.a.open
	}
	return f.a.comma
}

func (f countedFrom) expand(b *builder) *node {
	var list []*node
	if f.mayEnd() {
		list = append(list, b.laid(f.end()))
	}
	for _, k := range f.a.at(f.n) {
		if next, ok := f.after(k); ok {
			list = append(list, b.seq(b.laid(f.before()), k.item, b.ruled(next)))
		}
	}
	return b.alt(list...)
}

// shortest looks at the items that bring the end nearer: those before lo, those at
// places of their own, and those that count.
func (f countedFrom) shortest() int {
	if f.mayEnd() {
		return width(f.end())
	}
	if known, ok := f.a.least[f]; ok {
		return known
	}
	f.a.least[f] = never
	least := never
	for _, k := range f.a.at(f.n) {
		if next, ok := f.after(k); ok && next != f {
			if n := plus(width(f.before()), plus(k.item.min, next.shortest())); n < least {
				least = n
			}
		}
	}
	f.a.least[f] = least
	return least
}

func (f countedFrom) isQuoted() bool { return false }

func (f countedFrom) parts() []*node {
	list := []*node{marks("]" + f.a.open + f.a.comma + f.a.close)}
	for _, kinds := range f.a.kinds {
		for _, k := range kinds {
			list = append(list, k.item)
		}
	}
	return list
}

// choiceRule is the inside of an array of listed values of which none comes twice,
// with the bracket that closes it.
type choiceRule struct {
	values             []*node
	lo, hi             int
	open, comma, close string
	none               string // in place of items
}

// maxChoices bounds the values.
const maxChoices = 64

// choicesFrom is a choiceRule after n items; bit i of used says that value i is
// among them.
type choicesFrom struct {
	a    *choiceRule
	n    int
	used uint64
}

func (f choicesFrom) before() string {
	if f.n == 0 {
		return f.a.open
	}
	return f.a.comma
}

func (f choicesFrom) end() string {
	if f.n == 0 {
		return f.a.none
	}
	return f.a.close
}

func (f choicesFrom) expand(b *builder) *node {
	var list []*node
	if f.n >= f.a.lo {
		list = append(list, b.laid(f.end()))
	}
	for i, v := range f.a.values {
		if f.used>>i&1 == 0 && f.n < f.a.hi {
			list = append(list, b.seq(b.laid(f.before()), v, b.ruled(choicesFrom{f.a, f.n + 1, f.used | 1<<i})))
		}
	}
	return b.alt(list...)
}

// shortest takes the shortest values that are left, which are the first: they are
// sorted by length.
func (f choicesFrom) shortest() int {
	if f.a.lo > min(f.a.hi, len(f.a.values)) {
		return never
	}
	least, n := 0, f.n
	for i, v := range f.a.values {
		if n >= f.a.lo {
			break
		}
		if f.used>>i&1 == 0 {
			least = plus(least, plus(width(choicesFrom{f.a, n, 0}.before()), v.min))
			n++
		}
	}
	return plus(least, width(choicesFrom{f.a, n, 0}.end()))
}

func (f choicesFrom) isQuoted() bool { return false }

func (f choicesFrom) parts() []*node {
	return append([]*node{marks("]" + f.a.open + f.a.comma + f.a.close)}, f.a.values...)
}
