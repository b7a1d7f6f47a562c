package constrain

import "slices"

// bodyOf expands the rule of n.
func (b *builder) bodyOf(n *node) *node {
	body := n.body
	if body == nil {
		body = n.rule.expand(b)
		n.body = body
		b.stepped = append(b.stepped, n)
	}
	return body
}

// derive returns what may follow the byte c in the strings of n.
func (b *builder) derive(n *node, c byte) *node {
	switch n.op {
	case opText:
		if n.text[0] == c {
			return b.literal(n.text[1:])
		}
	case opByte:
		if n.lo <= c && c <= n.hi {
			return b.empty
		}
	case opSeq:
		d := b.pair(b.derive(n.a, c), n.b)
		if n.a.min == 0 {
			d = b.alt(d, b.derive(n.b, c))
		}
		return d
	case opAlt:
		list := make([]*node, 0, len(n.alts))
		for _, x := range n.alts {
			list = append(list, b.derive(x, c))
		}
		return b.alt(list...)
	case opRule:
		if f, ok := n.rule.(itemOnce); ok {
			return f.derive(b, c)
		}
		return b.derive(b.bodyOf(n), c)
	}
	return b.fail
}

// first is the part of a sequence that comes first, or the node itself.
func (n *node) first() *node {
	if n.op == opSeq {
		return n.a
	}
	return n
}

// after returns the state after a byte, nil if it leads nowhere.
func (b *builder) after(n *node, c byte) *node {
	if n.next != nil {
		return n.next.after(c)
	}
	if _, ok := n.first().rule.(itemOnce); !ok {
		return b.stepsOf(n).after(c)
	}
	if d := b.derive(n, c); d.op != opFail { // of the many states that follow, one is needed
		return d
	}
	return nil
}

// cut marks the bytes at which the derivative of n may change.
func (b *builder) cut(n *node, at *[257]bool) {
	switch n.op {
	case opText:
		at[n.text[0]], at[int(n.text[0])+1] = true, true
	case opByte:
		at[n.lo], at[int(n.hi)+1] = true, true
	case opSeq:
		b.cut(n.a, at)
		if n.a.min == 0 {
			b.cut(n.b, at)
		}
	case opAlt:
		for _, x := range n.alts {
			b.cut(x, at)
		}
	case opRule:
		b.cut(b.bodyOf(n), at)
	}
}

// stepsOf returns the transitions of n. None leads to opFail, so every state
// that an answer can reach can be completed.
func (b *builder) stepsOf(n *node) *steps {
	if n.next != nil {
		return n.next
	}
	var s *steps
	switch {
	case n.op == opRule:
		s = b.stepsOf(b.bodyOf(n))
	case n.op == opSeq && n.a.min > 0:
		// Those of a, which many states have in common, such as any character.
		of := b.stepsOf(n.a)
		s = &steps{index: of.index, next: make([]*node, len(of.next))}
		for i, d := range of.next[1:] {
			s.next[i+1] = b.pair(d, n.b)
		}
	case n.op == opAlt && len(n.alts) <= fewAlts:
		s = b.stepsOfAny(n.alts)
	default:
		s = b.derivatives(n)
	}
	n.next = s
	b.stepped = append(b.stepped, n)
	return s
}

// fewAlts is up to how many alternatives are cheaper looked at one by one than
// derived together, byte by byte.
const fewAlts = 8

// stepsOfAny joins the transitions of a few nodes.
func (b *builder) stepsOfAny(alts []*node) *steps {
	var of [fewAlts]*steps
	for i, x := range alts {
		of[i] = b.stepsOf(x)
	}
	s := &steps{next: []*node{nil}}
	var places [256][fewAlts]uint8 // in each of, by place in s
	list := make([]*node, 0, fewAlts)
	for c := range 256 {
		var at [fewAlts]uint8
		for i := range alts {
			at[i] = of[i].index[c]
		}
		if c > 0 && at == places[s.index[c-1]] {
			s.index[c] = s.index[c-1]
			continue
		}
		list = list[:0]
		for i := range alts {
			if d := of[i].next[at[i]]; d != nil {
				list = append(list, d)
			}
		}
		d := b.alt(list...)
		if d.op == opFail {
			continue
		}
		i := slices.Index(s.next, d)
		if i < 0 {
			i = len(s.next)
			s.next = append(s.next, d)
		}
		s.index[c], places[i] = uint8(i), at
	}
	return s
}

// derivatives finds the transitions of n byte by byte.
func (b *builder) derivatives(n *node) *steps {
	var at [257]bool
	b.cut(n, &at)
	s := &steps{next: []*node{nil}}
	place := uint8(0)
	for c := range 256 {
		if at[c] {
			place = 0
			if d := b.derive(n, byte(c)); d.op != opFail {
				i := slices.Index(s.next, d)
				if i < 0 {
					i = len(s.next)
					s.next = append(s.next, d)
				}
				place = uint8(i)
			}
		}
		s.index[c] = place
	}
	return s
}

// run returns the state after text, nil if text leads nowhere.
func (b *builder) run(n *node, text []byte) *node {
	for _, c := range text {
		if n = b.after(n, c); n == nil {
			return nil
		}
	}
	return n
}

// only returns the one byte that may come next and the state after it. It
// reports false if there is a choice, or if the answer may end here.
func (b *builder) only(n *node) (byte, *node, bool) {
	if n.min == 0 {
		return 0, nil, false
	}
	s := b.stepsOf(n)
	if len(s.next) != 2 {
		return 0, nil, false
	}
	c, many := 0, 0
	for i, place := range s.index {
		if place != 0 {
			c, many = i, many+1
		}
	}
	return byte(c), s.next[1], many == 1
}
