package constrain

// objectRule is the inside of a JSON object, with the brace that closes it.
type objectRule struct {
	members []objectMember
	open    string // before the first member
	comma   string // between members
	close   string // after the last member
	// least[s][i] is the length of the shortest rest before member i, where s
	// is 1 if a member was written.
	least [2][]int
}

type objectMember struct {
	key      string // with colon and space
	value    *node
	required bool
}

func newObjectRule(members []objectMember, l layout, depth int) *objectRule {
	o := &objectRule{members: members, open: l.lineBreak(depth + 1), comma: l.comma(depth + 1), close: l.lineBreak(depth) + "}"}
	for s := range o.least {
		o.least[s] = make([]int, len(members)+1)
		o.least[s][len(members)] = len(o.end(s))
	}
	for i := len(members) - 1; i >= 0; i-- {
		m := members[i]
		for s := range o.least {
			n := plus(len(o.before(s)+m.key), plus(m.value.min, o.least[1][i+1]))
			if !m.required {
				n = min(n, o.least[s][i+1])
			}
			o.least[s][i] = n
		}
	}
	return o
}

func (o *objectRule) before(some int) string {
	if some == 0 {
		return o.open
	}
	return o.comma
}

func (o *objectRule) end(some int) string {
	if some == 0 {
		return "}"
	}
	return o.close
}

// membersFrom is an objectRule before member i; some is 1 if a member was written.
type membersFrom struct {
	o       *objectRule
	i, some int
}

func (f membersFrom) expand(b *builder) *node {
	var list []*node
	for i := f.i; i < len(f.o.members); i++ {
		m := f.o.members[i]
		list = append(list, b.seq(b.literal(f.o.before(f.some)+m.key), m.value, b.ruled(membersFrom{f.o, i + 1, 1})))
		if m.required {
			return b.alt(list...)
		}
	}
	return b.alt(append(list, b.literal(f.o.end(f.some)))...)
}

func (f membersFrom) shortest() int  { return f.o.least[f.some][f.i] }
func (f membersFrom) isQuoted() bool { return false }

func (f membersFrom) parts() []*node {
	list := []*node{{op: opText, text: "}" + f.o.open + f.o.comma + f.o.close}}
	for _, m := range f.o.members {
		list = append(list, &node{op: opText, text: m.key}, m.value)
	}
	return list
}

// arrayRule is the inside of a JSON array, with the bracket that closes it.
type arrayRule struct {
	prefix             []*node // the first items
	item               *node   // those after; opFail for none
	lo, hi             int     // number of items
	open, comma, close string
	least              []int // length of the shortest rest after n items, n up to lo
}

func newArrayRule(prefix []*node, item *node, lo, hi int, l layout, depth int) *arrayRule {
	if item.op == opFail {
		hi = min(hi, len(prefix))
	}
	a := &arrayRule{prefix: prefix, item: item, lo: lo, hi: hi, open: l.lineBreak(depth + 1), comma: l.comma(depth + 1), close: l.lineBreak(depth) + "]"}
	a.least = make([]int, lo+1)
	a.least[lo] = len(a.end(lo))
	for n := lo - 1; n >= 0; n-- {
		a.least[n] = plus(len(a.before(n)), plus(a.at(n).min, a.least[n+1]))
	}
	if lo > hi {
		a.least[0] = never
	}
	return a
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
		return "]"
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
		list = append(list, b.literal(f.a.end(f.n)))
	}
	if f.n < f.a.hi {
		next := f.n + 1
		if f.a.hi == unbounded {
			next = min(next, max(f.a.lo, len(f.a.prefix), 1))
		}
		list = append(list, b.seq(b.literal(f.a.before(f.n)), f.a.at(f.n), b.ruled(itemsFrom{f.a, next})))
	}
	return b.alt(list...)
}

func (f itemsFrom) shortest() int {
	if f.n >= f.a.lo && f.a.least[0] != never {
		return len(f.a.end(f.n))
	}
	return f.a.least[min(f.n, f.a.lo)]
}

func (f itemsFrom) isQuoted() bool { return false }

func (f itemsFrom) parts() []*node {
	list := append([]*node{{op: opText, text: "]" + f.a.open + f.a.comma + f.a.close}, f.a.item}, f.a.prefix...)
	return list
}
