package evalx

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Limits of [Parse]. They bound the time and memory that an answer can cost
// here and in later arithmetic, far beyond what an answer is for.
const (
	// MaxDepth is how many arrays and objects may be open at once.
	MaxDepth = 1000
	// MaxNumberLen is the length of a number in bytes.
	MaxNumberLen = 1000
	// MaxExponent is the absolute value of a number's exponent.
	MaxExponent = 9999
)

// Causes of a [ParseError].
var (
	// ErrEmpty: there is nothing but white space.
	ErrEmpty = errors.New("empty answer")
	// ErrSyntax: a character stands where JSON does not allow it.
	ErrSyntax = errors.New("syntax error")
	// ErrTruncated: the answer ends before its value does, as it does when
	// generation runs into its token limit.
	ErrTruncated = errors.New("answer ends too early")
	// ErrTrailing: a complete value is followed by further text.
	ErrTrailing = errors.New("text after the value")
	// ErrDuplicateKey: an object has a key twice. JSON leaves open which one
	// counts, and readers differ.
	ErrDuplicateKey = errors.New("duplicate key")
	// ErrDepth: nesting beyond MaxDepth.
	ErrDepth = errors.New("nested too deep")
	// ErrUTF8: bytes that are not UTF-8, or an escaped half of a surrogate pair,
	// which no UTF-8 text can hold.
	ErrUTF8 = errors.New("invalid UTF-8")
	// ErrNumber: NaN, Infinity, a number in a form JSON does not have (+1, .5,
	// 01, 1.), or one beyond MaxNumberLen or MaxExponent.
	ErrNumber = errors.New("bad number")
	// ErrNoObject: Extract finds no { with a } after it.
	ErrNoObject = errors.New("no object in braces")
)

// A ParseError says where and why an answer cannot be read.
type ParseError struct {
	Offset int   // bytes before the fault, from the start of the answer
	Line   int   // 1 for the first; lines end with "\n"
	Column int   // 1 for the first character (code point) of the line
	Err    error // wraps one of the causes above
}

// Error returns the place and the cause.
func (e *ParseError) Error() string {
	return fmt.Sprintf("evalx: answer, line %d, column %d: %v", e.Line, e.Column, e.Err)
}

// Unwrap returns e.Err.
func (e *ParseError) Unwrap() error { return e.Err }

// parseError returns the error for a fault at an offset of answer.
func parseError(answer string, offset int, err error) *ParseError {
	before := answer[:offset]
	line := before[strings.LastIndexByte(before, '\n')+1:]
	return &ParseError{
		Offset: offset,
		Line:   1 + strings.Count(before, "\n"),
		Column: 1 + utf8.RuneCountInString(line),
		Err:    err,
	}
}

// Parse reads an answer that is exactly one JSON value (RFC 8259), with nothing
// around it but the white space of JSON: blanks, tabs, "\n", "\r". Numbers are
// kept as written.
//
// Any other answer is refused with a [*ParseError] for its first fault (bytes
// that are not UTF-8 are looked for first) and a nil value. What Parse accepts,
// encoding/json accepts with the same value.
func Parse(answer string) (Value, error) {
	p := parser{text: answer}
	if i := invalidUTF8(answer); i >= 0 {
		return nil, p.fail(i, "%w: byte 0x%02x", ErrUTF8, answer[i])
	}
	p.skipSpace()
	if p.pos == len(p.text) {
		return nil, p.fail(p.pos, "%w", ErrEmpty)
	}
	value, err := p.value()
	if err != nil {
		return nil, err
	}
	p.skipSpace()
	if p.pos < len(p.text) {
		return nil, p.fail(p.pos, "%w: %s", ErrTrailing, clip(p.text[p.pos:]))
	}
	return value, nil
}

