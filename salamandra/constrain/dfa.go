package constrain

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sort"
)

// step returns the state after a character.
func (d *dfa) step(state int, r rune) int { return d.next[state][d.classOf(r)] }

// classOf returns the class of a code point; each has one.
func (d *dfa) classOf(r rune) int {
	return slices.IndexFunc(d.classes, func(ranges []runeRange) bool {
		return slices.ContainsFunc(ranges, func(x runeRange) bool { return x.lo <= r && r <= x.hi })
	})
}

// matches reports whether the dfa accepts a string.
func (d *dfa) matches(s string) bool {
	state := 0
	for _, r := range s {
		state = d.step(state, r)
	}
	return d.accept[state]
}

// accepts reports whether the dfa accepts a string of lo to hi characters.
func (d *dfa) accepts(lo, hi int) bool {
	at := make([]bool, len(d.next)) // the states after n characters, or after lo and more
	at[0] = true
	for n := 0; n < lo; n++ {
		at = d.reached(at)
	}
	for n := lo; ; n++ {
		for q, in := range at {
			if in && d.accept[q] {
				return true
			}
		}
		next, more := d.reached(at), false
		for q, in := range at {
			more, next[q] = more || next[q] && !in, next[q] || in
		}
		if !more || n >= hi {
			return false
		}
		at = next
	}
}

// reached is the states after one more character.
func (d *dfa) reached(at []bool) []bool {
	next := make([]bool, len(at))
	for q, in := range at {
		if !in {
			continue
		}
		for c, to := range d.next[q] {
			if !next[to] && slices.ContainsFunc(d.classes[c], func(r runeRange) bool { return r.lo < 0xD800 || r.hi > 0xDFFF }) {
				next[to] = true // but for surrogates, which no string has
			}
		}
	}
	return next
}

// product is the dfa that runs several at once and accepts where accept says so
// of what each does. It fails with ErrTooLarge beyond as many states as the builder
// may have.
func (b *builder) product(list []*dfa, accept func(each []bool) bool) (*dfa, error) {
	p := &dfa{}
	classes := p.refine(list)
	type tuple = []int
	ids, todo := map[string]int{}, []tuple{make(tuple, len(list))}
	ids[nameOf(todo[0])] = 0
	each := make([]bool, len(list))
	for i := 0; i < len(todo); i++ {
		if len(todo) > b.limit || b.late(len(classes)) {
			return nil, fmt.Errorf("%w: patterns together need more than %d states, or more time than there is", ErrTooLarge, b.limit)
		}
		next := make([]int, len(classes))
		for c, class := range classes {
			t := make(tuple, len(list))
			for k, d := range list {
				t[k] = d.next[todo[i][k]][class[k]]
			}
			id, ok := ids[nameOf(t)]
			if !ok {
				id = len(todo)
				ids[nameOf(t)] = id
				todo = append(todo, t)
			}
			next[c] = id
		}
		for k, d := range list {
			each[k] = d.accept[todo[i][k]]
		}
		p.next, p.accept = append(p.next, next), append(p.accept, accept(each))
	}
	return p, nil
}

// nameOf is a key of a list of numbers.
func nameOf(list []int) string {
	var b []byte
	for _, n := range list {
		b = binary.LittleEndian.AppendUint32(b, uint32(n))
	}
	return string(b)
}

// refine gives p the classes that no dfa of the list tells apart, and returns for
// each its class in each of them.
func (p *dfa) refine(list []*dfa) [][]int {
	type cut struct {
		at    rune
		which int // dfa
		class int
	}
	var cuts []cut
	for k, d := range list {
		for c, ranges := range d.classes {
			for _, r := range ranges {
				cuts = append(cuts, cut{r.lo, k, c})
			}
		}
	}
	sort.SliceStable(cuts, func(i, j int) bool { return cuts[i].at < cuts[j].at })
	var classes [][]int
	known := map[string]int{}
	now := make([]int, len(list))
	for i := 0; i < len(cuts); {
		at := cuts[i].at
		for ; i < len(cuts) && cuts[i].at == at; i++ {
			now[cuts[i].which] = cuts[i].class
		}
		end := rune(0x10FFFF)
		if i < len(cuts) {
			end = cuts[i].at - 1
		}
		name := nameOf(now)
		c, ok := known[name]
		if !ok {
			c = len(classes)
			known[name] = c
			classes = append(classes, slices.Clone(now))
			p.classes = append(p.classes, nil)
		}
		p.classes[c] = append(p.classes[c], runeRange{at, end})
	}
	return classes
}

// wordsDFA recognises exactly the words of a list.
func wordsDFA(words []string) *dfa {
	d := &dfa{}
	var letters []rune
	for _, w := range words {
		letters = append(letters, []rune(w)...)
	}
	slices.Sort(letters)
	letters = slices.Compact(letters)
	class := map[rune]int{}
	rest, last := []runeRange{}, rune(-1)
	for i, r := range letters {
		class[r] = i
		d.classes = append(d.classes, []runeRange{{r, r}})
		if r > last+1 {
			rest = append(rest, runeRange{last + 1, r - 1})
		}
		last = r
	}
	if last < 0x10FFFF {
		rest = append(rest, runeRange{last + 1, 0x10FFFF})
	}
	d.classes = append(d.classes, rest)
	dead := make([]int, len(d.classes))
	state := func() int {
		d.next, d.accept = append(d.next, slices.Repeat([]int{1}, len(d.classes))), append(d.accept, false)
		return len(d.next) - 1
	}
	state() // 0, the start
	state() // 1, which nothing leads out of
	copy(d.next[1], slices.Repeat([]int{1}, len(dead)))
	for _, w := range words {
		at := 0
		for _, r := range w {
			if d.next[at][class[r]] == 1 {
				fresh := state()
				d.next[at][class[r]] = fresh
			}
			at = d.next[at][class[r]]
		}
		d.accept[at] = true
	}
	return d
}

// lengthDFA recognises the strings of lo to hi characters.
func lengthDFA(lo, hi int) *dfa {
	d := &dfa{classes: [][]runeRange{{{0, 0x10FFFF}}}}
	last := lo
	if hi != unbounded {
		last = hi + 1
	}
	for n := range last + 1 {
		d.next = append(d.next, []int{min(n+1, last)})
		d.accept = append(d.accept, n >= lo && n <= hi)
	}
	return d
}
