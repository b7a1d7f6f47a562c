package impulse

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// MaxDepth is how many arrays and objects may lie within one another in a
// batch file. Records need five; the limit bounds recursion on hostile input.
const MaxDepth = 64

// Kinds of values, by the names JSON Schema gives them.
const (
	kindNull    = "null"
	kindBoolean = "boolean"
	kindNumber  = "number"
	kindString  = "string"
	kindArray   = "array"
	kindObject  = "object"
)

// value is a JSON value that remembers where it stood and how it was written.
type value struct {
	kind    string
	offset  int      // of its first byte in the file
	text    string   // a string's characters; a number, boolean or null as written
	items   []value  // of an array
	members []member // of an object, in file order
}

type member struct {
	key   string
	value value
}

// get returns the value under key. It is nil if there is none, and if v is nil
// or no object.
func (v *value) get(key string) *value {
	if v == nil {
		return nil
	}
	for i := range v.members {
		if v.members[i].key == key {
			return &v.members[i].value
		}
	}
	return nil
}

// string returns a string's characters, "" for anything else.
func (v *value) string() string {
	if v == nil || v.kind != kindString {
		return ""
	}
	return v.text
}

// step is one part of the way from the top of a file to a value: an object's
// key, or an array's index with an empty key.
type step struct {
	key     string
	index   int
	isIndex bool
}

// problem is one thing that parse found wrong.
type problem struct {
	offset  int
	path    []step
	err     error
	message string
}

// parse reads data, from offset on, as one JSON value (RFC 8259). It also
// refuses what would be changed or lost in silence: keys given twice, bytes and
// escapes that are no characters, nesting deeper than [MaxDepth].
//
// Where it can read on after a problem it does. Where it cannot, complete is
// false and root holds what came before.
func parse(data []byte, offset int) (root value, problems []problem, complete bool) {
	p := parser{data: data, pos: offset}
	p.space()
	if p.pos == len(data) {
		p.report(p.pos, ErrSyntax, "the file is empty")
		return value{}, p.problems, false
	}
	root, complete = p.value()
	if !complete {
		return root, p.problems, false
	}
	p.space()
	if p.pos < len(data) {
		p.report(p.pos, ErrSyntax, "data after the top-level value")
		return root, p.problems, false
	}
	return root, p.problems, true
}

// parser reads in one pass. Its methods with a boolean result return false,
// after a report, where reading cannot go on.
type parser struct {
	data     []byte
	pos      int
	path     []step
	depth    int
	problems []problem
}

func (p *parser) report(offset int, err error, format string, args ...any) {
	p.problems = append(p.problems, problem{offset, slices.Clone(p.path), err, fmt.Sprintf(format, args...)})
}

func (p *parser) unexpected(want string) bool {
	if p.pos == len(p.data) {
		p.path = nil // the end of the file belongs to no record
		p.report(p.pos, ErrSyntax, "unexpected end of input, want %s", want)
		return false
	}
	r, _ := utf8.DecodeRune(p.data[p.pos:])
	p.report(p.pos, ErrSyntax, "unexpected %q, want %s", r, want)
	return false
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

func (p *parser) value() (value, bool) {
	p.space()
	v := value{offset: p.pos}
	ok := true
	switch c := p.peek(); {
	case c == '{', c == '[':
		if p.depth == MaxDepth {
			p.report(p.pos, ErrDepth, "more than %d arrays and objects within one another", MaxDepth)
			return v, false
		}
		p.depth++
		p.pos++
		if c == '{' {
			v.kind = kindObject
			ok = p.object(&v)
		} else {
			v.kind = kindArray
			ok = p.array(&v)
		}
		p.depth--
	case c == '"':
		v.kind = kindString
		v.text, ok = p.quoted()
	default:
		ok = p.bare(&v)
	}
	return v, ok
}

// object reads on after the opening brace.
func (p *parser) object(v *value) bool {
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
		p.path = append(p.path, step{key: key})
		if seen[key] {
			p.report(at, ErrDuplicateKey, "key given twice")
		}
		seen[key] = true
		if !p.next(':') {
			return p.unexpected("':'")
		}
		field, ok := p.value()
		v.members = append(v.members, member{key, field})
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
func (p *parser) array(v *value) bool {
	if p.next(']') {
		return true
	}
	for {
		p.path = append(p.path, step{index: len(v.items), isIndex: true})
		item, ok := p.value()
		v.items = append(v.items, item)
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
				p.report(p.pos, ErrUTF8, "invalid UTF-8: byte 0x%02x", c)
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
	p.report(at, ErrUTF8, `\u%04x is half a surrogate pair, no character`, unit)
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
func (p *parser) bare(v *value) bool {
	rest := p.data[p.pos:]
	for _, w := range []struct {
		text string
		kind string
	}{
		{"null", kindNull}, {"true", kindBoolean}, {"false", kindBoolean},
		{"NaN", ""}, {"Infinity", ""}, {"-Infinity", ""},
	} {
		if !bytes.HasPrefix(rest, []byte(w.text)) {
			continue
		}
		v.kind, v.text = w.kind, w.text
		if w.kind == "" {
			v.kind, v.text = kindNull, "null"
			p.report(p.pos, ErrSyntax, "%s is not JSON", w.text)
		}
		p.pos += len(w.text)
		return true
	}
	if c := p.peek(); c != '-' && !isDigit(c) {
		return p.unexpected("a value")
	}
	v.kind = kindNumber
	ok := p.number()
	v.text = string(p.data[v.offset:p.pos])
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
