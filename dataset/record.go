package dataset

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/impulse-salamandra/finetune/chatml"
)

// Record is one conversation of a data set.
type Record struct {
	ID       string           `json:"id,omitempty"`
	Messages []chatml.Message `json:"messages"`
	Lang     string           `json:"lang,omitempty"`
}

// Question returns the text of all user messages, one after the other on lines
// of their own: what near duplicates are told by.
func (r Record) Question() string {
	var parts []string
	for _, m := range r.Messages {
		if m.Role == chatml.User {
			parts = append(parts, m.Content)
		}
	}
	return strings.Join(parts, "\n")
}

// parser reads one record and collects what is wrong with it.
type parser struct {
	id     string
	faults Faults
}

func (p *parser) fault(field string, err error) {
	p.faults = append(p.faults, Fault{Record: p.id, Field: field, Err: err})
}

// begin reads what records of every format have, id and lang. fields are nil if
// the value is no object.
func (p *parser) begin(value json.RawMessage) (r Record, fields map[string]json.RawMessage) {
	if fields = p.object("", value); fields == nil {
		return r, nil
	}
	r.ID = p.optional("id", fields)
	p.id = r.ID
	r.Lang = p.optional("lang", fields)
	return r, fields
}

// end checks the messages of a record that has been read without a fault.
func (p *parser) end(r Record) (Record, Faults) {
	if p.faults == nil {
		if err := chatml.CheckMessages(r.Messages); err != nil {
			p.fault("", err)
		}
	}
	return r, p.faults
}

func (p *parser) messages(key string, value json.RawMessage) []chatml.Message {
	if value == nil {
		p.fault(key, ErrMissing)
		return nil
	}
	var items []json.RawMessage
	if kind(value) != "array" || json.Unmarshal(value, &items) != nil {
		p.fault(key, fmt.Errorf("%w: %s, want an array", ErrType, kind(value)))
		return nil
	}
	if len(items) == 0 {
		p.fault(key, fmt.Errorf("%w: no messages", ErrMissing))
	}
	var messages []chatml.Message
	for i, item := range items {
		at := fmt.Sprintf("%s[%d]", key, i)
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

// optional is the text under a key that may be absent or null.
func (p *parser) optional(key string, fields map[string]json.RawMessage) string {
	if v, ok := fields[key]; ok && kind(v) != "null" {
		return p.text(key, v)
	}
	return ""
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
