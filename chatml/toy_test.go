package chatml_test

import (
	"strings"
	"unicode/utf8"

	"github.com/impulse-salamandra/finetune/chatml"
)

// toy is a tokenizer small enough to check by hand: the longest of its pieces
// that fits, else one token per byte. Ids: control tokens from 1, bytes from
// 256, pieces from 1000.
type toy struct {
	controls, pieces []string
	space            bool // puts a space before every text, as legacy Llama layouts do
	marks            bool // takes the spelling of control tokens, in any case, for them
	alias            map[string]string
}

func newToy() *toy {
	return &toy{
		controls: []string{"<s>", "<|im_start|>", chatml.EndToken},
		pieces:   []string{"assistant", "system", "user", "\n\n", "\n ", "Hola"},
	}
}

func (t *toy) TokenID(token string) (int32, bool) {
	if other, ok := t.alias[token]; ok {
		token = other
	}
	for i, c := range t.controls {
		if c == token {
			return int32(1 + i), true
		}
	}
	return 0, false
}

func (t *toy) EncodeText(text string, _ bool) []int32 {
	var ids []int32
	if t.space && text != "" {
		text = " " + text
	}
	for text != "" {
		best, id := text[:1], 256+int32(text[0])
		for i, c := range t.controls {
			if n := min(len(c), len(text)); t.marks && strings.EqualFold(text[:n], c) {
				best, id = text[:n], int32(1+i)
			}
		}
		for i, p := range t.pieces {
			if strings.HasPrefix(text, p) && len(p) > len(best) {
				best, id = p, int32(1000+i)
			}
		}
		ids, text = append(ids, id), text[len(best):]
	}
	return ids
}

func (t *toy) decode(ids []int32) string {
	var b strings.Builder
	for _, id := range ids {
		switch {
		case id >= 1000:
			b.WriteString(t.pieces[id-1000])
		case id >= 256:
			b.WriteByte(byte(id - 256))
		default:
			b.WriteString(t.controls[id-1])
		}
	}
	return b.String()
}

// Ids of the toy's control tokens.
const startID, endID = 2, 3

// dialogue builds messages from "role: content" lines.
func dialogue(turns ...string) []chatml.Message {
	var ms []chatml.Message
	for _, t := range turns {
		role, content, _ := strings.Cut(t, ": ")
		ms = append(ms, chatml.Message{Role: chatml.Role(role), Content: content})
	}
	return ms
}

// untrained marks one of the messages.
func untrained(i int, messages []chatml.Message) []chatml.Message {
	messages[i].Untrained = true
	return messages
}

// shown is the text of an encoding with the trained spans between "[[" and "]]".
func shown(e chatml.Encoding, decode func(ids []int32) string) string {
	var b strings.Builder
	for from, to := 0, 0; from < len(e.IDs); from = to {
		for to = from + 1; to < len(e.IDs) && e.Train[to] == e.Train[from]; to++ {
		}
		if span := decode(e.IDs[from:to]); e.Train[from] {
			b.WriteString("[[" + span + "]]")
		} else {
			b.WriteString(span)
		}
	}
	return b.String()
}

func valid(ms []chatml.Message) bool {
	for _, m := range ms {
		if !utf8.ValidString(m.Content) {
			return false
		}
	}
	return true
}
