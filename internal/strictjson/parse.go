// Package strictjson reads JSON (RFC 8259) and keeps what encoding/json loses: the
// order of keys, numbers as they are written, and where each value stands. It
// refuses what encoding/json changes or drops without a word: a key given twice,
// bytes that are not UTF-8, half a surrogate pair, and nesting without end.
//
// encoding/json/jsontext would do a part of this; with Go 1.26 it exists only in
// programs built with GOEXPERIMENT=jsonv2, which a library cannot ask for.
package strictjson

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Position returns the line of an offset, from 1, and its byte in that line, from
// 1.
func Position(text []byte, offset int) (line, column int) {
	before := text[:offset]
	return 1 + bytes.Count(before, []byte("\n")), offset - bytes.LastIndexByte(before, '\n')
}

// Parse reads text, from offset on, as one value with at most depth arrays and
// objects within one another. Where it can read on after a fault it does. Where
// it cannot, complete is false and root holds what came before.
func Parse(text []byte, offset, depth int) (root Value, faults []Fault, complete bool) {
	p := parser{data: text, pos: offset, most: depth}
	p.space()
	if p.pos == len(text) {
		p.report(p.pos, Syntax, "the file is empty")
		return Value{}, p.faults, false
	}
	root, complete = p.value()
	if !complete {
		return root, p.faults, false
	}
	p.space()
	if p.pos < len(text) {
		p.report(p.pos, Syntax, "%s after the top-level value", Name(text[p.pos:]))
		return root, p.faults, false
	}
	return root, p.faults, true
}

// parser reads in one pass. Its methods with a boolean result return false,
// after a report, where reading cannot go on.
type parser struct {
	data   []byte
	pos    int
	path   Path
	depth  int
	most   int // of depth
	faults []Fault
}

func (p *parser) report(offset int, cause Cause, format string, args ...any) {
	p.faults = append(p.faults, Fault{offset, slices.Clone(p.path), cause, fmt.Sprintf(format, args...)})
}

func (p *parser) unexpected(want string) bool {
	if p.pos == len(p.data) {
		p.path = nil // the end of the file belongs to no record
		p.report(p.pos, Syntax, "unexpected end of input, want %s", want)
		return false
	}
	p.report(p.pos, Syntax, "unexpected %s, want %s", Name(p.data[p.pos:]), want)
	return false
}

// Name names the first character of a text as people know it.
func Name(text []byte) string {
	r, size := utf8.DecodeRune(text)
	switch {
	case r == utf8.RuneError && size == 1:
		return fmt.Sprintf("byte 0x%02x", text[0])
	case r == '\ufeff':
		return "byte order mark (U+FEFF)"
	case r == '\u00a0':
		return "no-break space (U+00A0)"
	case r == 0:
		return "NUL byte"
	case strings.ContainsRune("\u201c\u201d\u201e\u2018\u2019", r):
		return fmt.Sprintf("curly quote (%U)", r)
	}
	return fmt.Sprintf("%q", r)
}

// peek returns the next byte, 0 at the end.
func (p *parser) peek() byte {
	if p.pos == len(p.data) {
		return 0
	}
	return p.data[p.pos]
}

func (p *parser) space() {
	for strings.IndexByte(" \t\r\n", p.peek()) >= 0 {
		p.pos++
	}
}

// next skips blanks and then c, if c is what follows.
func (p *parser) next(c byte) bool {
	p.space()
	if p.pos < len(p.data) && p.data[p.pos] == c {
		p.pos++
		return true
	}
	return false
}

func (p *parser) value() (Value, bool) {
	p.space()
	v := Value{Offset: p.pos}
	ok := true
	switch c := p.peek(); {
	case c == '{', c == '[':
		if p.depth == p.most {
			p.report(p.pos, Depth, "more than %d arrays and objects within one another", p.most)
			return v, false
		}
		p.depth++
		p.pos++
		if c == '{' {
			v.Kind = Object
			ok = p.object(&v)
		} else {
			v.Kind = Array
			ok = p.array(&v)
		}
		p.depth--
	case c == '"':
		v.Kind = String
		v.Text, ok = p.quoted()
	default:
		ok = p.bare(&v)
	}
	v.End = p.pos
	return v, ok
}

// object reads on after the opening brace.
func (p *parser) object(v *Value) bool {
	if p.next('}') {
		return true
	}
	seen := map[string]bool{}
	for {
		p.space()
		if p.peek() != '"' {
			return p.unexpected("a key in double quotes")
		}
		at := p.pos
		key, ok := p.quoted()
		if !ok {
			return false
		}
		p.path = append(p.path, Step{Key: key})
		if seen[key] {
			p.report(at, DuplicateKey, "key given twice")
		}
		seen[key] = true
		if !p.next(':') {
			return p.unexpected("':'")
		}
		field, ok := p.value()
		v.Members = append(v.Members, Member{key, at, field})
		if !ok {
			return false
		}
		p.path = p.path[:len(p.path)-1]
		if p.next('}') {
			return true
		}
		if !p.next(',') {
			return p.unexpected("',' or '}'")
		}
	}
}

