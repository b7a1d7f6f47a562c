package constrain

import "slices"

// mostMinimised is how many transitions a dfa may have to be worth minimising.
const mostMinimised = 200_000

// minimal returns the dfa with the fewest states that accepts the same strings, d
// itself if it is that or has too many transitions. Source of the method: Hopcroft
// 1971, "An n log n algorithm for minimizing states in a finite automaton".
func (d *dfa) minimal() *dfa {
	n, k := len(d.next), len(d.classes)
	if n*k > mostMinimised {
		return d
	}
	p := d.partition()
	if len(p.blocks) == n {
		return d
	}
	// Blocks in the order of their first states, so that the start is 0 again.
	number := make([]int, len(p.blocks))
	for i := range number {
		number[i] = -1
	}
	m := &dfa{classes: d.classes}
	var firsts []int
	for q, block := range p.of {
		if number[block] < 0 {
			number[block] = len(firsts)
			firsts = append(firsts, q)
		}
	}
	for _, q := range firsts {
		next := make([]int, k)
		for c, to := range d.next[q] {
			next[c] = number[p.of[to]]
		}
		m.next, m.accept = append(m.next, next), append(m.accept, d.accept[q])
	}
	return m
}

// partition is blocks of states that no string looked at so far tells apart.
type partition struct {
	blocks [][]int
	of     []int   // the block of each state
	todo   []split // to be looked at
	queued []bool  // which are in todo, at block * classes + class
}

// split is the states that a class leads into a block from, told apart from others.
type split struct{ block, class int }

// partition finds the blocks of states that no string tells apart.
func (d *dfa) partition() *partition {
	n, k := len(d.next), len(d.classes)
	p := &partition{blocks: make([][]int, 1), of: make([]int, n), queued: make([]bool, n*k)}
	from := make([][]int, n*k) // the states that class c leads to q from, at q*k+c
	accepting := []int{}
	for q, next := range d.next {
		for c, to := range next {
			from[to*k+c] = append(from[to*k+c], q)
		}
		p.blocks[0] = append(p.blocks[0], q)
		if d.accept[q] {
			accepting = append(accepting, q)
		}
	}
	for c := range k {
		p.push(split{0, c}, k)
	}
	found := make([][]int, n) // states by block
	var order []int           // blocks that have some
	p.cut(0, accepting, k)
	for len(p.todo) > 0 {
		s := p.todo[len(p.todo)-1]
		p.todo = p.todo[:len(p.todo)-1]
		p.queued[s.block*k+s.class] = false
		order = order[:0]
		for _, q := range p.blocks[s.block] {
			for _, r := range from[q*k+s.class] {
				b := p.of[r]
				if len(found[b]) == 0 {
					order = append(order, b)
				}
				found[b] = append(found[b], r)
			}
		}
		for _, b := range order {
			p.cut(b, found[b], k)
			found[b] = found[b][:0]
		}
	}
	return p
}

func (p *partition) push(s split, classes int) {
	if at := s.block*classes + s.class; !p.queued[at] {
		p.queued[at] = true
		p.todo = append(p.todo, s)
	}
}

// cut makes a block of some states of another, unless they are all or none.
func (p *partition) cut(block int, states []int, classes int) {
	if len(states) == 0 || len(states) == len(p.blocks[block]) {
		return
	}
	fresh := len(p.blocks)
	p.blocks = append(p.blocks, slices.Clone(states))
	for _, q := range states {
		p.of[q] = fresh
	}
	var rest []int
	for _, q := range p.blocks[block] {
		if p.of[q] == block {
			rest = append(rest, q)
		}
	}
	p.blocks[block] = rest
	smaller := fresh
	if len(rest) < len(states) {
		smaller = block
	}
	for c := range classes {
		if p.queued[block*classes+c] {
			p.push(split{fresh, c}, classes)
		} else {
			p.push(split{smaller, c}, classes)
		}
	}
}
