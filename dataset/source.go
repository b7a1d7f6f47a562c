package dataset

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// MaxRecord is the longest record that is read, in bytes (64 MiB).
const MaxRecord = 64 << 20

// source cuts an input into the texts of JSON values, as its layout has them:
// one per line, the items of an array, or one after the other. It looks at
// brackets and quotes alone; whether a text is JSON is for its reader to see.
type source struct {
	in     *bufio.Reader
	layout func(*source) ([]byte, error) // nil before the first value
	line   int                           // of the next byte
	start  int                           // line on which the last value began
	buffer []byte
	items  int // of the array so far
	done   bool
}

func newSource(in io.Reader) *source { return &source{in: bufio.NewReader(in), line: 1} }

// next returns the next value, which is good until the next call, and sets
// start. The error is [io.EOF] at the end, one that [isFault] where reading can
// go on, else that of the input.
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

// isFault tells errors of the text from those of the input.
func isFault(err error) bool { return errors.Is(err, ErrSyntax) || errors.Is(err, ErrTooLong) }

// choose finds the layout. The first line tells arrays from objects, and lines
// from objects that go on over several: these leave brackets open.
func (s *source) choose() error {
	if mark, _ := s.in.Peek(3); string(mark) == "\ufeff" {
		_, _ = s.in.Discard(3)
	}
	if err := s.blanks(); err != nil {
		return err
	}
	if first, err := s.in.Peek(1); err != nil || first[0] == '[' {
		s.layout = (*source).item
		_, err = s.byte() // the bracket
		return err
	}
	s.start = s.line
	line, err := s.read((*source).toLineEnd)
	if err != nil && !errors.Is(err, io.EOF) {
		s.layout = (*source).nextLine
		return err
	}
	s.layout = (*source).nextLine
	if second, _ := s.in.Peek(1); goesOn(line, string(second)) {
		s.layout = (*source).object
	}
	s.in = bufio.NewReader(io.MultiReader(bytes.NewReader(bytes.Clone(line)), s.in))
	s.line = s.start
	return nil
}

// goesOn tells whether an object goes on after its first line, given the first
// character of the second, or whether the line is merely cut off: then it ends
// anywhere and the next one begins with a brace.
func goesOn(line []byte, second string) bool {
	var n nesting
	for _, c := range line {
		n.add(c)
	}
	end := bytes.TrimRight(line, " \t\r\n")
	betweenParts := !n.quoted && bytes.IndexByte([]byte("{[,"), end[len(end)-1]) >= 0
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
	if c == '\n' && err == nil {
		s.line++
	}
	return c, err
}

func (s *source) unread(c byte) {
	_ = s.in.UnreadByte() // the last call was ReadByte
	if c == '\n' {
		s.line--
	}
}

// blanks skips white space.
func (s *source) blanks() error {
	for {
		c, err := s.byte()
		if err != nil {
			return err
		}
		if bytes.IndexByte([]byte(" \t\r\n"), c) < 0 {
			s.unread(c)
			return nil
		}
	}
}

// read collects bytes with a function that adds them to the buffer until it is
// done. What is over the limit is read and dropped.
func (s *source) read(collect func(*source) error) ([]byte, error) {
	s.buffer = s.buffer[:0]
	err := collect(s)
	if len(s.buffer) > MaxRecord {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrTooLong, MaxRecord)
	}
	return s.buffer, err
}

// keep adds to the buffer, which stops growing past the limit.
func (s *source) keep(part ...byte) {
	if len(s.buffer) <= MaxRecord {
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
			s.line++
			return nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return err
		}
	}
}

// nextLine is the layout of one value per line.
func (s *source) nextLine() ([]byte, error) {
	for {
		s.start = s.line
		line, err := s.read((*source).toLineEnd)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		if line = bytes.TrimSpace(line); len(line) > 0 {
			return line, nil
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
	s.start = s.line
	return s.read((*source).toValueEnd)
}

// toValueEnd reads to the last bracket of a value or, if it has none, up to
// what ends a number or word.
func (s *source) toValueEnd() error {
	var n nesting
	for {
		c, err := s.byte()
		switch {
		case errors.Is(err, io.EOF):
			if n.depth > 0 || n.quoted {
				s.done = true
				return fmt.Errorf("%w: the file ends inside this value", ErrSyntax)
			}
			return nil
		case err != nil:
			return err
		case n == (nesting{}) && len(s.buffer) > 0 && bytes.IndexByte([]byte(" \t\r\n,]}"), c) >= 0:
			s.unread(c)
			return nil
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
	c, err := s.afterBlanks()
	switch {
	case err != nil:
		return nil, err
	case c == ']' && s.items == 0:
		return nil, s.afterArray()
	case s.items > 0 && c == ']':
		return nil, s.afterArray()
	case s.items > 0 && c != ',':
		s.done = true
		return nil, fmt.Errorf("%w: %q after an item of the array, want , or ]; reading stopped here", ErrSyntax, c)
	case s.items > 0:
		if c, err = s.afterBlanks(); err != nil {
			return nil, err
		}
	}
	if c == ',' || c == ']' {
		s.done = true
		return nil, fmt.Errorf("%w: %q where an item of the array should be; reading stopped here", ErrSyntax, c)
	}
	s.unread(c)
	s.items++
	return s.read((*source).toValueEnd)
}

// afterBlanks reads the next byte of an array that is not blank.
func (s *source) afterBlanks() (byte, error) {
	err := s.blanks()
	s.start = s.line
	if errors.Is(err, io.EOF) {
		s.done = true
		return 0, fmt.Errorf("%w: the file ends inside the array", ErrSyntax)
	}
	if err != nil {
		return 0, err
	}
	return s.byte()
}

// afterArray looks for text after the array.
func (s *source) afterArray() error {
	s.done = true
	if err := s.blanks(); err != nil {
		return err
	}
	s.start = s.line
	return fmt.Errorf("%w: text after the array", ErrSyntax)
}

// lineOf is how many lines before the place of a syntax error a value has.
func lineOf(value []byte, err error) int {
	var syntax *json.SyntaxError
	if !errors.As(err, &syntax) {
		return 0
	}
	return bytes.Count(value[:min(int(syntax.Offset), len(value))], []byte("\n"))
}
