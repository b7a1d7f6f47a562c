package augment

import (
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/impulse-salamandra/finetune/internal/strictjson"
)

// without returns an answer without the strings that repeat a question: these
// follow it, and are no values in it.
func without(question string, v strictjson.Value) *strictjson.Value {
	if v.Kind == strictjson.String && v.Text == question {
		return &strictjson.Value{Kind: strictjson.Null}
	}
	items := make([]strictjson.Value, len(v.Items))
	for i := range v.Items {
		items[i] = *without(question, v.Items[i])
	}
	members := make([]strictjson.Member, len(v.Members))
	for i, m := range v.Members {
		members[i] = strictjson.Member{Key: m.Key, Value: *without(question, m.Value)}
	}
	v.Items, v.Members = items, members
	return &v
}

// repeatIn returns the text of an answer, whose value v is, with the strings that
// repeat a question repeating another. All else stays as it is written.
func repeatIn(answer string, v strictjson.Value, question, other string) string {
	var places []span
	var walk func(v *strictjson.Value)
	walk = func(v *strictjson.Value) {
		if v.Kind == strictjson.String && v.Text == question {
			places = append(places, span{v.Offset, v.End})
		}
		for i := range v.Items {
			walk(&v.Items[i])
		}
		for i := range v.Members {
			walk(&v.Members[i].Value)
		}
	}
	walk(&v)
	var b strings.Builder
	at := 0
	for _, s := range places {
		b.WriteString(answer[at:s.start])
		b.Write(quote(other, answer[s.start:s.end]))
		at = s.end
	}
	return b.String() + answer[at:]
}

// quote writes a text as JSON: as escaped as like is, which may have escapes where
// none are needed.
func quote(text, like string) []byte {
	quoted := strictjson.AppendString(nil, text)
	if !strings.Contains(like, `\u`) {
		return quoted
	}
	var ascii []byte
	for _, r := range string(quoted) {
		if r < utf8.RuneSelf {
			ascii = append(ascii, byte(r))
			continue
		}
		for _, unit := range utf16.AppendRune(nil, r) {
			ascii = fmt.Appendf(ascii, `\u%04x`, unit)
		}
	}
	return ascii
}

// repeated returns a JSON value, or the other question if the value is the question.
func repeated(value, question, other string) string {
	if value == string(strictjson.AppendString(nil, question)) {
		return string(strictjson.AppendString(nil, other))
	}
	return value
}
