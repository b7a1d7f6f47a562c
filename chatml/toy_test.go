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
}

func newToy() *toy {
	return &toy{
		controls: []string{chatml.BOSToken, chatml.StartToken, chatml.EndToken},
		pieces:   []string{"assistant", "system", "user", "\n\n", "\n ", "Hola"},
	}
}

func (t *toy) TokenID(token string) (int32, bool) {
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

func valid(ms []chatml.Message) bool {
	for _, m := range ms {
		if !utf8.ValidString(m.Content) {
			return false
		}
	}
	return true
}
