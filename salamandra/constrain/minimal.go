package constrain

import "encoding/binary"

// mostMinimised is how many transitions a dfa may have to be worth minimising.
const mostMinimised = 400_000

// minimal returns the dfa with the fewest states and classes that accepts the same
// strings, of as many states where d has too many transitions. Source of the method:
// Hopcroft 1971, "An n log n algorithm for minimizing states in a finite automaton",
// with the partitions of Valmari 2012, "Fast brief practical DFA minimization".
func (d *dfa) minimal() *dfa {
	if len(d.next) <= mostMinimised {
		d = d.quotient(d.partition())
	}
	return d.narrow()
}

// quotient joins the states of each block, in the order of their first states, so that
// the start is 0 again.
func (d *dfa) quotient(p *partition) *dfa {
	number := make([]int32, len(p.first))
	for i := range number {
		number[i] = -1
	}
	m := &dfa{cuts: d.cuts, class: d.class, width: d.width}
	var firsts []int
	for q := range d.states() {
		if block := p.of[q]; number[block] < 0 {
			number[block] = int32(len(firsts))
			firsts = append(firsts, q)
		}
	}
	m.next, m.accept = make([]int32, 0, len(firsts)*d.width), make([]bool, 0, len(firsts))
	for _, q := range firsts {
		for _, to := range d.row(q) {
			m.next = append(m.next, number[p.of[to]])
		}
		m.accept = append(m.accept, d.accept[q])
	}
	return m
}

// narrow joins the classes that no state tells apart.
func (d *dfa) narrow() *dfa {
	n := d.states()
	known, class := map[string]int32{}, make([]int32, d.width)
	column := make([]byte, 4*n)
	var kept []int
	for c := range class {
		for q := range n {
			binary.LittleEndian.PutUint32(column[4*q:], uint32(d.next[q*d.width+c]))
		}
		k, ok := known[string(column)]
		if !ok {
			k = int32(len(kept))
			known[string(column)] = k
			kept = append(kept, c)
		}
		class[c] = k
	}
	if len(kept) == d.width {
		return d
	}
	m := &dfa{width: len(kept), accept: d.accept, next: make([]int32, 0, n*len(kept))}
	for i, lo := range d.cuts {
		if c := class[d.class[i]]; i == 0 || m.class[len(m.class)-1] != c {
			m.cuts, m.class = append(m.cuts, lo), append(m.class, c)
		}
	}
	for q := range n {
		for _, c := range kept {
			m.next = append(m.next, d.next[q*d.width+c])
		}
	}
	return m
}

// partition is blocks of states that no string looked at so far tells apart.
type partition struct {
	states []int32 // by blocks
	place  []int32 // of each state in states
	of     []int32 // the block of each state
	first  []int32 // where each block begins in states
	end    []int32
	marked []int32 // how many of a block's first states are marked
}

// mark moves a state to the marked ones of its block, and notes blocks that had none.
func (p *partition) mark(q int32, touched []int32) []int32 {
	block := p.of[q]
	to := p.first[block] + p.marked[block]
	at := p.place[q]
	if at < to {
		return touched // marked before
	}
	other := p.states[to]
	p.states[at], p.states[to] = other, q
	p.place[other], p.place[q] = at, to
	if p.marked[block] == 0 {
		touched = append(touched, block)
	}
	p.marked[block]++
	return touched
}

// split makes a block of the marked states of a block, or of the others where those
// are fewer. It reports false where they are all.
func (p *partition) split(block int32) bool {
	middle := p.first[block] + p.marked[block]
	p.marked[block] = 0
	if middle == p.end[block] {
		return false
	}
	from, to := p.first[block], middle
	if to-from <= p.end[block]-to {
		p.first[block] = middle
	} else {
		from, to = middle, p.end[block]
		p.end[block] = middle
	}
	fresh := int32(len(p.first))
	p.first, p.end, p.marked = append(p.first, from), append(p.end, to), append(p.marked, 0)
	for _, q := range p.states[from:to] {
		p.of[q] = fresh
	}
	return true
}

// sources are the states that lead to each state by a class, one list after the other.
type sources struct {
	from  []int32
	begin []int32 // of the list of class c and state q, at c*states+q
}

func (d *dfa) sources() sources {
	n := d.states()
	s := sources{make([]int32, len(d.next)), make([]int32, len(d.next)+1)}
	for i, to := range d.next {
		s.begin[(i%d.width)*n+int(to)+1]++
	}
	for i := range d.next {
		s.begin[i+1] += s.begin[i]
	}
	at := make([]int32, len(d.next))
	copy(at, s.begin)
	for i, to := range d.next {
		k := (i%d.width)*n + int(to)
		s.from[at[k]] = int32(i / d.width)
		at[k]++
	}
	return s
}

// partition finds the blocks of states that no string tells apart.
func (d *dfa) partition() *partition {
	n := d.states()
	p := &partition{states: make([]int32, n), place: make([]int32, n), of: make([]int32, n), first: []int32{0}, end: []int32{int32(n)}, marked: []int32{0}}
	var touched []int32
	for q := range p.states {
		p.states[q], p.place[q] = int32(q), int32(q)
	}
	for q, accept := range d.accept {
		if accept {
			touched = p.mark(int32(q), touched)
		}
	}
	if len(touched) > 0 {
		p.split(0)
	}
	s := d.sources()
	// Every block but one is looked at as a splitter, and of each that is split the
	// smaller part.
	for b := len(p.first) - 1; b < len(p.first); b++ {
		d.splitBy(p, s, int32(b))
	}
	return p
}

// splitBy tells apart states that lead into a block from others.
func (d *dfa) splitBy(p *partition, s sources, block int32) {
	n := d.states()
	inside := append([]int32(nil), p.states[p.first[block]:p.end[block]]...)
	var touched []int32
	for c := range d.width {
		touched = touched[:0]
		for _, q := range inside {
			k := c*n + int(q)
			for _, r := range s.from[s.begin[k]:s.begin[k+1]] {
				touched = p.mark(r, touched)
			}
		}
		for _, b := range touched {
			p.split(b)
		}
	}
}
