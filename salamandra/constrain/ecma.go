package constrain

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Classes of ECMA-262 that Go's regexp package understands otherwise, as the
// inside of a class of that package. Source: ECMA-262, WhiteSpace and
// LineTerminator.
const (
	ecmaSpace    = `\t\n\x0B\f\r \x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000}\x{FEFF}`
	ecmaNotSpace = `\x{0}-\x{8}\x{E}-\x{1F}\x{21}-\x{9F}\x{A1}-\x{167F}\x{1681}-\x{1FFF}\x{200B}-\x{2027}\x{202A}-\x{202E}` +
		`\x{2030}-\x{205E}\x{2060}-\x{2FFF}\x{3001}-\x{FEFE}\x{FF00}-\x{10FFFF}`
	ecmaDot = `[^\n\r\x{2028}\x{2029}]`
)

// ecma translates a pattern of ECMA-262, which JSON Schema's are, into one of
// Go's regexp package that means the same, with lookarounds as they are. It refuses
// back references, and what the two read differently.
func ecma(text string) (string, error) {
	t := &ecmaReader{rest: text}
	for t.rest != "" {
		if err := t.next(); err != nil {
			return "", err
		}
	}
	if t.inClass {
		return "", fmt.Errorf("a class [ is not closed")
	}
	return t.out.String(), nil
}

// compileECMA is [compilePattern] of a pattern of ECMA-262.
func compileECMA(text string, limit int, late func(work int) bool) (d *dfa, made int, err error) {
	translated, err := ecma(text)
	if err != nil {
		return nil, 0, err
	}
	return compilePattern(translated, limit, late)
}

// ecmaReader translates from the left to the right.
type ecmaReader struct {
	rest    string
	out     strings.Builder
	inClass bool
}

func (t *ecmaReader) take(n int) string {
	text := t.rest[:n]
	t.rest = t.rest[n:]
	return text
}

func (t *ecmaReader) next() error {
	switch c := t.rest[0]; {
	case c == '\\':
		return t.escape()
	case t.inClass && c == ']':
		t.inClass = false
	case t.inClass && c == '[': // POSIX's [:alpha:] to Go, a character to ECMA-262
		t.take(1)
		t.out.WriteString(`\[`)
		return nil
	case t.inClass:
	case c == '[':
		return t.openClass()
	case c == '.':
		t.take(1)
		t.out.WriteString(ecmaDot)
		return nil
	case c == '(':
		return t.group()
	}
	_, n := utf8.DecodeRuneInString(t.rest)
	t.out.WriteString(t.take(n))
	return nil
}

// openClass begins a class; an empty one matches nothing, and its opposite
// everything.
func (t *ecmaReader) openClass() error {
	switch {
	case strings.HasPrefix(t.rest, "[]"):
		t.take(2)
		t.out.WriteString(`[^\x{0}-\x{10FFFF}]`)
	case strings.HasPrefix(t.rest, "[^]"):
		t.take(3)
		t.out.WriteString(`[\x{0}-\x{10FFFF}]`)
	default:
		t.inClass = true
		n := 1
		if strings.HasPrefix(t.rest, "[^") {
			n = 2
		}
		t.out.WriteString(t.take(n))
	}
	return nil
}

// group begins a group, which captures nothing that anybody reads.
func (t *ecmaReader) group() error {
	rest, special := strings.CutPrefix(t.rest, "(?")
	if !special {
		t.take(1)
		t.out.WriteString("(?:")
		return nil
	}
	switch {
	case strings.HasPrefix(rest, ":"):
		t.out.WriteString(t.take(3))
		return nil
	case strings.HasPrefix(rest, "="), strings.HasPrefix(rest, "!"), strings.HasPrefix(rest, "<="), strings.HasPrefix(rest, "<!"):
		t.out.WriteString(t.take(len("(?=")))
		if t.rest != "" && (rest[0] == '<') {
			t.out.WriteString(t.take(1))
		}
		return nil
	case strings.HasPrefix(rest, "<"):
		if i := strings.IndexByte(rest, '>'); i > 1 {
			t.take(2 + i + 1)
			t.out.WriteString("(?:")
			return nil
		}
	}
	return fmt.Errorf("group (?%.2s, which ECMA-262 does not have", rest)
}

