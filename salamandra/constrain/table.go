package constrain

// table is the tokens allowed in one state.
type table struct {
	all    Mask // of the class, where all its tokens are allowed
	groups []group
	rest   int // groups from here on are not in all
	// Where the state is like another but for a few tokens: the table of that one, and
	// the tokens, for which groups holds.
	base  *table
	apart []int32
	// Where the state is one of several: their tables, of which any may allow a token.
	// They do not say where it leads, so all completions must fit.
	any []*table
	// longest is the most bytes that the shortest completion after an allowed
	// token has, a bound on its tokens.
	longest int
}

// loose reports whether the table serves only where all completions fit.
func (t *table) loose() bool { return t.any != nil || t.base != nil && t.base.loose() }

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
	stack   []*node // of walk
	masks   []Mask  // to work with
}

func newCache(b *builder, v *Vocabulary) *cache {
	c := &cache{b: b, v: v, stack: make([]*node, v.longest+1)}
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
// node, and returns false to leave out what is below it. Nodes of tokens of the
// slices done alone are left out.
func (c *cache) walk(n *node, i, end int32, done uint64, visit func(i int32, before, after *node) bool) {
	v := c.v
	if i >= end {
		return
	}
	c.stack[v.depth[i]-1] = n
	for i < end && !c.b.spent() {
		if v.holds[i]&^done == 0 {
			i = v.after[i]
			continue
		}
		c.b.work++
		d := v.depth[i]
		before := c.stack[d-1]
		after := c.b.after(before, v.letter[i])
		if after != nil && visit(i, before, after) {
			c.stack[d] = after
			i++
			continue
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

// tableOf returns the tokens allowed in the state n.
func (c *cache) tableOf(n *node) *table {
	if t := c.tables[n]; t != nil {
		return t
	}
	t := &table{}
	size, ok := c.likeOthers(t, n)
	if !ok {
		if inside, rest, inString := c.split(n); inString {
			size = c.stringTable(t, n, inside, rest)
		} else {
			size = c.walkedTable(t, n)
		}
	}
	c.keep(t, n, size)
	return t
}

// exactTable returns the table of n that knows where each token leads.
func (c *cache) exactTable(n *node) *table {
	t := c.tableOf(n)
	if t.loose() {
		t = &table{}
		c.keep(t, n, c.walkedTable(t, n))
	}
	return t
}

// walkedTable fills the table of any state by the whole trie.
func (c *cache) walkedTable(t *table, n *node) (size int) {
	f := c.newFinder()
	f.noteSlices(n)
	c.walk(n, 0, int32(len(c.v.letter)), f.done, f.below)
	return f.addTo(t)
}

// keep makes t the table of n, if there was enough work left to fill it.
func (c *cache) keep(t *table, n *node, size int) {
	if t.base != nil {
		t.longest = t.base.longest
	}
	for _, x := range t.any {
		t.longest = max(t.longest, x.longest)
	}
	for _, g := range t.groups {
		t.longest = max(t.longest, g.end.min)
	}
	if !c.b.spent() {
		c.hold(size + tableBytes)
		c.tables[n] = t
	}
}

// tableBytes is about the memory of a table without its groups.
const tableBytes = 200

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
		if x.tokens.bytes() > 0 {
			t.groups = append(t.groups, group{x.tokens, rest})
		}
		for _, g := range x.going {
			if end := c.b.run(rest, g.text); end != nil {
				f.note(end, g.ids...)
			}
		}
	}
	return 64*len(t.groups) + f.addTo(t)
}

// fewTokens is up to how many tokens are looked at one by one, where all others
// are known from another state.
const fewTokens = 5_000

// likeOthers fills the table of n from those of other states, if it is like them.
func (c *cache) likeOthers(t *table, n *node) (size int, ok bool) {
	first, rest := n.first(), c.b.empty
	if n.op == opSeq {
		rest = n.b
	}
	switch f := first.rule.(type) {
	case itemOnce:
		if f.inner.quoted {
			return c.apartTable(t, n, c.b.pair(f.forgetful(c.b), rest), c.v.quotes()), true
		}
	case exceptFrom:
		return c.apartTable(t, n, c.b.pair(f.inner, rest), c.wordTokens(f, -1, nil)), true
	}
	var wide, others []*node
	for _, x := range c.b.alternatives(n, nil) {
		if c.wide(x) {
			wide = append(wide, x)
		} else {
			others = append(others, x)
		}
	}
	if len(wide) == 0 || len(wide)+len(others) == 1 {
		return 0, false
	}
	few := c.tableOf(c.b.alt(others...))
	if ids, ok := few.list(fewTokens); ok && len(wide) == 1 {
		return c.apartTable(t, n, wide[0], ids), true
	}
	for _, x := range wide {
		t.any = append(t.any, c.tableOf(x))
	}
	t.any = append(t.any, few)
	return 8 * len(t.any), true
}

// list returns the tokens of a table that is not made from others, at most most.
func (t *table) list(most int) (ids []int32, ok bool) {
	for _, g := range t.groups {
		if ids = g.tokens.appendTo(ids); len(ids) > most {
			return nil, false
		}
	}
	return ids, t.base == nil && t.any == nil
}

// alternatives appends what n may be, each without a choice at its beginning.
func (b *builder) alternatives(n *node, list []*node) []*node {
	switch {
	case n.op == opAlt:
		for _, x := range n.alts {
			list = b.alternatives(x, list)
		}
		return list
	case n.op == opSeq && n.a.op == opAlt && n.a.min > 0:
		for _, x := range n.a.alts {
			list = b.alternatives(b.pair(x, n.b), list)
		}
		return list
	}
	return append(list, n)
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
			ids = append(ids, c.v.under(i)...)
			continue
		}
		ids = append(ids, c.v.endingAt(i)...)
		ids = c.wordTokens(next, i, ids)
	}
	return ids
}

