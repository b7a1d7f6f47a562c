package constrain

// finder collects numbers, of tokens or nodes of the trie, by states.
type finder struct {
	c     *cache
	lists map[*node]*[]int32
	order []*node
	done  uint64       // the slices noted as a whole
	late  [64]struct { // of what was noted of late, by their ids
		n    *node
		list *[]int32
	}
}

func (c *cache) newFinder() *finder { return &finder{c: c, lists: map[*node]*[]int32{}} }

func (f *finder) note(n *node, list ...int32) {
	if len(list) == 0 {
		return
	}
	late := &f.late[n.id%int64(len(f.late))]
	if late.n != n {
		late.n, late.list = n, f.lists[n]
		if late.list == nil {
			late.list = new([]int32)
			f.lists[n], f.order = late.list, append(f.order, n)
		}
	}
	*late.list = append(*late.list, list...)
}

// below notes the tokens that end at a place, for [cache.walk].
func (f *finder) below(i int32, _, after *node) bool {
	if v := f.c.v; f.done>>v.own[i]&1 == 0 {
		f.note(after, v.endingAt(i)...)
	}
	return after.op != opEmpty
}

// noteSlices notes the tokens of the slices through which all ways from n lead to
// the same states. The places of the trie with no others are done.
func (f *finder) noteSlices(n *node) {
	for i := range f.c.v.slices {
		s := &f.c.v.slices[i]
		ends, ok := f.c.b.together(n, s)
		if !ok {
			continue
		}
		f.done |= 1 << i
		for length, end := range ends {
			f.note(end, s.tokens[length]...)
		}
	}
}

// together returns the states after 0, 1, 2, ... bytes of the tokens of a slice, as
// far as any is allowed. It reports false if a state depends on which bytes.
func (b *builder) together(n *node, s *slice) (ends []*node, ok bool) {
	never := s.kinds // that no token may hold
	for ends = append(ends, n); len(ends) < len(s.tokens); ends = append(ends, n) {
		b.work++
		var next *node
		var allowed kindSet
		for _, letters := range s.letters {
			to := b.after(n, letters[0])
			for _, c := range letters[1:] {
				if b.after(n, c) != to {
					return nil, false
				}
			}
			switch {
			case to == nil:
				continue
			case next == nil:
				next = to
			case to != next:
				return nil, false
			}
			allowed |= kinds[letters[0]]
		}
		if next == nil {
			break
		}
		if never != s.kinds && never != s.kinds&^allowed {
			return nil, false
		}
		never, n = s.kinds&^allowed, next
	}
	if never != 0 { // every token holds bytes of all kinds
		return nil, true
	}
	return ends, true
}

// addTo puts the tokens into a table, and returns the memory that takes.
func (f *finder) addTo(t *table) (size int) {
	for _, end := range f.order {
		g := group{newTokenSet(*f.lists[end], f.c.v.words()), end}
		t.groups, size = append(t.groups, g), size+g.tokens.bytes()+64
	}
	return size
}
