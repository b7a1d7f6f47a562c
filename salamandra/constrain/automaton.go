package constrain

import (
	"encoding/binary"
	"slices"
	"sync"
	"time"
)

// op is the kind of a node.
type op uint8

const (
	opFail  op = iota // no string at all
	opEmpty           // the empty string
	opText            // one string
	opByte            // one byte of a range
	opSeq             // a string of a, then one of b
	opAlt             // a string of any of alts
	opRule            // what a rule expands to
)

// node is a set of byte strings, written as a regular expression. It is also a
// state of the automaton, the one in which exactly these strings complete the
// answer: its transitions are its derivatives, made when first asked for.
// Nodes built alike are the same node. Source of the construction: Brzozowski
// 1964, "Derivatives of Regular Expressions", section 3.
type node struct {
	op     op
	lo, hi byte
	quoted bool   // every string ends with the quote that closes a JSON string, its first such quote
	seen   uint32 // by which of [needs]
	id     int64
	min    int // length of the shortest string; never for opFail
	text   string
	a, b   *node
	alts   []*node // sorted by id
	rule   rule

	body *node  // what rule expands to, once asked for
	next *steps // the transitions, once asked for
}

// never is the length of the shortest string of a set that has none.
const never = 1 << 40

// plus adds lengths; what is finite stays so.
func plus(a, b int) int {
	if a == never || b == never {
		return never
	}
	return min(a+b, never-1)
}

// rule is a set of strings that is expanded only where an answer leads there.
// Rules are comparable, none contains the empty string.
type rule interface {
	expand(b *builder) *node
	shortest() int  // the length of the shortest string
	parts() []*node // every node that this rule and those it leads to are made of
	isQuoted() bool // see node.quoted
}

// steps are the transitions of a node: next[index[c]] after byte c, nil for none.
type steps struct {
	index [256]uint8
	next  []*node
}

func (s *steps) after(c byte) *node { return s.next[s.index[c]] }

// builder makes nodes and keeps them, up to limit of them; then it forgets all
// and begins again. Nodes in use live on, their likes are made anew.
type builder struct {
	mu          sync.Mutex // of everything reached from here, while answers are decoded
	limit       int
	held        int       // nodes kept, large ones counted several times
	work        int       // steps done so far
	most        int       // steps after which what is begun is given up; 0 for no limit
	deadline    time.Time // of compiling; zero for none
	nodes       int       // how many are kept, by how they are built:
	texts       map[string]*node
	ranges      map[[2]byte]*node
	pairs       map[[2]int64]*node // by the ids of both
	choices     map[string]*node   // by their ids
	rules       map[rule]*node
	ids         []byte // to work with
	lastID      int64
	round       uint32 // of [builder.needs]
	fail, empty *node
	strings     map[string]*stringRule // by [stringSet.ruleName]
	patterns    map[string]*automaton
	anyString   *stringRule
	counting    *stringRule            // strings of any length, see [stringFrom.counted]
	anyChar     *node                  // every character of a JSON string in canonical form
	exceptions  map[string]*exceptRule // by their words
	blank       int                    // the most white space at a gap
	blanks      *node                  // which is that, once asked for
	charNodes   map[string]*node       // by their ranges
	caches      map[*Vocabulary]*cache
	stepped     []*node // with transitions or a body
}

func newBuilder(limit int) *builder {
	b := &builder{
		limit: limit,
		texts: map[string]*node{}, ranges: map[[2]byte]*node{}, pairs: map[[2]int64]*node{}, choices: map[string]*node{}, rules: map[rule]*node{},
		fail:    &node{op: opFail, id: 1, min: never},
		empty:   &node{op: opEmpty, id: 2},
		lastID:  2,
		strings: map[string]*stringRule{}, patterns: map[string]*automaton{},
		exceptions: map[string]*exceptRule{}, charNodes: map[string]*node{},
		caches: map[*Vocabulary]*cache{},
	}
	b.anyChar = b.chars([]runeRange{{0, 0x10FFFF}})
	b.anyString = &stringRule{hi: unbounded, anyChar: b.anyChar}
	b.counting = &stringRule{hi: unbounded - 1, anyChar: b.anyChar}
	return b
}

// leastWork is what compiling may take however long it lasts: on a busy machine
// the time is not the schema's. It is a millisecond or two.
const leastWork = 100_000

// late counts work, and reports whether compiling has taken too long. What is made
// then is never used.
func (b *builder) late(work int) bool {
	b.work += work
	return !b.deadline.IsZero() && b.work > leastWork && time.Now().After(b.deadline)
}

// spent reports whether an answer has taken too much work. What is found then is
// incomplete and not kept.
func (b *builder) spent() bool { return b.most > 0 && b.work > b.most }

