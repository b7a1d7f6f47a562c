package constrain

import "slices"

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
		after := c.b.after(before, v.letter[i])
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

// classOf returns the class of the inside of a string. Strings share theirs
// whatever their length limits: it tells apart tokens of different numbers of
// characters, so that each of its groups is allowed as a whole or not at all.
func (c *cache) classOf(inside *node) *class {
	last := inside
	if inside.op == opSeq {
		last = inside.b
	}
	if f, ok := last.rule.(stringFrom); ok {
		if last = f.counted(c.b); inside.op == opSeq {
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
	size := 0
	inside, rest, inString := c.split(n)
	base, ids, like := (*node)(nil), []int32(nil), false
	if _, item := n.first().rule.(itemOnce); item || !inString {
		base, ids, like = c.peel(n)
	}
	switch {
	case like && len(ids) == 0:
		return c.tableOf(base)
	case like:
		size = c.patchedTable(t, n, base, ids)
	case inString:
		size = c.stringTable(t, n, inside, rest)
	default:
		f := c.newFinder()
		c.walk(n, 0, int32(len(c.v.letter)), f.below)
		size = f.addTo(t)
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

// finder collects tokens by the states that they lead to.
type finder struct {
	c     *cache
	ids   map[*node][]int32
	order []*node
}

func (c *cache) newFinder() *finder { return &finder{c: c, ids: map[*node][]int32{}} }

func (f *finder) note(end *node, list ...int32) {
	if len(list) == 0 {
		return
	}
	if f.ids[end] == nil {
		f.order = append(f.order, end)
	}
	f.ids[end] = append(f.ids[end], list...)
}

// below notes the tokens that end at a place, for [cache.walk].
func (f *finder) below(i int32, _, after *node) bool {
	f.note(after, f.c.v.endingAt(i)...)
	return after.op != opEmpty
}

// addTo puts the tokens into a table, and returns the memory that takes.
func (f *finder) addTo(t *table) (size int) {
	for _, end := range f.order {
		g := group{newTokenSet(f.ids[end], f.c.v.words()), end}
		t.groups, size = append(t.groups, g), size+g.tokens.bytes()+64
	}
	return size
}

// stringTable fills the table of a state inside a string by its class.
func (c *cache) stringTable(t *table, n, inside, rest *node) (size int) {
	k := c.classOf(inside)
	for _, g := range k.groups {
		if end := c.b.run(n, g.example); end != nil {
			t.groups = append(t.groups, group{g.tokens, end}) // a set of the class's
		}
	}
	if len(t.groups) == len(k.groups) {
		t.all, t.rest = k.all, len(t.groups)
	}
	f := c.newFinder()
	for _, x := range k.exits {
		if c.b.run(n, x.example) == nil {
			continue // the string is too short or too long here
		}
		for _, i := range x.nodes {
			f.note(rest, c.v.endingAt(i)...)
			if rest.op != opEmpty {
				c.walk(rest, i+1, c.v.after[i], f.below)
			}
		}
	}
	return 64*len(t.groups) + f.addTo(t)
}

// fewTokens is up to how many tokens are looked at one by one, where all others
// are known from another state.
const fewTokens = 5_000

// peel finds a state from which n differs by few tokens, which it lists.
func (c *cache) peel(n *node) (base *node, ids []int32, ok bool) {
	first, rest := n.first(), c.b.empty
	if n.op == opSeq {
		rest = n.b
	}
	if f, is := first.rule.(itemOnce); is && f.inner.quoted {
		return c.b.pair(f.forgetful(c.b), rest), c.v.quotes(), true
	}
	if f, is := first.rule.(exceptFrom); is {
		return c.b.pair(f.inner, rest), c.wordTokens(f, -1, nil), true
	}
	if n.op != opAlt {
		return nil, nil, false
	}
	for i, x := range n.alts {
		if !c.wide(x) {
			continue
		}
		others := c.tableOf(c.b.alt(append(slices.Clone(n.alts[:i]), n.alts[i+1:]...)...))
		for _, g := range others.groups {
			if ids = g.tokens.appendTo(ids); len(ids) > fewTokens {
				return nil, nil, false
			}
		}
		return x, ids, true
	}
	return nil, nil, false
}

// wide reports whether a state is inside a string, perhaps one with exceptions.
func (c *cache) wide(n *node) bool {
	if n.op == opSeq {
		n = n.a
	}
	_, is := n.rule.(exceptFrom)
	return is || n.quoted && n.op == opRule
}

// wordTokens lists the tokens that run along the words of f, from a place in the
// trie on, and those that begin with a whole word.
func (c *cache) wordTokens(f exceptFrom, place int32, ids []int32) []int32 {
	for _, letter := range f.letters() {
		i := c.v.child(place, letter)
		if i < 0 {
			continue
		}
		next := f.along(letter)
		if next.ends() { // no other word begins with it: a quote is its end
			ids = append(ids, c.v.ids[c.v.tokens[i]:c.v.tokens[c.v.after[i]]]...)
			continue
		}
		ids = append(ids, c.v.endingAt(i)...)
		ids = c.wordTokens(next, i, ids)
	}
	return ids
}

// patchedTable fills the table of a state that differs from another by the tokens
// of a list.
func (c *cache) patchedTable(t *table, n, base *node, ids []int32) (size int) {
	of, patched := c.tableOf(base), make(Mask, c.v.words())
	for _, id := range ids {
		patched.add(id)
	}
	for _, g := range of.groups {
		tokens := g.tokens.without(patched, ids)
		t.groups, size = append(t.groups, group{tokens, g.end}), size+64
		if len(tokens.mask) > 0 && &tokens.mask[0] != &g.tokens.mask[0] {
			size += tokens.bytes()
		}
	}
	f := c.newFinder()
	for i, id := range ids {
		if i > 0 && id == ids[i-1] {
			continue
		}
		if end := c.b.run(n, c.v.text[id]); end != nil {
			f.note(end, id)
		}
	}
	size += f.addTo(t)
	t.all, t.rest = make(Mask, c.v.words()), len(t.groups)
	for _, g := range t.groups {
		g.tokens.addTo(t.all)
	}
	return size + 8*len(t.all)
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

// fits reports whether the cost of n is at most budget.
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
