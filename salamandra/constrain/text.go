package constrain

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"
)

// runeRange is the code points from lo to hi, both included.
type runeRange struct{ lo, hi rune }

// chars returns the characters of the ranges as a canonical JSON string writes
// them: raw UTF-8, with an escape only where JSON demands one. Surrogates are
// left out.
func (b *builder) chars(ranges []runeRange) *node {
	var key []byte
	for _, r := range ranges {
		key = binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(key, uint32(r.lo)), uint32(r.hi))
	}
	n := b.charNodes[string(key)]
	if n == nil {
		n = b.newChars(ranges)
		b.charNodes[string(key)] = n
	}
	return n
}

func (b *builder) newChars(ranges []runeRange) *node {
	var list []*node
	for _, r := range ranges {
		for c := r.lo; c <= min(r.hi, 0x7F); c++ {
			if text := escape(c); text != "" {
				list = append(list, b.literal(text))
				continue
			}
			from := c
			for c < min(r.hi, 0x7F) && escape(c+1) == "" {
				c++
			}
			list = append(list, b.byteIn(byte(from), byte(c)))
		}
		for _, part := range []runeRange{{0x80, 0x7FF}, {0x800, 0xD7FF}, {0xE000, 0xFFFF}, {0x10000, 0x10FFFF}} {
			if lo, hi := max(r.lo, part.lo), min(r.hi, part.hi); lo <= hi {
				list = b.utf8Between(list, lo, hi)
			}
		}
	}
	return b.alt(list...)
}

// escape returns the canonical escape of an ASCII character, "" if it needs none.
func escape(c rune) string {
	switch c {
	case '"':
		return `\"`
	case '\\':
		return `\\`
	case '\n':
		return `\n`
	case '\r':
		return `\r`
	case '\t':
		return `\t`
	case '\b':
		return `\b`
	case '\f':
		return `\f`
	}
	if c < 0x20 {
		return fmt.Sprintf(`\u%04x`, c)
	}
	return ""
}

// utf8Between appends the code points from lo to hi, whose UTF-8 has equal
// length, as products of byte ranges.
func (b *builder) utf8Between(list []*node, lo, hi rune) []*node {
	for low := rune(0x3F); low < hi; low = low<<6 | 0x3F {
		if lo|low == hi|low {
			break
		}
		if lo&low != 0 {
			list = b.utf8Between(list, lo, lo|low)
			return b.utf8Between(list, (lo|low)+1, hi)
		}
		if hi&low != low {
			list = b.utf8Between(list, lo, hi&^low-1)
			return b.utf8Between(list, hi&^low, hi)
		}
	}
	first, last := utf8.AppendRune(nil, lo), utf8.AppendRune(nil, hi)
	parts := make([]*node, len(first))
	for i := range first {
		parts[i] = b.byteIn(first[i], last[i])
	}
	return append(list, b.seq(parts...))
}

// laid is what a layout puts: a text in which white space is free at the gaps.
func (b *builder) laid(text string) *node {
	parts := strings.Split(text, gap)
	list := []*node{b.literal(parts[0])}
	for _, part := range parts[1:] {
		blanks := b.blanks
		if blanks == nil {
			blanks = b.upToBlanks(b.blank)
			b.blanks = blanks
		}
		list = append(list, blanks, b.literal(part))
	}
	return b.seq(list...)
}

// upToBlanks is white space of JSON, up to n bytes.
func (b *builder) upToBlanks(n int) *node {
	if n == 0 {
		return b.empty
	}
	one := b.alt(b.byteIn(' ', ' '), b.byteIn('\t', '\n'), b.byteIn('\r', '\r'))
	return b.alt(b.empty, b.pair(one, b.upToBlanks(n-1)))
}

// unbounded is the maxLength of a string without one.
const unbounded = math.MaxInt32
