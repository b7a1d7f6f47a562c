package constrain

import (
	"encoding/binary"
	"slices"
	"strconv"
)

// product runs automata together. States are made when they are asked for, in their
// order.
type product struct {
	dfa
	b    *builder
	list []*dfa
	// want says what each must do: 1 accept, -1 not accept, 0 anything. A state that
	// no string leads to that from is the dead one.
	want []int8
	of   []int32          // the class of each of list, by class of the product
	at   []int32          // the state of each, by state; -1 in the dead one
	ids  map[string]int32 // states by those of the list
	key  []byte
	to   []int32
}

// product makes the product of some automata.
func (b *builder) product(list []*dfa, want []int8) *product {
	p := &product{b: b, list: list, want: want, ids: map[string]int32{}, to: make([]int32, len(list))}
	p.classify()
	if p.lost() {
		p.die()
	}
	p.id()
	return p
}

// classify finds the code points that no dfa of the list tells apart.
func (p *product) classify() {
	var cuts []rune
	for _, d := range p.list {
		cuts = append(cuts, d.cuts...)
	}
	slices.Sort(cuts)
	cuts = slices.Compact(cuts)
	k := classifier{dfa: &p.dfa, known: map[string]int32{}}
	place := make([]int, len(p.list))
	now := make([]int32, len(p.list))
	var sign []byte
	for i, lo := range cuts {
		sign = sign[:0]
		for j, d := range p.list {
			if n := place[j] + 1; n < len(d.cuts) && d.cuts[n] == lo {
				place[j] = n
			}
			now[j] = d.class[place[j]]
			sign = binary.LittleEndian.AppendUint32(sign, uint32(now[j]))
		}
		hi := rune(maxRune)
		if i+1 < len(cuts) {
			hi = cuts[i+1] - 1
		}
		before := p.width
		if k.add(lo, hi, sign); p.width > before {
			p.of = append(p.of, now...)
		}
	}
}

// lost reports whether no string leads from p.to to what is wanted.
func (p *product) lost() bool {
	for k, d := range p.list {
		if q := int(p.to[k]); p.want[k] != 0 && d.accept[q] != (p.want[k] > 0) && d.stays(q) {
			return true
		}
	}
	return false
}

// die makes p.to the dead state.
func (p *product) die() {
	for k := range p.to {
		p.to[k] = -1
	}
}

// id returns the number of the state p.to, a new one if need be.
func (p *product) id() int32 {
	p.key = p.key[:0]
	for _, q := range p.to {
		p.key = binary.LittleEndian.AppendUint32(p.key, uint32(q))
	}
	n, ok := p.ids[string(p.key)]
	if !ok {
		n = int32(len(p.accept))
		p.ids[string(p.key)] = n
		p.at, p.accept = append(p.at, p.to...), append(p.accept, p.meets())
	}
	return n
}

// meets reports whether each does in p.to what is wanted of it.
func (p *product) meets() bool {
	for k, d := range p.list {
		if p.to[k] < 0 || p.want[k] != 0 && d.accept[p.to[k]] != (p.want[k] > 0) {
			return false
		}
	}
	return true
}

// each says which of the list accept in a state.
func (p *product) each(q int, list []bool) {
	for k, d := range p.list {
		at := p.at[q*len(p.list)+k]
		list[k] = at >= 0 && d.accept[at]
	}
}

// row makes the state q, all before it being made, and returns those after it.
func (p *product) row(q int) []int32 {
	if q*p.width < len(p.next) {
		return p.dfa.row(q)
	}
	n := len(p.list)
	for c := range p.width {
		if p.at[q*n] < 0 {
			p.next = append(p.next, int32(q))
			continue
		}
		for k, d := range p.list {
			p.to[k] = d.next[int(p.at[q*n+k])*d.width+int(p.of[c*n+k])]
		}
		if p.lost() {
			p.die()
		}
		p.next = append(p.next, p.id())
	}
	return p.dfa.row(q)
}

// all makes all states. It fails with ErrTooLarge where they are more than a builder
// may have.
func (p *product) all() error {
	for q := 0; q < len(p.accept); q++ {
		if p.over() {
			return tooLarge("patterns together need more than %d states, or more time than there is", p.b.limit)
		}
		p.row(q)
	}
	return nil
}

func (p *product) over() bool { return len(p.accept) > p.b.limit || p.b.late(p.width) }

// accepts reports whether the product accepts a string of lo to hi characters; ok is
// false where it has too many states to say so.
func (p *product) accepts(lo, hi int) (yes, ok bool) {
	now, seen := []int32{0}, map[int32]bool{} // those after n characters, and those after lo and more
	var in []bool
	for n := 0; n <= hi && len(now) > 0; n++ {
		var next []int32
		clear(in)
		for _, q := range now {
			if n >= lo {
				if p.accept[q] {
					return true, true
				}
				if seen[q] {
					continue
				}
				seen[q] = true
			}
			if p.over() {
				return false, false
			}
			for _, to := range p.row(int(q)) {
				if int(to) >= len(in) {
					in = append(in, make([]bool, len(p.accept)-len(in))...)
				}
				if !in[to] {
					in[to], next = true, append(next, to)
				}
			}
		}
		slices.Sort(next)
		now = next
	}
	return false, true
}

// anyOf recognises what any of some automata does.
func (b *builder) anyOf(list []*dfa) (*dfa, error) {
	if len(list) == 0 {
		return wordsDFA(nil), nil
	}
	p := b.product(list, make([]int8, len(list)))
	err := p.all()
	each := make([]bool, len(list))
	for q := range p.accept {
		p.each(q, each)
		p.accept[q] = slices.Contains(each, true)
	}
	return &p.dfa, err
}

// signs sorts the states that accept by which of the first n of the list do, and returns
// which these are and the states.
func (p *product) signs(n int) (each [][]bool, states [][]bool) {
	now, known := make([]bool, len(p.list)), map[string]int{}
	for q, accept := range p.accept {
		if !accept {
			continue
		}
		p.each(q, now)
		p.key = p.key[:0]
		for _, is := range now[:n] {
			p.key = strconv.AppendBool(p.key, is)
		}
		i, ok := known[string(p.key)]
		if !ok {
			i = len(each)
			known[string(p.key)] = i
			each, states = append(each, slices.Clone(now[:n])), append(states, make([]bool, len(p.accept)))
		}
		states[i][q] = true
	}
	return each, states
}
