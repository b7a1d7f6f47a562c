package constrain

import (
	"math"
	"math/bits"
	"slices"
)

// Mask is a set of token ids: bit id%64 of word id/64.
type Mask []uint64

// Has reports whether id is in the mask.
func (m Mask) Has(id int32) bool {
	return id >= 0 && int(id>>6) < len(m) && m[id>>6]>>(id&63)&1 != 0
}

// Len counts the ids in the mask.
func (m Mask) Len() int {
	n := 0
	for _, w := range m {
		n += bits.OnesCount64(w)
	}
	return n
}

// Apply puts minus infinity in the place of the logits of all tokens that are
// not in the mask. Logits may be longer than the vocabulary, as those of models
// with a padded embedding are.
func (m Mask) Apply(logits []float32) {
	low := float32(math.Inf(-1))
	for i := range logits {
		if !m.Has(int32(i)) {
			logits[i] = low
		}
	}
}

func (m Mask) add(id int32) { m[id>>6] |= 1 << (id & 63) }

// tokenSet is a set of tokens, as a mask if that is smaller.
type tokenSet struct {
	ids  []int32
	mask Mask
}

func (s tokenSet) bytes() int { return 4*len(s.ids) + 8*len(s.mask) }

func newTokenSet(ids []int32, words int) tokenSet {
	if len(ids) < 2*words {
		return tokenSet{ids: ids}
	}
	s := tokenSet{mask: make(Mask, words)}
	for _, id := range ids {
		s.mask.add(id)
	}
	return s
}

func (s tokenSet) addTo(m Mask) {
	for _, id := range s.ids {
		m.add(id)
	}
	for i, w := range s.mask {
		m[i] |= w
	}
}

// class is what all states inside alike strings share: the tokens that stay
// inside, by the state they lead to, and the places in the trie where the
// string is closed and the rest of the state decides.
type class struct {
	groups []classGroup
	all    Mask
	exits  []exit
}

// classGroup is tokens that lead to the same state, of which example is one.
type classGroup struct {
	tokens  tokenSet
	example []byte
}

// exit is nodes of the trie at which the string is closed, all from the same
// state; example is the bytes of one.
type exit struct {
	nodes   []int32
	example []byte
}

// table is the tokens allowed in one state.
type table struct {
	all    Mask // of the class, where all its tokens are allowed
	groups []group
	rest   int // groups from here on are not in all
	// longest is the most bytes that the shortest completion after an allowed
	// token has, a bound on its tokens.
	longest int
}

// group is tokens that lead to the state end.
type group struct {
	tokens tokenSet
	end    *node
}

// cache is what is known of a builder's states with one vocabulary.
type cache struct {
	b       *builder
	v       *Vocabulary
	classes map[*node]*class
	tables  map[*node]*table
	costs   map[*node]int
	bytes   int     // of classes and tables, about
	path    []byte  // of walk
	stack   []*node // of walk
}

func newCache(b *builder, v *Vocabulary) *cache {
	c := &cache{b: b, v: v, path: make([]byte, v.longest), stack: make([]*node, v.longest+1)}
	c.forget()
	return c
}

// maxCacheBytes is the most memory of the masks kept for a grammar. Those of
// IMPULSE's schema take a third of it with 256,000 tokens.
const maxCacheBytes = 64 << 20

// hold counts what is kept, and drops all that was kept before if it is too much.
func (c *cache) hold(bytes int) {
	if c.bytes+bytes > maxCacheBytes {
		c.classes, c.tables, c.bytes = map[*node]*class{}, map[*node]*table{}, 0
	}
	c.bytes += bytes
}

// forget drops what is known, as the builder forgets its nodes.
func (c *cache) forget() {
	c.bytes = 0
	c.classes, c.tables, c.costs = map[*node]*class{}, map[*node]*table{}, map[*node]int{}
}

// walk visits the nodes of the trie from i to end-1 whose bytes n allows, n
// being the state before node i. Visit gets the states before and after the
// node, and returns false to leave out what is below it. c.path holds the
// node's bytes.
func (c *cache) walk(n *node, i, end int32, visit func(i int32, before, after *node) bool) {
	v := c.v
	if i >= end {
		return
	}
	c.stack[v.depth[i]-1] = n
	for i < end && !c.b.spent() {
		c.b.work++
		d := v.depth[i]
		before := c.stack[d-1]
		after := c.b.stepsOf(before).after(v.letter[i])
		if after != nil {
			c.path[d-1] = v.letter[i]
			if visit(i, before, after) {
				c.stack[d] = after
				i++
				continue
			}
		}
		i = v.after[i]
	}
}

// split cuts a state inside a string, or just before one, into the string and
// what follows it. It reports false for other states.
func (c *cache) split(n *node) (inside, rest *node, ok bool) {
	if n.quoted {
		return n, c.b.empty, true
	}
	if n.op != opSeq {
		return nil, nil, false
	}
	if n.a.quoted {
		return n.a, n.b, true
	}
	if n.b.op == opSeq && n.b.a.quoted {
		return c.b.pair(n.a, n.b.a), n.b.b, true
	}
	return nil, nil, false
}

