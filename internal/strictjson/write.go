package strictjson

import (
	"bytes"
	"fmt"
	"strings"
)

// Layout is how a value is written, as by json.dumps of Python with these
// settings: Indent spaces per level, 0 for one line, ItemSeparator between items
// and members, of which trailing blanks are left out before a line break, and
// KeySeparator behind a key.
type Layout struct {
	Indent                      int
	ItemSeparator, KeySeparator string
}

// Append appends v in a layout, without a line feed at the end. Numbers are
// written as they were read.
func Append(dst []byte, v *Value, l Layout) []byte { return l.append(dst, v, 0) }

func (l Layout) append(dst []byte, v *Value, level int) []byte {
	switch v.Kind {
	case String:
		return AppendString(dst, v.Text)
	case Array:
		return l.list(dst, "[]", len(v.Items), level, func(dst []byte, i int) []byte {
			return l.append(dst, &v.Items[i], level+1)
		})
	case Object:
		return l.list(dst, "{}", len(v.Members), level, func(dst []byte, i int) []byte {
			dst = append(AppendString(dst, v.Members[i].Key), l.KeySeparator...)
			return l.append(dst, &v.Members[i].Value, level+1)
		})
	}
	return append(dst, v.Text...)
}

// list writes n parts between brackets.
func (l Layout) list(dst []byte, brackets string, n, level int, part func(dst []byte, i int) []byte) []byte {
	separator := l.ItemSeparator
	if l.Indent > 0 {
		separator = strings.TrimRight(separator, " ")
	}
	dst = append(dst, brackets[0])
	for i := range n {
		if i > 0 {
			dst = append(dst, separator...)
		}
		dst = part(l.newLine(dst, level+1), i)
	}
	if n > 0 {
		dst = l.newLine(dst, level)
	}
	return append(dst, brackets[1])
}

func (l Layout) newLine(dst []byte, level int) []byte {
	if l.Indent == 0 {
		return dst
	}
	return append(append(dst, '\n'), strings.Repeat(" ", l.Indent*level)...)
}

// AppendString appends a string in quotes. It differs from encoding/json, which
// also escapes <, >, &, U+2028 and U+2029.
func AppendString(dst []byte, s string) []byte {
	const escaped, letters = "\"\\\n\r\t\b\f", `"\nrtbf`
	dst = append(dst, '"')
	for i := range len(s) {
		c := s[i]
		if at := bytes.IndexByte([]byte(escaped), c); at >= 0 {
			dst = append(dst, '\\', letters[at])
		} else if c < ' ' {
			dst = fmt.Appendf(dst, `\u%04x`, c)
		} else {
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}
