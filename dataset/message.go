package dataset

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/internal/strictjson"
)

// roles are the names of speakers that are known.
var roles = map[string]chatml.Role{
	"system": chatml.System, "developer": chatml.System,
	"user": chatml.User, "human": chatml.User,
	"assistant": chatml.Assistant, "gpt": chatml.Assistant,
	"tool": chatml.Tool,
}

// messageKey is what stands between the list and the key of messages in
// [Record.Extra].
const messageKey = "[]."

// messages reads a list of messages.
func (p *parser) messages(field string, v *strictjson.Value) []chatml.Message {
	if v.Kind != strictjson.Array {
		p.fault(v, field, "%s, want a list of messages", v.Kind)
		return nil
	}
	if len(v.Items) == 0 {
		p.fault(v, field, "no messages")
	}
	var messages []chatml.Message
	for i := range v.Items {
		item, at := &v.Items[i], fmt.Sprintf("%s[%d]", field, i)
		if item.Kind != strictjson.Object {
			p.fault(item, at, "%s, want a message such as {\"role\": \"user\", \"content\": \"...\"}", item.Kind)
			continue
		}
		messages = append(messages, p.message(field, at, item))
	}
	return messages
}

// message reads one message.
func (p *parser) message(list, at string, v *strictjson.Value) chatml.Message {
	roleKey, role := p.either(at, v, "role", "from")
	contentKey, content := p.either(at, v, "content", "value")
	var m chatml.Message
	if role != nil {
		m.Role = p.role(at+"."+roleKey, role)
	}
	switch {
	case content == nil:
	case m.Role == chatml.Assistant:
		m.Content = p.answer(at+"."+contentKey, content)
	default:
		m.Content = p.content(at+"."+contentKey, content)
	}
	var weights []bool
	for i := range v.Members {
		key, value := v.Members[i].Key, &v.Members[i].Value
		switch {
		case key == roleKey || key == contentKey:
		case slices.Contains(weightKeys, normalKey(key)):
			if trained, ok := p.weight(at+"."+key, value, m.Role); ok {
				weights = append(weights, trained)
			}
		default:
			if why := changesMessage(key, value); why != "" {
				p.fault(value, at+"."+key, "%s", why)
			} else {
				p.extra(list+messageKey+key, value)
			}
		}
	}
	if m.Untrained = slices.Contains(weights, false) && m.Role == chatml.Assistant; slices.Contains(weights, true) && slices.Contains(weights, false) {
		p.fault(v, at, "its keys contradict each other: is it trained?")
	}
	return m
}

// either returns the one of two keys that an object has, and its value.
func (p *parser) either(at string, v *strictjson.Value, one, other string) (string, *strictjson.Value) {
	a, b := v.Get(one), v.Get(other)
	switch {
	case a != nil && b != nil:
		p.fault(v, at, "both %s and %s; want one of them", one, other)
		return one, a
	case b != nil:
		return other, b
	case a == nil:
		p.fault(v, at+"."+one, "missing")
	}
	return one, a
}

func (p *parser) role(at string, v *strictjson.Value) chatml.Role {
	role, known := roles[strings.ToLower(v.Text)]
	switch name := strings.ToLower(v.Text); {
	case v.Kind != strictjson.String:
		p.fault(v, at, "%s, want a string", v.Kind)
	case name == "function", name == "function_call", name == "observation", name == "ipython":
		p.fault(v, at, "%q: %s", v.Text, noTools)
	case !known:
		p.fault(v, at, "unknown role %q, want system, user or assistant (or human and gpt)", v.Text)
	}
	return role
}

// weightKeys are the keys, as normalKey writes them, by which a message is
// trained or not.
var weightKeys = []string{"weight", "train", "training", "trainable", "loss", "trainonturn"}

// weight reads whether a message is trained; ok is false if nothing is said.
func (p *parser) weight(at string, v *strictjson.Value, role chatml.Role) (trained, ok bool) {
	switch n, err := strconv.ParseFloat(v.Text, 64); {
	case v.Kind == strictjson.Null:
		return false, false
	case v.Kind == strictjson.Boolean:
		trained = v.Text == "true"
	case v.Kind == strictjson.Number && err == nil && (n == 0 || n == 1):
		trained = n == 1
	default:
		p.fault(v, at, "%s, want 0 (context, not trained) or 1", strictjson.Append(nil, v, strictjson.Layout{}))
		return false, false
	}
	if trained && role != chatml.Assistant {
		p.fault(v, at, "a message of %s is to be trained; only those of the assistant are", role)
		return false, false
	}
	return trained, true
}
