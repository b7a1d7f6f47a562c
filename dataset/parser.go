package dataset

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/internal/strictjson"
)

// parser makes a record of an object and collects what is wrong with it.
type parser struct {
	text   []byte // of the object; nil for the row of a table
	object *strictjson.Value
	record Record
	read   map[string]bool // keys that are part of the record
	faults Faults
}

// parse reads a record of a known format. Lines of faults count from the
// object's.
func parse(f format, text []byte, object *strictjson.Value) (Record, Faults) {
	p := &parser{text: text, object: object, read: map[string]bool{}}
	p.record.ID = p.name("id")
	p.record.Lang = p.name("lang")
	p.record.VariantOf = p.name(variantKey)
	p.record.Messages = p.withSystem(f.read(p))
	p.others()
	for i := range p.faults {
		p.faults[i].Record = p.record.ID
	}
	return p.record, p.faults
}

// fault adds what is wrong with a value, or with the record.
func (p *parser) fault(v *strictjson.Value, field, format string, args ...any) {
	line := 0
	if v != nil && p.text != nil {
		line, _ = strictjson.Position(p.text, v.Offset)
		line--
	}
	p.faults = append(p.faults, Fault{Line: line, Field: field, Err: fmt.Errorf(format, args...)})
}

// get returns the value of a key, nil for null and for none, and takes the key
// for read.
func (p *parser) get(key string) *strictjson.Value {
	p.read[key] = true
	if v := p.object.Get(key); v != nil && v.Kind != strictjson.Null {
		return v
	}
	return nil
}

// name is the text under a key that may be absent; a number is one by its digits.
func (p *parser) name(key string) string {
	v := p.get(key)
	switch {
	case v == nil:
		return ""
	case v.Kind == strictjson.Number, v.Kind == strictjson.String:
		return v.Text
	}
	p.fault(v, key, "%s, want a string", v.Kind)
	return ""
}

// string is the text under a key; required says whether it must be there.
func (p *parser) string(key string, required bool) string {
	v := p.get(key)
	switch {
	case v != nil:
		return p.content(key, v)
	case required && p.text == nil:
		p.fault(nil, key, "the cell is empty")
	case required && p.object.Get(key) != nil:
		p.fault(p.object.Get(key), key, "null, want a string")
	case required:
		p.fault(nil, key, "missing")
	}
	return ""
}

// content is a text: a string, or a list of parts that are texts.
func (p *parser) content(field string, v *strictjson.Value) string {
	if v.Kind == strictjson.String {
		return v.Text
	}
	if v.Kind != strictjson.Array {
		p.fault(v, field, "%s, want a string", v.Kind)
		return ""
	}
	return p.parts(field, v)
}

// answerLayout is how an answer is written that is no text but an object: as
// Python's json.dumps does.
var answerLayout = strictjson.Layout{ItemSeparator: ", ", KeySeparator: ": "}

// answer is the content of an answer: a text, or an object that is to be written.
func (p *parser) answer(field string, v *strictjson.Value) string {
	switch {
	case v.Kind != strictjson.Object:
		return p.content(field, v)
	case v.Get("role") != nil && v.Get("content") != nil, v.Get("from") != nil && v.Get("value") != nil:
		p.fault(v, field, "a message, want a list of messages or a string")
		return ""
	case v.Get("type") != nil && v.Get("text") != nil && len(v.Members) == 2:
		p.fault(v, field, "a part of a content, want a list of them or a string")
		return ""
	}
	return string(strictjson.Append(nil, v, answerLayout))
}

// parts puts the texts of a list together.
func (p *parser) parts(field string, v *strictjson.Value) string {
	var b strings.Builder
	for i := range v.Items {
		part := &v.Items[i]
		at := fmt.Sprintf("%s[%d]", field, i)
		kind, text := part.Get("type"), part.Get("text")
		switch {
		case part.Kind == strictjson.String:
			b.WriteString(part.Text)
		case part.Kind != strictjson.Object:
			p.fault(part, at, "%s, want a part such as {\"type\": \"text\", \"text\": \"...\"}", part.Kind)
		case kind != nil && kind.Characters() != "text":
			p.fault(part, at, "a part of type %q; only text is trained", kind.Text)
		case text == nil || text.Kind != strictjson.String:
			p.fault(part, at, "a part without text; only text is trained")
		default:
			b.WriteString(text.Text)
		}
	}
	return b.String()
}

