package constrain

import (
	"encoding/binary"
	"slices"
)

// dfa recognises strings by their code points. State 0 is the start. Surrogates,
// which no string has, are of any class.
type dfa struct {
	cuts   []rune  // where the code points of a class begin; the first is 0
	class  []int32 // of the code points from each cut on
	width  int     // how many classes there are
	next   []int32 // the state after state q and class c, at q*width+c
	accept []bool  // whether a string may end in a state
}

func (d *dfa) states() int { return len(d.accept) }

// row is the states after state q, by class.
func (d *dfa) row(q int) []int32 { return d.next[q*d.width : (q+1)*d.width] }

// step returns the state after a character.
func (d *dfa) step(state int, r rune) int {
	return int(d.next[state*d.width+int(d.classOf(r))])
}

// classOf returns the class of a code point; each has one.
func (d *dfa) classOf(r rune) int32 {
	i, found := slices.BinarySearch(d.cuts, r)
	if !found {
		i--
	}
	return d.class[i]
}

// matches reports whether the dfa accepts a string.
func (d *dfa) matches(s string) bool {
	state := 0
	for _, r := range s {
		state = d.step(state, r)
	}
	return d.accept[state]
}

// stays reports whether nothing leads out of a state.
func (d *dfa) stays(q int) bool {
	for _, to := range d.row(q) {
		if int(to) != q {
			return false
		}
	}
	return true
}

// rangesOf returns the code points of some classes.
func (d *dfa) rangesOf(in []bool) []runeRange {
	var list []runeRange
	for i, lo := range d.cuts {
		if !in[d.class[i]] {
			continue
		}
		hi := rune(maxRune)
		if i+1 < len(d.cuts) {
			hi = d.cuts[i+1] - 1
		}
		if last := len(list) - 1; last >= 0 && list[last].hi == lo-1 {
			list[last].hi = hi
		} else {
			list = append(list, runeRange{lo, hi})
		}
	}
	return list
}

const maxRune = 0x10FFFF

// classifier sorts code points into classes by what is known of them.
type classifier struct {
	*dfa
	known map[string]int32 // classes by sign
	reps  []rune           // a code point of each class
}

// add says what is known of the code points from lo to hi, which come in order.
func (k *classifier) add(lo, hi rune, sign []byte) {
	if lo >= 0xD800 && hi <= 0xDFFF {
		return
	}
	c, ok := k.known[string(sign)]
	if !ok {
		c = int32(k.width)
		k.known[string(sign)] = c
		k.reps = append(k.reps, lo)
		k.width++
	}
	if last := len(k.class) - 1; last < 0 || k.class[last] != c {
		k.cuts, k.class = append(k.cuts, lo), append(k.class, c)
	}
}

// wordsDFA recognises exactly the words of a list.
func wordsDFA(words []string) *dfa {
	d := &dfa{}
	k := classifier{dfa: d, known: map[string]int32{}}
	var letters []rune
	for _, w := range words {
		letters = append(letters, []rune(w)...)
	}
	slices.Sort(letters)
	letters = slices.Compact(letters)
	from := rune(0)
	for i, r := range letters {
		if r > from {
			k.add(from, r-1, nil)
		}
		k.add(r, r, binary.LittleEndian.AppendUint32(nil, uint32(i)))
		from = r + 1
	}
	if from <= maxRune {
		k.add(from, maxRune, nil)
	}
	state := func() int32 {
		for range d.width {
			d.next = append(d.next, 1)
		}
		d.accept = append(d.accept, false)
		return int32(len(d.accept) - 1)
	}
	state() // 0, the start
	state() // 1, which nothing leads out of
	for _, w := range words {
		at := int32(0)
		for _, r := range w {
			i := int(at)*d.width + int(d.classOf(r))
			if d.next[i] == 1 {
				fresh := state()
				d.next[i] = fresh
			}
			at = d.next[i]
		}
		d.accept[at] = true
	}
	return d
}

// lengthDFA recognises the strings of lo to hi characters.
func lengthDFA(lo, hi int) *dfa {
	d := &dfa{cuts: []rune{0}, class: []int32{0}, width: 1}
	last := lo
	if hi != unbounded {
		last = hi + 1
	}
	for n := range last + 1 {
		d.next = append(d.next, int32(min(n+1, last)))
		d.accept = append(d.accept, n >= lo && n <= hi)
	}
	return d
}
