package dataset

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/impulse-salamandra/finetune/chatml"
)

// MaxLine is the longest line that [ParseJSONL] reads, in bytes (64 MiB).
const MaxLine = 64 << 20

// Record is one conversation of a data set.
type Record struct {
	ID       string           `json:"id,omitempty"`
	Messages []chatml.Message `json:"messages"`
	Lang     string           `json:"lang,omitempty"`
}

// ReadJSONL reads a file of records; see [ParseJSONL].
func ReadJSONL(path string) ([]Record, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("dataset: %w", err)
	}
	defer f.Close()
	return ParseJSONL(f, path)
}

// ParseJSONL reads records, one JSON object per line:
//
//	{"id": "q1", "messages": [{"role": "user", "content": "Hola"}, ...], "lang": "ca"}
//
// id and lang may be absent or null; unknown keys are ignored, also within
// messages; blank lines and a byte-order mark are skipped. Key names are
// compared exactly. name stands for the input in errors.
//
// It reads on after a fault and returns all of them as [Faults], with the
// causes [ErrSyntax], [ErrType], [ErrMissing], [ErrDuplicate] (of keys; ids are
// compared by [Builder.Build]), [ErrLineTooLong], [chatml.ErrUTF8] (half
// surrogate pairs included) and [chatml.ErrRole]. With any fault no record is
// returned.
func ParseJSONL(r io.Reader, name string) ([]Record, error) {
	var records []Record
	var faults Faults
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, MaxLine)
	n := 0
	for lines.Scan() {
		n++
		line := lines.Bytes()
		if n == 1 {
			line = bytes.TrimPrefix(line, []byte("\ufeff"))
		}
		line = bytes.Trim(line, " \t\r")
		if len(line) == 0 {
			continue
		}
		p := parser{file: name, line: n}
		records = append(records, p.record(line))
		faults = append(faults, p.faults...)
	}
	if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		faults = append(faults, Fault{File: name, Line: n + 1, Err: fmt.Errorf("%w: more than %d bytes; reading stopped here", ErrLineTooLong, MaxLine)})
	} else if err != nil {
		return nil, fmt.Errorf("dataset: %s:%d: %w", name, n+1, err)
	}
	if err := faults.err(); err != nil {
		return nil, err
	}
	return records, nil
}

// parser reads one line and collects what is wrong with it.
type parser struct {
	file   string
	line   int
	id     string
	faults Faults
}

func (p *parser) fault(field string, err error) {
	p.faults = append(p.faults, Fault{File: p.file, Line: p.line, Record: p.id, Field: field, Err: err})
}

func (p *parser) record(line []byte) Record {
	var r Record
	if !utf8.Valid(line) {
		p.fault("", chatml.ErrUTF8)
		return r
	}
	var value json.RawMessage
	if err := json.Unmarshal(line, &value); err != nil {
		p.fault("", fmt.Errorf("%w: %w", ErrSyntax, err))
		return r
	}
	fields := p.object("", value)
	if fields == nil {
		return r
	}
	if v, ok := fields["id"]; ok && kind(v) != "null" {
		r.ID = p.text("id", v)
		p.id = r.ID
	}
	if v, ok := fields["lang"]; ok && kind(v) != "null" {
		r.Lang = p.text("lang", v)
	}
	r.Messages = p.messages(fields["messages"])
	if p.faults == nil {
		if err := chatml.CheckMessages(r.Messages); err != nil {
			p.fault("", err)
		}
	}
	return r
}

func (p *parser) messages(value json.RawMessage) []chatml.Message {
	if value == nil {
		p.fault("messages", ErrMissing)
		return nil
	}
	var items []json.RawMessage
	if kind(value) != "array" || json.Unmarshal(value, &items) != nil {
		p.fault("messages", fmt.Errorf("%w: %s, want an array", ErrType, kind(value)))
		return nil
	}
	if len(items) == 0 {
		p.fault("messages", fmt.Errorf("%w: no messages", ErrMissing))
	}
	var messages []chatml.Message
	for i, item := range items {
		at := fmt.Sprintf("messages[%d]", i)
		fields := p.object(at, item)
		if fields == nil {
			continue
		}
		messages = append(messages, chatml.Message{
			Role:    chatml.Role(p.text(at+".role", fields["role"])),
			Content: p.text(at+".content", fields["content"]),
		})
	}
	return messages
}

// object returns the values of a JSON object by key, or nil if value is
// something else. encoding/json alone would let repeated keys pass and match
// keys in any case.
func (p *parser) object(at string, value json.RawMessage) map[string]json.RawMessage {
	if kind(value) != "object" {
		p.fault(at, fmt.Errorf("%w: %s, want an object", ErrType, kind(value)))
		return nil
	}
	fields := map[string]json.RawMessage{}
	dec := json.NewDecoder(bytes.NewReader(value))
	_, err := dec.Token() // the brace
	for err == nil && dec.More() {
		var key json.Token
		var v json.RawMessage
		key, err = dec.Token()
		if err == nil {
			err = dec.Decode(&v)
		}
		k := fmt.Sprint(key)
		if _, twice := fields[k]; twice {
			p.fault(at, fmt.Errorf("%w key %q", ErrDuplicate, k))
		}
		fields[k] = v
	}
	if err != nil {
		p.fault(at, fmt.Errorf("%w: %w", ErrSyntax, err))
	}
	return fields
}

func (p *parser) text(at string, value json.RawMessage) string {
	if value == nil {
		p.fault(at, ErrMissing)
		return ""
	}
	var s string
	if kind(value) != "string" || json.Unmarshal(value, &s) != nil {
		p.fault(at, fmt.Errorf("%w: %s, want a string", ErrType, kind(value)))
		return ""
	}
	if halfSurrogate(value) {
		p.fault(at, fmt.Errorf("%w: half a surrogate pair", chatml.ErrUTF8))
	}
	return s
}

// halfSurrogate finds \u escapes that stand for no character. encoding/json
// replaces them silently; they come from writers that read bytes they could not
// decode.
func halfSurrogate(quoted []byte) bool {
	escape := func(i int) rune { // the code unit of a \u escape at i, or 0
		if i+6 > len(quoted) || quoted[i] != '\\' || quoted[i+1] != 'u' {
			return 0
		}
		unit, err := strconv.ParseUint(string(quoted[i+2:i+6]), 16, 32)
		if err != nil {
			return 0
		}
		return rune(unit)
	}
	for i := 0; i < len(quoted); i++ {
		if quoted[i] != '\\' {
			continue
		}
		unit := escape(i)
		switch {
		case !utf16.IsSurrogate(unit):
			i++ // the escaped character, which may be a backslash
		case utf16.DecodeRune(unit, escape(i+6)) == utf8.RuneError:
			return true
		default:
			i += 11
		}
	}
	return false
}

// kind names the JSON type of a valid value.
func kind(value json.RawMessage) string {
	switch value[0] {
	case '{':
		return "object"
	case '[':
		return "array"
	case '"':
		return "string"
	case 'n':
		return "null"
	case 't', 'f':
		return "boolean"
	}
	return "number"
}
