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
	eachSpelling(ranges, func(first, last []byte) {
		if len(first) > 1 && first[0] < utf8.RuneSelf {
			list = append(list, b.literal(string(first)))
			return
		}
		n := b.empty
		for i := len(first) - 1; i >= 0; i-- {
			n = b.pair(b.byteIn(first[i], last[i]), n)
		}
		list = append(list, n)
	})
	return b.alt(list...)
}

// eachSpelling visits how the characters of ranges are written: as strings of equal
// length, of bytes from those of the first to those of the last.
func eachSpelling(ranges []runeRange, visit func(first, last []byte)) {
	var first, last [8]byte
	show := func(n int) { visit(first[:n], last[:n]) }
	for _, r := range ranges {
		for c := r.lo; c <= min(r.hi, 0x7F); c++ {
			if text := escape(c); text != "" {
				copy(first[:], text)
				show(copy(last[:], text))
				continue
			}
			first[0] = byte(c)
			for c < min(r.hi, 0x7F) && escape(c+1) == "" {
				c++
			}
			last[0] = byte(c)
			show(1)
		}
		for _, part := range utf8Parts {
			if lo, hi := max(r.lo, part.lo), min(r.hi, part.hi); lo <= hi {
				utf8Between(lo, hi, func(lo, hi rune) {
					utf8.EncodeRune(first[:], lo)
					show(utf8.EncodeRune(last[:], hi))
				})
			}
		}
	}
}

// utf8Parts are the code points beyond ASCII by the length of their UTF-8, without
// surrogates.
var utf8Parts = []runeRange{{0x80, 0x7FF}, {0x800, 0xD7FF}, {0xE000, 0xFFFF}, {0x10000, 0x10FFFF}}

// leastBytes is the least bytes that one of the characters is written with, never if
// there are none.
func leastBytes(ranges []runeRange) int {
	least := never
	for _, r := range ranges {
		for c := r.lo; c <= min(r.hi, 0x7F) && least > 1; c++ {
			least = min(least, max(len(escape(c)), 1))
		}
		for _, part := range utf8Parts {
			if lo := max(r.lo, part.lo); lo <= min(r.hi, part.hi) {
				least = min(least, utf8.RuneLen(lo))
			}
		}
	}
	return least
}

// markChars marks the bytes that are needed to write the shortest of the characters,
// or to end any of them.
func markChars(ranges []runeRange, bytes *[256]bool) {
	least := leastBytes(ranges)
	eachSpelling(ranges, func(first, _ []byte) {
		for i, c := range first {
			bytes[c] = bytes[c] || i > 0 || len(first) == least
		}
	})
}

// escape returns the canonical escape of an ASCII character, "" if it needs none.
func escape(c rune) string {
	if c < utf8.RuneSelf {
		return escapes[c]
	}
	return ""
}

var escapes = func() (of [utf8.RuneSelf]string) {
	for c := range of {
		of[c] = escapeOf(rune(c))
	}
	return of
}()

func escapeOf(c rune) string {
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

// utf8Between visits the code points from lo to hi, whose UTF-8 has equal length, as
// products of byte ranges.
func utf8Between(lo, hi rune, visit func(first, last rune)) {
	for low := rune(0x3F); low < hi; low = low<<6 | 0x3F {
		if lo|low == hi|low {
			break
		}
		if lo&low != 0 {
			utf8Between(lo, lo|low, visit)
			utf8Between((lo|low)+1, hi, visit)
			return
		}
		if hi&low != low {
			utf8Between(lo, hi&^low-1, visit)
			utf8Between(hi&^low, hi, visit)
			return
		}
	}
	visit(lo, hi)
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