// apartTable fills the table of a state that is like base but for some tokens.
func (c *cache) apartTable(t *table, n, base *node, ids []int32) (size int) {
	t.base, t.apart = c.tableOf(base), ids
	f := c.newFinder()
	for i, id := range ids {
		if i > 0 && id == ids[i-1] {
			continue
		}
		if end := c.b.run(n, c.v.text[id]); end != nil {
			f.note(end, id)
		}
	}
	return 4*len(ids) + f.addTo(t)
}

// fill sets m to the tokens allowed in state n after which at most budget-1
// tokens are needed.
func (c *cache) fill(m Mask, n *node, budget int) {
	t := c.tableOf(n)
	if t.longest >= budget {
		t = c.exactTable(n)
	}
	clear(m)
	c.addTo(m, t, budget)
	if n.min == 0 {
		for _, id := range c.v.end {
			m.add(id)
		}
	}
}

// addTo adds the tokens of a table after which at most budget-1 tokens are needed.
func (c *cache) addTo(m Mask, t *table, budget int) {
	if t.base != nil {
		like := c.blank()
		c.addTo(like, t.base, budget)
		for _, id := range t.apart {
			like.remove(id)
		}
		m.join(like)
		c.masks = append(c.masks, like)
	}
	for _, x := range t.any {
		c.addTo(m, x, budget)
	}
	groups, all := t.groups, t.longest < budget
	if all && t.all != nil {
		m.join(t.all)
		groups = groups[t.rest:]
	}
	for _, g := range groups {
		if all || c.fits(g.end, budget-1) {
			g.tokens.addTo(m)
		}
	}
}

// blank returns an empty mask to work with.
func (c *cache) blank() Mask {
	last := len(c.masks) - 1
	if last < 0 {
		return make(Mask, c.v.words())
	}
	m := c.masks[last]
	c.masks = c.masks[:last]
	clear(m)
	return m
}