// nodeWork is what making a node costs beside a step of [cache.walk].
const nodeWork = 16

// node makes a node, which counts as more than one if it is large.
func (b *builder) node(n node, bytes int) *node {
	if b.held >= b.limit {
		b.forget()
	}
	b.held += 1 + bytes/64
	b.nodes++
	b.work += nodeWork
	b.lastID++
	n.id = b.lastID
	return &n
}

// forget drops all that is kept to be found again. Nodes in use lose what they
// lead to, or everything ever made would hang on the first.
func (b *builder) forget() {
	clear(b.texts)
	clear(b.ranges)
	clear(b.pairs)
	clear(b.choices)
	clear(b.rules)
	b.held, b.nodes = 0, 0
	for _, n := range b.stepped {
		n.body, n.next = nil, nil
	}
	b.stepped = b.stepped[:0]
	for _, r := range b.exceptions {
		clear(r.known)
	}
	clear(b.exceptions)
	clear(b.charNodes)
	b.blanks = nil
	for _, c := range b.caches {
		c.forget()
	}
}

func (b *builder) literal(text string) *node {
	if text == "" {
		return b.empty
	}
	n := b.texts[text]
	if n == nil {
		n = b.node(node{op: opText, text: text, min: len(text)}, 2*len(text))
		b.texts[text] = n
	}
	return n
}

func (b *builder) byteIn(lo, hi byte) *node {
	n := b.ranges[[2]byte{lo, hi}]
	if n == nil {
		n = b.node(node{op: opByte, lo: lo, hi: hi, min: 1}, 0)
		b.ranges[[2]byte{lo, hi}] = n
	}
	return n
}

func (b *builder) ruled(r rule) *node {
	n := b.rules[r]
	if n == nil {
		shortest := r.shortest()
		if shortest == never {
			return b.fail
		}
		n = b.node(node{op: opRule, rule: r, min: shortest, quoted: r.isQuoted()}, 0)
		b.rules[r] = n
	}
	return n
}

// seq joins its arguments, to the right: a, then (b, then c).
func (b *builder) seq(list ...*node) *node {
	n := list[len(list)-1]
	for _, first := range slices.Backward(list[:len(list)-1]) {
		n = b.pair(first, n)
	}
	return n
}

func (b *builder) pair(x, y *node) *node {
	switch {
	case x.op == opFail || y.op == opFail:
		return b.fail
	case x.op == opEmpty:
		return y
	case y.op == opEmpty:
		return x
	case x.op == opSeq:
		return b.pair(x.a, b.pair(x.b, y))
	}
	n := b.pairs[[2]int64{x.id, y.id}]
	if n == nil {
		n = b.node(node{op: opSeq, a: x, b: y, min: plus(x.min, y.min), quoted: y.quoted}, 0)
		b.pairs[[2]int64{x.id, y.id}] = n
	}
	return n
}

func (b *builder) alt(list ...*node) *node {
	b.work += len(list)
	var few [8]*node
	alts := few[:0]
	for _, n := range list {
		switch n.op {
		case opFail:
		case opAlt:
			alts = append(alts, n.alts...)
		default:
			alts = append(alts, n)
		}
	}
	slices.SortFunc(alts, func(x, y *node) int { return int(x.id - y.id) })
	alts = b.factored(slices.Compact(alts))
	switch len(alts) {
	case 0:
		return b.fail
	case 1:
		return alts[0]
	}
	b.ids = b.ids[:0]
	for _, x := range alts {
		b.ids = binary.LittleEndian.AppendUint64(b.ids, uint64(x.id))
	}
	if n := b.choices[string(b.ids)]; n != nil {
		return n
	}
	n := node{op: opAlt, alts: slices.Clone(alts), min: never, quoted: true}
	for _, x := range alts {
		n.min, n.quoted = min(n.min, x.min), n.quoted && x.quoted
	}
	made := b.node(n, len(b.ids))
	b.choices[string(b.ids)] = made
	return made
}

// factored joins alternatives that begin with the same string: x y | x z is
// x (y | z), which is one state inside the string.
func (b *builder) factored(alts []*node) []*node {
	for i, x := range alts {
		if x.op != opSeq || !x.a.quoted {
			continue
		}
		for _, y := range alts[i+1:] {
			if y.op == opSeq && y.a == x.a {
				return b.factorOut(alts, x.a)
			}
		}
	}
	return alts
}

func (b *builder) factorOut(alts []*node, first *node) []*node {
	var rests, others []*node
	for _, x := range alts {
		if x.op == opSeq && x.a == first {
			rests = append(rests, x.b)
		} else {
			others = append(others, x)
		}
	}
	others = append(others, b.pair(first, b.alt(rests...)))
	slices.SortFunc(others, func(x, y *node) int { return int(x.id - y.id) })
	return b.factored(others)
}
