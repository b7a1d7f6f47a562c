package constrain

import (
	"slices"
	"strings"
)

// exceptRule is the strings of a set but for some words. What is left of the set
// once an answer has left the words behind is the set's own, and shared.
type exceptRule struct {
	words []string           // sorted, each once
	known map[exceptFrom]int // the length of the shortest rest
}

// exceptFrom is the rest of an exceptRule: of the strings of inner, those that are
// not the rest of words[lo:hi], which are what was written so far, k bytes, and more.
type exceptFrom struct {
	r     *exceptRule
	inner *node
	lo    int
	hi    int
	k     int
}

// except returns the strings of inner but for words.
func (b *builder) except(inner *node, words []string) *node {
	if len(words) == 0 || inner.op == opFail {
		return inner
	}
	words = slices.Clone(words)
	slices.Sort(words)
	key := strings.Join(words, "\x00")
	r := b.exceptions[key]
	if r == nil {
		r = &exceptRule{words: slices.Compact(words), known: map[exceptFrom]int{}}
		b.exceptions[key] = r
	}
	f := exceptFrom{r, inner, 0, len(r.words), 0}
	return b.exceptNode(f)
}

func (b *builder) exceptNode(f exceptFrom) *node {
	if f.lo == f.hi {
		return f.inner
	}
	if f.least(b) == never {
		return b.fail
	}
	return b.ruled(f)
}

// after returns the rest after a byte, which leads to a part of the words.
func (f exceptFrom) after(b *builder, c byte) exceptFrom {
	g := exceptFrom{r: f.r, inner: b.derive(f.inner, c), k: f.k + 1}
	g.lo = f.lo + sortedFrom(f.r.words[f.lo:f.hi], f.k, int(c))
	g.hi = f.lo + sortedFrom(f.r.words[f.lo:f.hi], f.k, int(c)+1)
	return g
}

// along is the same for the words only.
func (f exceptFrom) along(c byte) exceptFrom {
	words := f.r.words[f.lo:f.hi]
	return exceptFrom{r: f.r, inner: f.inner, lo: f.lo + sortedFrom(words, f.k, int(c)), hi: f.lo + sortedFrom(words, f.k, int(c)+1), k: f.k + 1}
}

// sortedFrom counts the words whose byte k is below c; a word that ends there comes
// first.
func sortedFrom(words []string, k, c int) int {
	n, _ := slices.BinarySearchFunc(words, c, func(w string, c int) int {
		if k >= len(w) {
			return -1
		}
		return int(w[k]) - c
	})
	return n
}

// ends reports whether what was written is a word itself.
func (f exceptFrom) ends() bool { return len(f.r.words[f.lo]) == f.k }

// letters are the bytes that some word goes on with.
func (f exceptFrom) letters() []byte {
	var list []byte
	for _, w := range f.r.words[f.lo:f.hi] {
		if f.k < len(w) && (len(list) == 0 || list[len(list)-1] != w[f.k]) {
			list = append(list, w[f.k])
		}
	}
	return list
}

// least returns the length of the shortest rest: the set's own where that is no
// word, else the shortest over the first bytes.
func (f exceptFrom) least(b *builder) int {
	if n, ok := f.r.known[f]; ok {
		return n
	}
	n := never
	if f.inner.min == 0 && !f.ends() {
		n = 0
	} else {
		s := b.stepsOf(f.inner)
		letters := f.letters()
		for c := range 256 {
			next := s.after(byte(c))
			if next == nil || next.min+1 >= n {
				continue
			}
			if slices.Contains(letters, byte(c)) {
				n = min(n, plus(1, f.after(b, byte(c)).leastOrInner(b)))
			} else {
				n = min(n, plus(1, next.min))
			}
		}
	}
	f.r.known[f] = n
	return n
}

func (f exceptFrom) leastOrInner(b *builder) int {
	if f.lo == f.hi {
		return f.inner.min
	}
	return f.least(b)
}

func (f exceptFrom) expand(b *builder) *node {
	var list []*node
	if f.inner.min == 0 && !f.ends() {
		list = append(list, b.empty)
	}
	s := b.stepsOf(f.inner)
	letters := f.letters()
	for _, c := range letters {
		if s.after(c) != nil {
			list = append(list, b.pair(b.byteIn(c, c), b.exceptNode(f.after(b, c))))
		}
	}
	for c := 0; c < 256; c++ {
		next := s.after(byte(c))
		if next == nil || slices.Contains(letters, byte(c)) {
			continue
		}
		from := c
		for c < 255 && s.after(byte(c+1)) == next && !slices.Contains(letters, byte(c+1)) {
			c++
		}
		list = append(list, b.pair(b.byteIn(byte(from), byte(c)), next))
	}
	return b.alt(list...)
}

func (f exceptFrom) shortest() int  { return f.r.known[f] }
func (f exceptFrom) isQuoted() bool { return f.inner.quoted }

// anyInner reports whether the set is that of all strings.
func (f exceptFrom) anyInner() bool {
	from, ok := f.inner.rule.(stringFrom)
	return ok && from.s.of == nil
}

// parts names letters of ASCII: which one the shortest rest begins with depends on
// what the words leave.
func (f exceptFrom) parts() []*node {
	list := []*node{f.inner}
	last := byte('?')
	if !f.anyInner() {
		last = '~'
	}
	for c := byte(' '); c <= last; c++ {
		list = append(list, &node{op: opByte, lo: c, hi: c})
	}
	for _, w := range f.r.words {
		list = append(list, &node{op: opText, text: w})
	}
	return list
}
