package tokenizerjson

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/impulse-salamandra/finetune/internal/strictjson"
)

// scanner reads JSON from front to back. It exists for speed: a vocabulary of
// 256,000 pieces is 12 MB of JSON, of which a tree would take ten times the
// memory; all else is left to package strictjson.
type scanner struct {
	data []byte
	pos  int
}

func (s *scanner) want(what string) error {
	line, column := strictjson.Position(s.data, s.pos)
	return fmt.Errorf("line %d, column %d: want %s", line, column, what)
}

// peek skips white space and returns the next byte, 0 at the end.
func (s *scanner) peek() byte {
	for s.pos < len(s.data) {
		switch c := s.data[s.pos]; c {
		case ' ', '\n', '\t', '\r':
			s.pos++
		default:
			return c
		}
	}
	return 0
}

// accept skips white space and then c, if c comes next.
func (s *scanner) accept(c byte) bool {
	if s.peek() != c {
		return false
	}
	s.pos++
	return true
}

// object calls member for each key, with the position before the value, which
// member must read. The key is overwritten by the next one.
func (s *scanner) object(member func(key []byte) error) error {
	if !s.accept('{') {
		return s.want("an object")
	}
	var key []byte
	for n := 0; !s.accept('}'); n++ {
		if n > 0 && !s.accept(',') {
			return s.want("a comma or the object's end")
		}
		var err error
		if key, err = s.str(key[:0]); err != nil {
			return err
		}
		if !s.accept(':') {
			return s.want("a colon")
		}
		if err := member(key); err != nil {
			return err
		}
	}
	return nil
}

// array calls element for each index, with the position before the element,
// which element must read.
func (s *scanner) array(element func(i int) error) error {
	if !s.accept('[') {
		return s.want("an array")
	}
	for i := 0; !s.accept(']'); i++ {
		if i > 0 && !s.accept(',') {
			return s.want("a comma or the array's end")
		}
		if err := element(i); err != nil {
			return err
		}
	}
	return nil
}

// raw returns the next value as it is written.
func (s *scanner) raw() ([]byte, error) {
	s.peek()
	start, depth := s.pos, 0
	for s.pos < len(s.data) {
		switch c := s.data[s.pos]; c {
		case '"':
			if err := s.skipString(); err != nil {
				return nil, err
			}
			continue
		case '{', '[':
			depth++
		case '}', ']', ',':
			if depth == 0 {
				return s.checked(start)
			}
			if c != ',' {
				depth--
			}
		}
		s.pos++
	}
	return s.checked(start)
}

func (s *scanner) checked(start int) ([]byte, error) {
	value := s.data[start:s.pos]
	if !json.Valid(value) {
		s.pos = start
		return nil, s.want("a JSON value")
	}
	return value, nil
}

func (s *scanner) skipString() error {
	for s.pos++; s.pos < len(s.data); s.pos++ {
		switch s.data[s.pos] {
		case '\\':
			s.pos++
		case '"':
			s.pos++
			return nil
		}
	}
	return s.want("a closing quote")
}

// integer reads an integer of at most 32 bits.
func (s *scanner) integer() (int32, error) {
	s.peek()
	end := s.pos
	for end < len(s.data) && bytes.IndexByte([]byte("+-.0123456789eE"), s.data[end]) >= 0 {
		end++
	}
	n, err := strconv.ParseInt(string(s.data[s.pos:end]), 10, 32)
	if err != nil {
		return 0, s.want("an integer below 2^31")
	}
	s.pos = end
	return int32(n), nil
}

// str reads a string and appends its text to dst.
func (s *scanner) str(dst []byte) ([]byte, error) {
	if !s.accept('"') {
		return dst, s.want("a string")
	}
	start := s.pos
	for s.pos < len(s.data) {
		switch c := s.data[s.pos]; {
		case c == '"':
			dst = append(dst, s.data[start:s.pos]...)
			s.pos++
			return dst, nil
		case c == '\\':
			dst = append(dst, s.data[start:s.pos]...)
			s.pos++
			r, ok := s.escape()
			if !ok {
				return dst, s.want("an escape sequence")
			}
			dst = utf8.AppendRune(dst, r)
			start = s.pos
		case c < ' ':
			return dst, s.want("no control character in a string")
		default:
			s.pos++
		}
	}
	return dst, s.want("a closing quote")
}

// escape reads what follows a backslash.
func (s *scanner) escape() (rune, bool) {
	if s.pos == len(s.data) {
		return 0, false
	}
	c := s.data[s.pos]
	s.pos++
	switch c {
	case '"', '\\', '/':
		return rune(c), true
	case 'b':
		return '\b', true
	case 'f':
		return '\f', true
	case 'n':
		return '\n', true
	case 'r':
		return '\r', true
	case 't':
		return '\t', true
	case 'u':
		r, ok := s.hex4()
		if !ok || !utf16.IsSurrogate(r) {
			return r, ok
		}
		if !bytes.HasPrefix(s.data[s.pos:], []byte(`\u`)) {
			return 0, false
		}
		s.pos += 2
		low, ok := s.hex4()
		r = utf16.DecodeRune(r, low)
		return r, ok && r != utf8.RuneError
	}
	return 0, false
}

func (s *scanner) hex4() (rune, bool) {
	if len(s.data)-s.pos < 4 {
		return 0, false
	}
	n, err := strconv.ParseUint(string(s.data[s.pos:s.pos+4]), 16, 16)
	s.pos += 4
	return rune(n), err == nil
}
