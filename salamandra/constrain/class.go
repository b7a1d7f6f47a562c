package constrain

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

// exit is places in tokens at which the string is closed, all from the same state:
// the tokens that end there, and those that go on; example is the bytes of one up to
// the place.
type exit struct {
	tokens  tokenSet
	going   []going
	example []byte
}

// going is tokens that go on with the same text.
type going struct {
	text []byte
	ids  []int32
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
		if f.s.of == nil || f.s.hi != unbounded || f.k < f.s.lo {
			last = f.counted(c.b)
		}
		if inside.op == opSeq {
			last = c.b.pair(inside.a, last)
		}
		inside = last
	}
	if known := c.classes[inside]; known != nil {
		return known
	}
	if f, ok := inside.rule.(stringFrom); ok && f.s == c.b.counting {
		return c.stringClass(inside)
	}
	k := c.newClass(inside)
	if !c.b.spent() {
		c.hold(k.bytes())
		c.classes[inside] = k
	}
	return k
}

// stringClass returns the class of all strings, inside being one. It is kept with
// the vocabulary: it takes longest of all.
func (c *cache) stringClass(inside *node) *class {
	c.v.mu.Lock()
	defer c.v.mu.Unlock()
	if c.v.strings != nil {
		return c.v.strings
	}
	k := c.newClass(inside)
	if !c.b.spent() {
		c.v.strings = k
	}
	return k
}

func (c *cache) newClass(inside *node) *class {
	exits, groups := c.newFinder(), c.newFinder()
	groups.noteSlices(inside)
	c.walk(inside, 0, int32(len(c.v.letter)), groups.done, func(i int32, before, after *node) bool {
		if after.op == opEmpty {
			exits.note(before, i)
			return false
		}
		return groups.below(i, before, after)
	})
	k := &class{all: make(Mask, c.v.words())}
	for _, n := range groups.order {
		ids := *groups.lists[n]
		g := classGroup{newTokenSet(ids, c.v.words()), c.v.text[ids[0]]}
		g.tokens.addTo(k.all)
		k.groups = append(k.groups, g)
	}
	for _, n := range exits.order {
		k.exits = append(k.exits, c.newExit(*exits.lists[n]))
	}
	return k
}

// bytes is about the memory of a class.
func (k *class) bytes() int {
	size := 8 * len(k.all)
	for _, g := range k.groups {
		size += 64 + g.tokens.bytes()
	}
	for _, x := range k.exits {
		size += x.bytes()
	}
	return size
}

// newExit returns the exit at some nodes.
func (c *cache) newExit(nodes []int32) exit {
	var x exit
	var ids []int32
	place := map[string]int{} // in x.going
	for _, i := range nodes {
		ending := c.v.endingAt(i)
		ids = append(ids, ending...)
		for _, id := range c.v.under(i)[len(ending):] {
			text := c.v.text[id][c.v.depth[i]:]
			at, ok := place[string(text)]
			if !ok {
				at = len(x.going)
				place[string(text)] = at
				x.going = append(x.going, going{text: text})
			}
			x.going[at].ids = append(x.going[at].ids, id)
		}
	}
	x.tokens = newTokenSet(ids, c.v.words())
	first := nodes[0]
	x.example = c.v.text[c.v.under(first)[0]][:c.v.depth[first]]
	return x
}

// bytes is about the memory of an exit.
func (x exit) bytes() int {
	size := 64 + x.tokens.bytes()
	for _, g := range x.going {
		size += 64 + 4*len(g.ids)
	}
	return size
}