// classOf returns the class of the inside of a string. Strings without a
// pattern share theirs whatever their length limits: it tells apart tokens of
// different numbers of characters, so that each of its groups is allowed as a
// whole or not at all.
func (c *cache) classOf(inside *node) *class {
	last := inside
	if inside.op == opSeq {
		last = inside.b
	}
	if f, ok := last.rule.(stringFrom); ok && f.s.dfa == nil {
		if last = c.b.counting(); inside.op == opSeq {
			last = c.b.pair(inside.a, last)
		}
		inside = last
	}
	if known := c.classes[inside]; known != nil {
		return known
	}
	type found struct {
		ids     []int32
		example []byte
	}
	groups, exits := map[*node]*found{}, map[*node]*found{}
	var groupOrder, exitOrder []*node
	note := func(m map[*node]*found, order *[]*node, n *node, example []byte, ids ...int32) {
		if len(ids) == 0 {
			return
		}
		if m[n] == nil {
			m[n] = &found{example: slices.Clone(example)}
			*order = append(*order, n)
		}
		m[n].ids = append(m[n].ids, ids...)
	}
	c.walk(inside, 0, int32(len(c.v.letter)), func(i int32, before, after *node) bool {
		path := c.path[:c.v.depth[i]]
		if after.op == opEmpty {
			note(exits, &exitOrder, before, path, i)
			return false
		}
		note(groups, &groupOrder, after, path, c.v.endingAt(i)...)
		return true
	})
	k := &class{all: make(Mask, c.v.words())}
	for _, n := range groupOrder {
		g := classGroup{newTokenSet(groups[n].ids, c.v.words()), groups[n].example}
		g.tokens.addTo(k.all)
		k.groups = append(k.groups, g)
	}
	for _, n := range exitOrder {
		k.exits = append(k.exits, exit{exits[n].ids, exits[n].example})
	}
	if !c.b.spent() {
		size := 8 * len(k.all)
		for _, g := range k.groups {
			size += g.tokens.bytes() + len(g.example)
		}
		for _, x := range k.exits {
			size += 4*len(x.nodes) + len(x.example)
		}
		c.hold(size + 64*(len(k.groups)+len(k.exits)))
		c.classes[inside] = k
	}
	return k
}

// tableOf returns the tokens allowed in the state n.
func (c *cache) tableOf(n *node) *table {
	if t := c.tables[n]; t != nil {
		return t
	}
	t := &table{}
	ids := map[*node][]int32{}
	var order []*node
	note := func(i int32, end *node) {
		if list := c.v.endingAt(i); len(list) > 0 {
			if ids[end] == nil {
				order = append(order, end)
			}
			ids[end] = append(ids[end], list...)
		}
	}
	below := func(i int32, _, after *node) bool {
		note(i, after)
		return after.op != opEmpty
	}
	if inside, rest, ok := c.split(n); ok {
		k := c.classOf(inside)
		for _, g := range k.groups {
			if end := c.b.run(n, g.example); end != nil {
				t.groups = append(t.groups, group{g.tokens, end})
			}
		}
		if len(t.groups) == len(k.groups) {
			t.all, t.rest = k.all, len(t.groups)
		}
		for _, x := range k.exits {
			if c.b.run(n, x.example) == nil {
				continue // the string is too short or too long here
			}
			for _, i := range x.nodes {
				note(i, rest)
				if rest.op != opEmpty {
					c.walk(rest, i+1, c.v.after[i], below)
				}
			}
		}
	} else {
		c.walk(n, 0, int32(len(c.v.letter)), below)
	}
	size := 64 * (len(t.groups) + len(order)) // the sets of these are the class's
	for _, end := range order {
		g := group{newTokenSet(ids[end], c.v.words()), end}
		t.groups, size = append(t.groups, g), size+g.tokens.bytes()
	}
	for _, g := range t.groups {
		t.longest = max(t.longest, g.end.min)
	}
	if !c.b.spent() {
		c.hold(size)
		c.tables[n] = t
	}
	return t
}

// fill sets m to the tokens allowed in state n after which at most budget-1
// tokens are needed.
func (c *cache) fill(m Mask, n *node, budget int) {
	t := c.tableOf(n)
	groups, all := t.groups, t.longest < budget
	if all && t.all != nil {
		copy(m, t.all)
		groups = groups[t.rest:]
	} else {
		clear(m)
	}
	for _, g := range groups {
		if all || c.fits(g.end, budget-1) {
			g.tokens.addTo(m)
		}
	}
	if n.min == 0 {
		for _, id := range c.v.end {
			m.add(id)
		}
	}
}

// fits tells whether the cost of n is at most budget.
func (c *cache) fits(n *node, budget int) bool {
	return n.min <= budget || n.min <= budget*c.v.longest && c.cost(n) <= budget
}

// cost returns the least number of tokens that spell the shortest completion of
// n, the one that shortestStep leads to. For every cost above 0 there is a
// token after which the cost is one less.
func (c *cache) cost(n *node) int {
	if known, ok := c.costs[n]; ok {
		return known
	}
	// The states on the way, up to where all tokens from unknown ones end.
	var states []*node
	var costs []int
	var text []byte
	unknown := 0
	for at := n; ; {
		known, ok := c.costs[at]
		if !ok {
			known = at.min // a byte, a token
			unknown = len(states) + 1
		}
		states, costs = append(states, at), append(costs, known)
		if at.min == 0 || len(states) > unknown+c.v.longest {
			break
		}
		if c.b.spent() {
			return n.min
		}
		letter, next := c.b.shortestStep(at)
		text, at = append(text, letter), next
	}
	for i := unknown - 1; i >= 0; i-- {
		for place, k := int32(-1), i; k < len(text); k++ {
			c.b.work++
			if place = c.v.child(place, text[k]); place < 0 {
				break
			}
			if len(c.v.endingAt(place)) > 0 {
				costs[i] = min(costs[i], 1+costs[k+1])
			}
		}
		c.costs[states[i]] = costs[i]
	}
	return costs[0]
}
