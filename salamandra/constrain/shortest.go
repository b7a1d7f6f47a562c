package constrain

// shortestStep returns the first byte of the shortest completion of n, of equal
// ones the one first in the order of bytes, and the state after it. Then the
// completion chosen there is the rest of the one chosen here.
func (b *builder) shortestStep(n *node) (letter byte, next *node) {
	letter = b.shortestLetter(n)
	if n.next != nil {
		return letter, n.next.after(letter)
	}
	return letter, b.derive(n, letter) // of many states, not all that follow is needed
}

func (b *builder) shortestLetter(n *node) byte {
	switch n.op {
	case opText:
		return n.text[0]
	case opByte:
		return n.lo
	case opSeq:
		if n.a.min == 0 {
			return b.shortestLetter(n.b)
		}
		return b.shortestLetter(n.a)
	case opRule:
		if f, ok := n.rule.(itemOnce); ok {
			if f.inner.min == 0 {
				return b.shortestLetter(b.ruled(f.after()))
			}
			return b.shortestLetter(f.inner)
		}
		return b.shortestLetter(b.bodyOf(n))
	}
	least := byte(255)
	for _, x := range n.alts {
		if x.min == n.min {
			least = min(least, b.shortestLetter(x))
		}
	}
	return least
}

// needs marks the bytes that the shortest completions are spelt with, from the start on
// and from every state that its answers lead to; some more may be marked. All others are
// bytes that an answer may hold and can do without.
func (b *builder) needs(start *node, bytes *[256]bool) {
	b.round += 4
	needs(start, true, b.round, bytes)
}

// needs marks the bytes from n on, which is left out unless first. Nodes are seen in a
// round as one that is left out, 1, or as a first one, 2; those that no builder made
// lead to no others.
func needs(n *node, first bool, round uint32, bytes *[256]bool) {
	if n.id != 0 {
		how := uint32(1)
		if first || n.op == opRule {
			how = 2
		}
		if n.seen&^3 != round {
			n.seen = round
		}
		if n.seen&how != 0 {
			return
		}
		n.seen |= how
	}
	switch n.op {
	case opText:
		for i := range len(n.text) {
			bytes[n.text[i]] = bytes[n.text[i]] || first || i > 0
		}
	case opByte:
		bytes[n.lo] = bytes[n.lo] || first // see shortestStep
	case opSeq:
		needs(n.a, first, round, bytes)
		needs(n.b, true, round, bytes)
	case opAlt:
		for _, x := range n.alts {
			needs(x, first && x.min == n.min, round, bytes)
		}
	case opRule:
		for _, x := range n.rule.parts() {
			needs(x, true, round, bytes)
		}
	}
}