// array reads on after the opening bracket.
func (p *parser) array(v *Value) bool {
	if p.next(']') {
		return true
	}
	for {
		p.path = append(p.path, Step{Index: len(v.Items), IsIndex: true})
		item, ok := p.value()
		v.Items = append(v.Items, item)
		if !ok {
			return false
		}
		p.path = p.path[:len(p.path)-1]
		if p.next(']') {
			return true
		}
		if !p.next(',') {
			return p.unexpected("',' or ']'")
		}
	}
}

// quoted reads a string. Bytes that are not UTF-8 are reported once.
func (p *parser) quoted() (string, bool) {
	p.pos++
	var b []byte
	valid := true
	for p.pos < len(p.data) {
		c := p.data[p.pos]
		switch {
		case c == '"':
			p.pos++
			return string(b), true
		case c == '\\':
			r, ok := p.escape()
			if !ok {
				return "", false
			}
			b = utf8.AppendRune(b, r)
		case c < ' ':
			return "", p.unexpected(fmt.Sprintf(`it written as \u%04x within a string`, c))
		default:
			r, size := utf8.DecodeRune(p.data[p.pos:])
			if r == utf8.RuneError && size == 1 && valid {
				valid = false
				p.report(p.pos, UTF8, "invalid UTF-8: byte 0x%02x", c)
			}
			b = append(b, p.data[p.pos:p.pos+size]...)
			p.pos += size
		}
	}
	return "", p.unexpected("the end of a string")
}

// escape reads a backslash and what follows it.
func (p *parser) escape() (rune, bool) {
	at := p.pos
	p.pos++
	const letters, characters = `"\/bfnrt`, "\"\\/\b\f\n\r\t"
	if i := strings.IndexByte(letters, p.peek()); i >= 0 {
		p.pos++
		return rune(characters[i]), true
	}
	if p.peek() != 'u' {
		return 0, p.unexpected(`one of ` + letters + `u after \`)
	}
	unit, ok := p.unit()
	if !ok {
		digits := p.data[p.pos+1:]
		p.pos = len(p.data) - len(bytes.TrimLeft(digits, "0123456789abcdefABCDEF")) // the first that is none
		return 0, p.unexpected(`four hexadecimal digits after \u`)
	}
	if !utf16.IsSurrogate(unit) {
		return unit, true
	}
	if p.peek() == '\\' {
		second := *p
		second.pos++
		if low, ok := second.unit(); ok && utf16.DecodeRune(unit, low) != utf8.RuneError {
			p.pos = second.pos
			return utf16.DecodeRune(unit, low), true
		}
	}
	p.report(at, UTF8, `\u%04x is half a surrogate pair, no character`, unit)
	return utf8.RuneError, true
}

// unit reads a u and four hexadecimal digits.
func (p *parser) unit() (rune, bool) {
	if p.peek() != 'u' || p.pos+5 > len(p.data) {
		return 0, false
	}
	n, err := strconv.ParseUint(string(p.data[p.pos+1:p.pos+5]), 16, 16)
	if err != nil {
		return 0, false
	}
	p.pos += 5
	return rune(n), true
}

// bare reads a number, true, false or null. NaN and the infinities, which some
// writers put, are reported and taken for null.
func (p *parser) bare(v *Value) bool {
	rest := p.data[p.pos:]
	for _, w := range []struct {
		text string
		kind Kind
	}{
		{"null", Null}, {"true", Boolean}, {"false", Boolean},
		{"NaN", ""}, {"Infinity", ""}, {"-Infinity", ""},
	} {
		if !bytes.HasPrefix(rest, []byte(w.text)) {
			continue
		}
		v.Kind, v.Text = w.kind, w.text
		if w.kind == "" {
			v.Kind, v.Text = Null, "null"
			p.report(p.pos, Syntax, "%s is not JSON", w.text)
		}
		p.pos += len(w.text)
		return true
	}
	if c := p.peek(); c != '-' && !isDigit(c) {
		for _, word := range []string{"null", "true", "false"} {
			if len(rest) > 0 && strings.HasPrefix(word, string(rest)) {
				p.pos = len(p.data) // cut off, and not wrong
			}
		}
		return p.unexpected("a value")
	}
	v.Kind = Number
	ok := p.number()
	v.Text = string(p.data[v.Offset:p.pos])
	return ok
}

func (p *parser) number() bool {
	if p.peek() == '-' {
		p.pos++
	}
	if p.peek() == '0' {
		p.pos++
	} else if !p.digits() {
		return false
	}
	if p.peek() == '.' {
		p.pos++
		if !p.digits() {
			return false
		}
	}
	if c := p.peek(); c == 'e' || c == 'E' {
		p.pos++
		if c := p.peek(); c == '+' || c == '-' {
			p.pos++
		}
		return p.digits()
	}
	return true
}

// digits reads one digit or more.
func (p *parser) digits() bool {
	if !isDigit(p.peek()) {
		return p.unexpected("a digit")
	}
	for isDigit(p.peek()) {
		p.pos++
	}
	return true
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// InvalidUTF8 returns the offset of the first byte of s that is not UTF-8, or -1.
func InvalidUTF8(s string) int {
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
	return -1
}
