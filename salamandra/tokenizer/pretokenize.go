package tokenizer

import (
	"bytes"
	"slices"
	"unicode"
	"unicode/utf8"

	"github.com/impulse-salamandra/finetune/internal/strictjson"
)

// words is a text cut into words: ends are the offsets where they end, in
// ascending order, the last one len(text). No word is empty.
type words struct {
	text []byte
	ends []int
}

// cut ends a word at the end of the text so far.
func (w *words) cut() {
	n := len(w.ends)
	if len(w.text) > 0 && (n == 0 || w.ends[n-1] < len(w.text)) {
		w.ends = append(w.ends, len(w.text))
	}
}

func (w *words) reset() {
	w.text, w.ends = w.text[:0], w.ends[:0]
}

// preTokenizer cuts a word into smaller ones and may rewrite it.
type preTokenizer interface {
	// split appends the parts of word, which is not empty, to dst. first says
	// whether word begins the sequence.
	split(dst *words, word []byte, first bool)
}

// metaspace writes spaces as another character, often U+2581, and may cut
// before each of them.
type metaspace struct {
	replacement string // one character
	scheme      string // where to put a space before a word: first, always or never
	cuts        bool
}

func (m metaspace) split(dst *words, word []byte, first bool) {
	begin := len(dst.text)
	if m.scheme == "always" || m.scheme == "first" && first {
		if word[0] != ' ' && !bytes.HasPrefix(word, []byte(m.replacement)) {
			dst.text = append(dst.text, m.replacement...)
		}
	}
	dst.text = replace{[]byte(" "), []byte(m.replacement)}.normalize(dst.text, word)
	if m.cuts {
		for i := begin + 1; i < len(dst.text); i++ {
			if bytes.HasPrefix(dst.text[i:], []byte(m.replacement)) {
				dst.ends = append(dst.ends, i)
			}
		}
	}
	dst.cut()
}

// digits sets numeric characters apart, each by itself or in runs.
type digits struct {
	individual bool
}

func (d digits) split(dst *words, word []byte, _ bool) {
	inNumber := false
	for len(word) > 0 {
		r, size := utf8.DecodeRune(word)
		if number := unicode.IsNumber(r); number != inNumber || number && d.individual {
			dst.cut()
			inNumber = number
		}
		dst.text = append(dst.text, word[:size]...)
		word = word[size:]
	}
	dst.cut()
}

// byteLevel writes each byte as a printable character (see byteRune) and may
// cut by GPT-2's rules.
type byteLevel struct {
	prefixSpace bool
	cuts        bool
}

func (b byteLevel) split(dst *words, word []byte, _ bool) {
	if b.prefixSpace && word[0] != ' ' {
		word = append([]byte(" "), word...)
	}
	for len(word) > 0 {
		n := len(word)
		if b.cuts {
			n = gpt2Word(word)
		}
		for _, c := range word[:n] {
			dst.text = utf8.AppendRune(dst.text, byteRune(c))
		}
		dst.cut()
		word = word[n:]
	}
}

// gpt2Word returns the length of the word that text, which is not empty,
// begins with. GPT-2's rules, in order of preference:
//
//	's 't 're 've 'm 'll 'd
//	letters, or numbers, or other characters but white space; each with at
//	most one space before them
//	white space: all of it at the end of the text, otherwise all but its last
//	character, if that leaves any
func gpt2Word(text []byte) int {
	if text[0] == '\'' && len(text) > 1 {
		switch text[1] {
		case 's', 't', 'm', 'd':
			return 2
		}
		if len(text) > 2 {
			switch string(text[1:3]) {
			case "re", "ve", "ll":
				return 3
			}
		}
	}
	body := text
	if text[0] == ' ' {
		body = text[1:]
	}
	space := len(text) - len(body)
	r, _ := utf8.DecodeRune(body)
	switch {
	case len(body) == 0:
		return space
	case unicode.IsLetter(r):
		return space + runLength(body, unicode.IsLetter)
	case unicode.IsNumber(r):
		return space + runLength(body, unicode.IsNumber)
	case !unicode.IsSpace(r):
		return space + runLength(body, func(r rune) bool {
			return !unicode.IsLetter(r) && !unicode.IsNumber(r) && !unicode.IsSpace(r)
		})
	}
	n := runLength(text, unicode.IsSpace)
	_, last := utf8.DecodeLastRune(text[:n])
	if n < len(text) && n > last {
		n -= last
	}
	return n
}

// runLength returns the number of leading bytes of text whose characters have
// the property.
func runLength(text []byte, property func(rune) bool) int {
	n := 0
	for n < len(text) {
		r, size := utf8.DecodeRune(text[n:])
		if !property(r) {
			break
		}
		n += size
	}
	return n
}

// byteRune returns the character that stands for a byte in ByteLevel pieces.
// Printable bytes of Latin-1 stand for themselves; the other 68, in order,
// are U+0100 and up.
func byteRune(b byte) rune {
	switch {
	case b <= ' ':
		return 0x100 + rune(b)
	case b < 0x7f:
		return rune(b)
	case b <= 0xa0:
		return 0x121 + rune(b-0x7f)
	case b == 0xad:
		return 0x143
	}
	return rune(b)
}

// runeByte is the inverse of byteRune. It reports false for a character that
// stands for no byte.
func runeByte(r rune) (byte, bool) {
	switch {
	case r >= 0x100 && r <= 0x120:
		return byte(r - 0x100), true
	case r >= 0x121 && r <= 0x142:
		return byte(r - 0x121 + 0x7f), true
	case r == 0x143:
		return 0xad, true
	}
	return byte(r), r > ' ' && r < 0x100 && byteRune(byte(r)) == r
}

// parsePreTokenizers reads the section "pre_tokenizer".
func parsePreTokenizers(f *strictjson.Fields) []preTokenizer {
	var list []preTokenizer
	components(f, "pre_tokenizer", "pretokenizers", func(kind string, f *strictjson.Fields) bool {
		switch kind {
		case "Metaspace":
			list = append(list, metaspaceOptions(f))
		case "Digits":
			list = append(list, digits{individual: flag(f, "individual_digits")})
		case "ByteLevel":
			list = append(list, byteLevelOptions(f))
		default:
			return false
		}
		return true
	})
	return list
}

// metaspaceOptions reads the options of Metaspace, which is a pre-tokenizer
// and a decoder. Old files have add_prefix_space for prepend_scheme, and in
// str_rep a copy of replacement.
func metaspaceOptions(f *strictjson.Fields) metaspace {
	m := metaspace{replacement: char(f, "replacement"), scheme: f.String("prepend_scheme", "always"), cuts: f.Bool("split", true)}
	f.String("str_rep", "")
	prefix := f.Bool("add_prefix_space", true)
	if !slices.Contains([]string{"first", "always", "never"}, m.scheme) {
		f.Fault("prepend_scheme", nil, "%q, want first, always or never", m.scheme)
	} else if !prefix && m.scheme != "never" {
		f.Fault("add_prefix_space", nil, "false, but prepend_scheme is %q", m.scheme)
	}
	return m
}

// byteLevelOptions reads the options of ByteLevel, which is a pre-tokenizer, a
// decoder and a post-processor. trim_offsets has no effect on ids.
func byteLevelOptions(f *strictjson.Fields) byteLevel {
	flag(f, "trim_offsets")
	return byteLevel{prefixSpace: flag(f, "add_prefix_space"), cuts: f.Bool("use_regex", true)}
}