// conversation reads a list of messages.
func (p *parser) conversation(key string) []chatml.Message {
	v := p.get(key)
	if v == nil {
		p.fault(p.object.Get(key), key, "null, want a list of messages")
		return nil
	}
	return p.messages(key, v)
}

// pair reads a prompt and an answer, each a text or a list of messages.
func (p *parser) pair(prompt, answer string) []chatml.Message {
	var messages []chatml.Message
	for _, part := range []struct {
		key  string
		role chatml.Role
	}{{prompt, chatml.User}, {answer, chatml.Assistant}} {
		if v := p.get(part.key); v != nil && v.Kind == strictjson.Array {
			messages = append(messages, p.messages(part.key, v)...)
		} else {
			messages = append(messages, chatml.Message{Role: part.role, Content: p.said(part.key, part.role)})
		}
	}
	return slices.Concat(p.history(), messages)
}

// alpaca reads an instruction with an input, which may be empty, and its answer.
func (p *parser) alpaca(answer string) []chatml.Message {
	question := p.string("instruction", true)
	if input := p.string("input", false); input != "" {
		question += "\n\n" + input
	}
	return append(p.history(),
		chatml.Message{Role: chatml.User, Content: question},
		chatml.Message{Role: chatml.Assistant, Content: p.said(answer, chatml.Assistant)})
}

// said is what a role says under a key that must be there.
func (p *parser) said(key string, role chatml.Role) string {
	if v := p.get(key); v != nil && role == chatml.Assistant {
		return p.answer(key, v)
	}
	return p.string(key, true)
}

// history reads earlier turns: pairs of a question and its answer, or messages.
func (p *parser) history() []chatml.Message {
	v := p.get("history")
	if v == nil || v.Kind == strictjson.String && v.Text == "" {
		return nil
	}
	if v.Kind == strictjson.Array && len(v.Items) > 0 && v.Items[0].Kind == strictjson.Object {
		return p.messages("history", v)
	}
	var messages []chatml.Message
	for i := range v.Items {
		pair := &v.Items[i]
		if pair.Kind != strictjson.Array || len(pair.Items) != 2 || pair.Items[0].Kind != strictjson.String || pair.Items[1].Kind != strictjson.String {
			p.fault(pair, fmt.Sprintf("history[%d]", i), "want a pair of texts, a question and its answer")
			continue
		}
		messages = append(messages,
			chatml.Message{Role: chatml.User, Content: pair.Items[0].Text},
			chatml.Message{Role: chatml.Assistant, Content: pair.Items[1].Text})
	}
	if v.Kind != strictjson.Array {
		p.fault(v, "history", "%s, want a list of pairs of a question and its answer", v.Kind)
	}
	return messages
}

// withSystem puts the system text of a record before its messages.
func (p *parser) withSystem(messages []chatml.Message) []chatml.Message {
	for _, key := range systemKeys {
		text := p.string(key, false)
		switch {
		case text == "" || len(messages) == 0:
		case messages[0].Role != chatml.System:
			messages = slices.Insert(messages, 0, chatml.Message{Role: chatml.System, Content: text})
		case messages[0].Content != text:
			p.fault(p.object.Get(key), key, "the conversation has another system message; want one")
		}
	}
	return messages
}

// others goes through the keys that are not read: what would change the
// conversation is refused, the rest is kept in Extra.
func (p *parser) others() {
	for i := range p.object.Members {
		m := &p.object.Members[i]
		if p.read[m.Key] {
			continue
		}
		if why := changesRecord(m.Key, &m.Value); why != "" && !p.repeats(&m.Value) {
			p.fault(&m.Value, m.Key, "%s", why)
			continue
		}
		p.extra(m.Key, &m.Value)
	}
}

// repeats reports whether a text repeats a message.
func (p *parser) repeats(v *strictjson.Value) bool {
	return v.Kind == strictjson.String && slices.ContainsFunc(p.record.Messages, func(m chatml.Message) bool { return m.Content == v.Text })
}

// extra keeps a value that does not touch the conversation.
func (p *parser) extra(key string, v *strictjson.Value) {
	if _, there := p.record.Extra[key]; there || v.Kind == strictjson.Null {
		return
	}
	if p.record.Extra == nil {
		p.record.Extra = map[string]json.RawMessage{}
	}
	p.record.Extra[key] = strictjson.Append(nil, v, strictjson.Layout{ItemSeparator: ",", KeySeparator: ":"})
}