// Extract returns the text from the first { of answer to its last }, both
// included. It is the lenient reading: prose and code fences around an object
// do no harm, while a brace in the prose, or two objects, give text that is no
// JSON. It fails with [ErrNoObject], placed at the first { or, without one, at
// the start.
//
// Extract is not part of [Parse]. A service that passes answers on as they are
// has to be measured without it; a [Task] uses it only if its Read does.
func Extract(answer string) (string, error) {
	start := strings.IndexByte(answer, '{')
	end := strings.LastIndexByte(answer, '}')
	if start < 0 || end < start {
		return "", parseError(answer, max(start, 0), ErrNoObject)
	}
	return answer[start : end+1], nil
}

// invalidUTF8 returns the offset of the first byte that is not UTF-8, or -1.
func invalidUTF8(s string) int {
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
	return -1
}

// parser reads text, which is valid UTF-8, from pos on.
type parser struct {
	text  string
	pos   int
	depth int // open arrays and objects
}

func (p *parser) fail(offset int, format string, args ...any) error {
	return parseError(p.text, offset, fmt.Errorf(format, args...))
}

// unexpected returns the error for whatever stands at pos.
func (p *parser) unexpected(want string) error {
	if p.pos >= len(p.text) {
		return p.fail(len(p.text), "%w: want %s", ErrTruncated, want)
	}
	return p.fail(p.pos, "%w: found %s, want %s", ErrSyntax, clip(p.text[p.pos:]), want)
}

// skipSpace moves to the next byte that is not white space and returns it, or 0
// at the end.
func (p *parser) skipSpace() byte {
	for ; p.pos < len(p.text); p.pos++ {
		switch c := p.text[p.pos]; c {
		case ' ', '\t', '\n', '\r':
		default:
			return c
		}
	}
	return 0
}

func (p *parser) value() (Value, error) {
	switch c := p.skipSpace(); c {
	case '{':
		return p.object()
	case '[':
		return p.array()
	case '"':
		return p.string()
	case 't':
		return p.literal("true", true)
	case 'f':
		return p.literal("false", false)
	case 'n':
		return p.literal("null", nil)
	case '-', '+', '.', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'N', 'I':
		return p.number()
	}
	return nil, p.unexpected("a value")
}

// enter opens an array or object, whose bracket is at pos.
func (p *parser) enter() error {
	if p.depth++; p.depth > MaxDepth {
		return p.fail(p.pos, "%w: more than %d levels", ErrDepth, MaxDepth)
	}
	p.pos++
	return nil
}

// leave closes an array or object after its bracket at pos.
func (p *parser) leave() {
	p.depth--
	p.pos++
}

func (p *parser) object() (Value, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	object := map[string]any{}
	for c := p.skipSpace(); c != '}'; {
		if p.skipSpace() != '"' {
			return nil, p.unexpected("a key in quotes")
		}
		start := p.pos
		key, err := p.string()
		if err != nil {
			return nil, err
		}
		if _, twice := object[key]; twice {
			return nil, p.fail(start, "%w %s", ErrDuplicateKey, clip(key))
		}
		if p.skipSpace() != ':' {
			return nil, p.unexpected(`":"`)
		}
		p.pos++
		if object[key], err = p.value(); err != nil {
			return nil, err
		}
		if c = p.skipSpace(); c == ',' {
			p.pos++
		} else if c != '}' {
			return nil, p.unexpected(`"," or "}"`)
		}
	}
	p.leave()
	return object, nil
}

func (p *parser) array() (Value, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	array := []any{}
	for c := p.skipSpace(); c != ']'; {
		item, err := p.value()
		if err != nil {
			return nil, err
		}
		array = append(array, item)
		if c = p.skipSpace(); c == ',' {
			p.pos++
		} else if c != ']' {
			return nil, p.unexpected(`"," or "]"`)
		}
	}
	p.leave()
	return array, nil
}

func (p *parser) literal(word string, value Value) (Value, error) {
	rest := p.text[p.pos:]
	if strings.HasPrefix(rest, word) {
		p.pos += len(word)
		return value, nil
	}
	if strings.HasPrefix(word, rest) {
		p.pos = len(p.text)
	}
	return nil, p.unexpected(word)
}