// escape translates a backslash and what it stands before.
func (t *ecmaReader) escape() error {
	if len(t.rest) < 2 {
		return fmt.Errorf("a backslash at the end")
	}
	class := func(inside string) {
		t.take(2)
		if t.inClass {
			t.out.WriteString(inside)
		} else {
			t.out.WriteString("[" + inside + "]")
		}
	}
	switch c := t.rest[1]; c {
	case 's':
		class(ecmaSpace)
	case 'S':
		class(ecmaNotSpace)
	case 'd', 'D', 'w', 'W', 't', 'n', 'r', 'f', 'v':
		t.out.WriteString(t.take(2))
	case 'b', 'B':
		if t.inClass && c == 'b' {
			t.take(2)
			t.out.WriteString(`\x08`)
			return nil
		}
		t.out.WriteString(t.take(2))
	case 'p', 'P':
		return t.property()
	case 'u', 'x':
		return t.codePoint()
	case 'c':
		if len(t.rest) < 3 || !isLetter(t.rest[2]) {
			return fmt.Errorf(`\c without a letter`)
		}
		t.out.WriteString(fmt.Sprintf(`\x%02x`, t.rest[2]%32))
		t.take(3)
	case '0':
		if len(t.rest) > 2 && t.rest[2] >= '0' && t.rest[2] <= '9' {
			return fmt.Errorf(`octal escape %.3s`, t.rest)
		}
		t.take(2)
		t.out.WriteString(`\x00`)
	default:
		return t.identity()
	}
	return nil
}

// identity translates an escaped character that stands for itself.
func (t *ecmaReader) identity() error {
	r, n := utf8.DecodeRuneInString(t.rest[1:])
	if r >= '1' && r <= '9' || r == 'k' {
		return fmt.Errorf(`back reference \%c`, r)
	}
	if r < utf8.RuneSelf && isLetter(byte(r)) {
		return fmt.Errorf(`escape \%c, which ECMA-262 does not have`, r)
	}
	t.take(1 + n)
	t.out.WriteString(literalRune(r))
	return nil
}

// property translates \p{...}: general categories are written alike; scripts are
// Go's by name.
func (t *ecmaReader) property() error {
	end := strings.IndexByte(t.rest, '}')
	if !strings.HasPrefix(t.rest[2:], "{") || end < 0 {
		return fmt.Errorf(`%.2s without a name in braces`, t.rest)
	}
	name := t.rest[3:end]
	for _, prefix := range []string{"General_Category=", "gc=", "Script=", "sc="} {
		name = strings.TrimPrefix(name, prefix)
	}
	if long, ok := longCategories[name]; ok {
		name = long
	}
	t.out.WriteString(t.rest[:2] + "{" + name + "}")
	t.take(end + 1)
	return nil
}

var longCategories = map[string]string{
	"Letter": "L", "Lowercase_Letter": "Ll", "Uppercase_Letter": "Lu", "Number": "N", "Decimal_Number": "Nd",
	"Punctuation": "P", "Symbol": "S", "Separator": "Z", "Mark": "M", "Other": "C",
}

// codePoint translates \xHH, \uHHHH, also in pairs of surrogates, and \u{H...}.
func (t *ecmaReader) codePoint() error {
	digits, length := t.rest[2:], 4
	if t.rest[1] == 'x' {
		length = 2
	}
	if inside, ok := strings.CutPrefix(digits, "{"); ok && t.rest[1] == 'u' {
		end := strings.IndexByte(inside, '}')
		if end < 1 {
			return fmt.Errorf(`\u{ without its end`)
		}
		n, err := strconv.ParseUint(inside[:end], 16, 32)
		if err != nil || n > utf8.MaxRune {
			return fmt.Errorf(`\u{%s}, want a code point`, inside[:end])
		}
		t.take(2 + 1 + end + 1)
		t.out.WriteString(literalRune(rune(n)))
		return nil
	}
	r, err := hexRune(digits, length)
	if err != nil {
		return err
	}
	t.take(2 + length)
	if r >= 0xD800 && r <= 0xDBFF && strings.HasPrefix(t.rest, `\u`) {
		if low, err := hexRune(t.rest[2:], 4); err == nil && low >= 0xDC00 && low <= 0xDFFF {
			t.take(6)
			r = 0x10000 + (r-0xD800)<<10 + (low - 0xDC00)
		}
	}
	t.out.WriteString(literalRune(r))
	return nil
}

func hexRune(digits string, length int) (rune, error) {
	if len(digits) < length {
		return 0, fmt.Errorf("escape of fewer than %d hexadecimal digits", length)
	}
	n, err := strconv.ParseUint(digits[:length], 16, 32)
	if err != nil {
		return 0, fmt.Errorf("escape %q, want %d hexadecimal digits", digits[:length], length)
	}
	return rune(n), nil
}

// literalRune writes a character so that Go's package reads it as itself.
func literalRune(r rune) string { return fmt.Sprintf(`\x{%X}`, r) }

func isLetter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }
