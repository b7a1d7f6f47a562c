package dataset

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/impulse-salamandra/finetune/internal/strictjson"
)

// maxRecord is the longest record that is read, in bytes (64 MiB).
const maxRecord = 64 << 20

// source cuts an input into the texts of JSON values, as its layout has them:
// one per line, the items of an array, which may be under a key of an object, one
// after the other, or the rows of a table. It looks only at brackets and quotes;
// whether a text is JSON is for its reader to see.
type source struct {
	in     *bufio.Reader
	lists  []string                      // keys under which an object may hold the records
	layout func(*source) ([]byte, error) // nil before the first value

	line, column           int // of the next byte, from 1
	startLine, startColumn int // of the last value
	buffer                 []byte

	items int    // of the array so far
	list  string // the key that it is under
	table *table
	row   *strictjson.Value // in place of a text, of a table
	done  bool
}

func newSource(in io.Reader, lists []string) (*source, error) {
	text, err := decode(in)
	return &source{in: text, lists: lists, line: 1, column: 1}, err
}

// errText marks what is wrong with the text of a value, after which reading can
// go on; other errors are of the input.
type errText struct{ reason string }

func (e errText) Error() string { return e.reason }

func faulty(format string, args ...any) error { return errText{fmt.Sprintf(format, args...)} }

// next returns the next value, which is good until the next call, and sets
// startLine and startColumn, or row. The error is [io.EOF] at the end, an errText
// where reading can go on, else the input's.
func (s *source) next() ([]byte, error) {
	if s.layout == nil {
		if err := s.choose(); err != nil {
			return nil, err
		}
	}
	if s.done {
		return nil, io.EOF
	}
	return s.layout(s)
}

// choose finds the layout. The first line tells arrays from objects, and lines
// from objects that go on over several: these leave brackets open.
func (s *source) choose() error {
	if err := s.blanks(); err != nil {
		return err
	}
	start, err := s.in.Peek(peekSize)
	if err != nil && !errors.Is(err, io.EOF) && len(start) == 0 {
		return err
	}
	if n, key := listStart(start, s.lists); n > 0 {
		s.layout, s.list = (*source).item, key
		return s.skip(n)
	}
	if columns, comma := tableHeader(start); columns != nil {
		s.layout, s.table = (*source).tableRow, newTable(s.in, comma, s.line)
		return s.table.header()
	}
	s.layout = (*source).nextLine
	s.mark()
	line, err := s.read((*source).toLineEnd)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if second, _ := s.in.Peek(1); goesOn(line, string(second)) {
		s.layout = (*source).object
	}
	s.in = bufio.NewReader(io.MultiReader(bytes.NewReader(bytes.Clone(line)), s.in))
	s.line, s.column = s.startLine, s.startColumn
	return nil
}

// listStart returns how many bytes come before the first item of an array of
// records, 0 if the text begins with no such array: its bracket, or an object in
// which it is under one of the keys.
func listStart(start []byte, lists []string) (n int, key string) {
	if bytes.HasPrefix(start, []byte("[")) {
		return 1, ""
	}
	dec := json.NewDecoder(bytes.NewReader(start))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return 0, ""
	}
	for dec.More() {
		t, err := dec.Token()
		key, ok := t.(string)
		if err != nil || !ok {
			return 0, ""
		}
		rest := bytes.TrimLeft(start[dec.InputOffset():], ": \t\r\n")
		if slices.Contains(lists, key) && bytes.HasPrefix(rest, []byte("[")) && holdsObjects(rest) {
			return len(start) - len(rest) + 1, key
		}
		var skipped json.RawMessage
		if dec.Decode(&skipped) != nil {
			return 0, ""
		}
	}
	return 0, ""
}

// holdsObjects reports whether an array begins with an object, or is empty.
func holdsObjects(array []byte) bool {
	rest := bytes.TrimLeft(array[1:], " \t\r\n")
	return len(rest) > 0 && (rest[0] == '{' || rest[0] == ']')
}

// goesOn reports whether an object goes on after its first line, given the first
// character of the second, or the line is merely cut off: then it ends anywhere
// and the next one begins with a brace.
func goesOn(line []byte, second string) bool {
	var n nesting
	for _, c := range line {
		n.add(c)
	}
	end := bytes.TrimRight(line, " \t\r\n")
	betweenParts := !n.quoted && len(end) > 0 && bytes.IndexByte([]byte("{[,"), end[len(end)-1]) >= 0
	return n.depth > 0 && (betweenParts || second != "{")
}

// nesting follows brackets and quotes.
type nesting struct {
	depth          int
	quoted, escape bool
}

func (n *nesting) add(c byte) {
	switch {
	case n.escape:
		n.escape = false
	case n.quoted:
		n.escape, n.quoted = c == '\\', c != '"'
	case c == '"':
		n.quoted = true
	case c == '{' || c == '[':
		n.depth++
	case c == '}' || c == ']':
		n.depth--
	}
}

// byte reads one byte and counts lines.
func (s *source) byte() (byte, error) {
	c, err := s.in.ReadByte()
	if err == nil {
		s.count(c)
	}
	return c, err
}

func (s *source) count(c byte) {
	if s.column++; c == '\n' {
		s.line, s.column = s.line+1, 1
	}
}

// skip reads n bytes.
func (s *source) skip(n int) error {
	for range n {
		if _, err := s.byte(); err != nil {
			return err
		}
	}
	return nil
}

// mark remembers where a value begins.
func (s *source) mark() { s.startLine, s.startColumn = s.line, s.column }

// blanks skips white space.
func (s *source) blanks() error {
	for {
		c, err := s.in.Peek(1)
		if err != nil {
			return err
		}
		if bytes.IndexByte([]byte(" \t\r\n"), c[0]) < 0 {
			return nil
		}
		if _, err := s.byte(); err != nil {
			return err
		}
	}
}

// read collects bytes with a function that adds them to the buffer until it is
// done. What is over the limit is read and dropped.
func (s *source) read(collect func(*source) error) ([]byte, error) {
	s.buffer = s.buffer[:0]
	err := collect(s)
	if len(s.buffer) > maxRecord {
		return nil, faulty("the record is too long: more than %d bytes", maxRecord)
	}
	return s.buffer, err
}

// keep adds to the buffer, which stops growing past the limit.
func (s *source) keep(part ...byte) {
	if len(s.buffer) <= maxRecord {
		s.buffer = append(s.buffer, part...)
	}
}

// toLineEnd reads a line with its end.
func (s *source) toLineEnd() error {
	for {
		part, err := s.in.ReadSlice('\n')
		s.keep(part...)
		switch {
		case err == nil:
			s.line, s.column = s.line+1, 1
			return nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return err
		}
	}
}

// nextLine is the layout of one value per line.
func (s *source) nextLine() ([]byte, error) {
	for {
		s.mark()
		line, err := s.read((*source).toLineEnd)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		text := bytes.TrimLeft(line, " \t\r\n")
		s.startColumn += len(line) - len(text)
		if text = bytes.TrimSpace(text); len(text) > 0 {
			return text, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// object is the layout of values one after the other.
func (s *source) object() ([]byte, error) {
	if err := s.blanks(); err != nil {
		return nil, err
	}
	s.mark()
	return s.read((*source).toValueEnd)
}

// toValueEnd reads to the last bracket of a value or, if it has none, up to
// what ends a number or word.
func (s *source) toValueEnd() error {
	var n nesting
	for {
		next, err := s.in.Peek(1)
		switch {
		case errors.Is(err, io.EOF):
			if n.depth > 0 || n.quoted {
				s.done = true
				return faulty("not JSON: the file ends inside this value")
			}
			return nil
		case err != nil:
			return err
		case n == (nesting{}) && len(s.buffer) > 0 && bytes.IndexByte([]byte(" \t\r\n,]}"), next[0]) >= 0:
			return nil
		}
		c, err := s.byte()
		if err != nil {
			return err
		}
		before := n
		n.add(c)
		s.keep(c)
		if n == (nesting{}) && before != n {
			return nil
		}
	}
}

// item is the layout of an array, of which the opening bracket has been read.
func (s *source) item() ([]byte, error) {
	c, err := s.ahead("the array")
	switch {
	case err != nil:
		return nil, err
	case c == ']':
		return nil, s.afterArray()
	case s.items > 0 && c != ',':
		s.done = true
		return nil, faulty("not JSON: %q after an item of the array, want , or ]; reading stopped here", c)
	case s.items > 0:
		if err = s.skip(1); err != nil {
			return nil, err
		}
		if c, err = s.ahead("the array"); err != nil {
			return nil, err
		}
	}
	if c == ',' || c == ']' {
		s.done = true
		return nil, faulty("not JSON: %q where an item of the array should be; reading stopped here", c)
	}
	s.items++
	return s.read((*source).toValueEnd)
}

// ahead returns the next byte that is not blank, which is where a value begins.
func (s *source) ahead(inside string) (byte, error) {
	err := s.blanks()
	s.mark()
	if errors.Is(err, io.EOF) {
		s.done = true
		return 0, faulty("not JSON: the file ends inside %s", inside)
	}
	if err != nil {
		return 0, err
	}
	c, err := s.in.Peek(1)
	if err != nil {
		return 0, err
	}
	return c[0], nil
}

// afterArray reads what comes after the array: the rest of the object that holds
// it, and nothing else.
func (s *source) afterArray() error {
	s.done = true
	if err := s.skip(1); err != nil {
		return err
	}
	what := "the array"
	if s.list != "" {
		what = "the object"
		if err := s.afterList(); err != nil {
			return err
		}
	}
	if err := s.blanks(); err != nil {
		return err
	}
	s.mark()
	return faulty("not JSON: text after %s", what)
}

// afterList reads the other members of the object that holds the records.
func (s *source) afterList() error {
	for {
		c, err := s.ahead("the object")
		if err != nil {
			return err
		}
		if err := s.skip(1); err != nil || c == '}' {
			return err
		}
		if c != ',' {
			return faulty("not JSON: %q after a member of the object, want , or }", c)
		}
		if err := s.member(); err != nil {
			return err
		}
	}
}

// member reads a key and its value, which must not be records too.
func (s *source) member() error {
	if _, err := s.ahead("the object"); err != nil {
		return err
	}
	text, err := s.read((*source).toValueEnd)
	if err != nil {
		return err
	}
	var key string
	if json.Unmarshal(text, &key) != nil {
		return faulty("not JSON: want a key in double quotes")
	}
	c, err := s.ahead("the object")
	if err != nil {
		return err
	}
	if c != ':' {
		return faulty("not JSON: %q after a key, want :", c)
	}
	if err := s.skip(1); err != nil {
		return err
	}
	if _, err = s.ahead("the object"); err != nil {
		return err
	}
	value, err := s.read((*source).toValueEnd)
	if err == nil && bytes.HasPrefix(value, []byte("[")) && bytes.HasPrefix(bytes.TrimLeft(value[1:], " \t\r\n"), []byte("{")) {
		return faulty("records are under %q and under %q: put those to train on in a file of their own", s.list, key)
	}
	return err
}