func (p *parser) number() (Value, error) {
	rest := p.text[p.pos:]
	for _, word := range []string{"NaN", "Infinity", "-Infinity", "+Infinity"} {
		if strings.HasPrefix(rest, word) {
			return nil, p.fail(p.pos, "%w: JSON has no %s", ErrNumber, word)
		}
	}
	end := strings.IndexFunc(rest, func(r rune) bool { return !strings.ContainsRune("+-.0123456789eE", r) })
	switch end {
	case 0:
		return nil, p.unexpected("a value")
	case -1:
		end = len(rest)
	}
	text := rest[:end]
	if !json.Valid([]byte(text)) {
		if end == len(rest) && json.Valid([]byte(text+"0")) {
			return nil, p.fail(len(p.text), "%w: want a digit", ErrTruncated)
		}
		return nil, p.fail(p.pos, "%w: %s", ErrNumber, clip(text))
	}
	if !inLimits(text) {
		return nil, p.fail(p.pos, "%w: %s is longer than %d bytes or has an exponent beyond %d", ErrNumber, clip(text), MaxNumberLen, MaxExponent)
	}
	p.pos += end
	return json.Number(text), nil
}

// inLimits reports whether a number of JSON's form is within MaxNumberLen and
// MaxExponent.
func inLimits(number string) bool {
	if len(number) > MaxNumberLen {
		return false
	}
	i := strings.IndexAny(number, "eE")
	if i < 0 {
		return true
	}
	exponent, err := strconv.Atoi(number[i+1:])
	return err == nil && -MaxExponent <= exponent && exponent <= MaxExponent
}

// string reads the string whose opening quote is at pos.
func (p *parser) string() (string, error) {
	p.pos++
	start := p.pos // of the part that is taken as it stands
	var b strings.Builder
	for p.pos < len(p.text) {
		switch c := p.text[p.pos]; {
		case c == '"':
			part := p.text[start:p.pos]
			p.pos++
			if b.Len() == 0 {
				return part, nil
			}
			b.WriteString(part)
			return b.String(), nil
		case c == '\\':
			b.WriteString(p.text[start:p.pos])
			r, err := p.escape()
			if err != nil {
				return "", err
			}
			b.WriteRune(r)
			start = p.pos
		case c < ' ':
			return "", p.unexpected("an escape: control characters cannot stand in a string")
		default:
			p.pos++
		}
	}
	return "", p.unexpected("a closing quote")
}

// escape reads the escape whose backslash is at pos.
func (p *parser) escape() (rune, error) {
	start := p.pos
	p.pos++
	if p.pos == len(p.text) {
		return 0, p.unexpected("an escape")
	}
	c := p.text[p.pos]
	if c != 'u' {
		i := strings.IndexByte(`"\/bfnrt`, c)
		if i < 0 {
			return 0, p.unexpected(`one of "\/bfnrtu after the backslash`)
		}
		p.pos++
		return rune("\"\\/\b\f\n\r\t"[i]), nil
	}
	r, err := p.hex()
	if err != nil || !utf16.IsSurrogate(r) {
		return r, err
	}
	if strings.HasPrefix(p.text[p.pos:], `\u`) {
		p.pos++
		low, err := p.hex()
		if err != nil {
			return 0, err
		}
		if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
			return pair, nil
		}
	}
	return 0, p.fail(start, "%w: %s is half of a surrogate pair", ErrUTF8, p.text[start:start+6])
}

// hex reads the u at pos and its four digits.
func (p *parser) hex() (rune, error) {
	p.pos++
	var r rune
	for range 4 {
		digit := -1
		if p.pos < len(p.text) {
			digit = strings.IndexByte("0123456789abcdefABCDEF", p.text[p.pos])
		}
		if digit < 0 {
			return 0, p.unexpected("four hexadecimal digits")
		}
		if digit > 15 {
			digit -= 6 // upper case
		}
		r = r<<4 | rune(digit)
		p.pos++
	}
	return r, nil
}

// clip quotes the beginning of a text for an error message.
func clip(s string) string {
	const most = 24 // characters
	n := 0
	for i := range s {
		if n == most {
			return strconv.QuoteToGraphic(s[:i]) + "..."
		}
		n++
	}
	return strconv.QuoteToGraphic(s)
}
