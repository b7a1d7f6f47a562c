package tokenizer

import (
	"cmp"
	"iter"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/impulse-salamandra/finetune/internal/strictjson"
)

// addedToken is an entry of "added_tokens": a token found in the text before
// the model sees it.
type addedToken struct {
	id         int32
	content    string
	singleWord bool // only between characters that are not word characters
	lstrip     bool // takes the white space before it along
	rstrip     bool // takes the white space after it along
	normalized bool // matched, normalized itself, in the normalized text
	special    bool // left out by Decode when asked
	control    bool // special, or a control token by its text; never found by EncodeText
}

// isControl reports whether a token is a control token by its text, whatever its
// flags: many chat models list their turn marks with special: false.
func isControl(content string) bool {
	switch content {
	case "<s>", "</s>", "<unk>", "<pad>", "<mask>", "<bos>", "<eos>":
		return true
	}
	return isMark(content)
}

// isMark reports whether text has the form of a turn mark such as "<|im_end|>".
func isMark(text string) bool {
	return len(text) > 4 && strings.HasPrefix(text, "<|") && strings.HasSuffix(text, "|>")
}

// parseAddedTokens reads the section "added_tokens".
func parseAddedTokens(f *strictjson.Fields) []*addedToken {
	var tokens []*addedToken
	for _, f := range f.Objects("added_tokens") {
		f.Need("content")
		a := &addedToken{
			id: int32(count(f, "id")), content: f.String("content", ""), singleWord: flag(f, "single_word"),
			lstrip: flag(f, "lstrip"), rstrip: flag(f, "rstrip"), normalized: flag(f, "normalized"), special: flag(f, "special"),
		}
		end(f)
		a.control = a.special || isControl(a.content)
		if f.Has("content") && a.content == "" {
			f.Fault("content", nil, "empty")
		}
		tokens = append(tokens, a)
	}
	return tokens
}

// matcher finds added tokens in text.
type matcher struct {
	tokens  map[string]*addedToken // by the text they match
	lengths [256][]int             // lengths of these texts by first byte, longest first
}

// add makes the matcher find pattern. It reports false if it already does.
func (m *matcher) add(pattern string, a *addedToken) bool {
	if _, ok := m.tokens[pattern]; ok {
		return false
	}
	if m.tokens == nil {
		m.tokens = map[string]*addedToken{}
	}
	m.tokens[pattern] = a
	lengths := &m.lengths[pattern[0]]
	at, found := slices.BinarySearchFunc(*lengths, len(pattern), func(a, b int) int { return cmp.Compare(b, a) })
	if !found {
		*lengths = slices.Insert(*lengths, at, len(pattern))
	}
	return true
}

// find returns the leftmost match at or after from, the longest where several
// begin there; nil if there is none.
func (m *matcher) find(text string, from int) (start, end int, a *addedToken) {
	for i := from; i < len(text); i++ {
		for _, n := range m.lengths[text[i]] {
			if n <= len(text)-i {
				if a := m.tokens[text[i:i+n]]; a != nil {
					return i, i + n, a
				}
			}
		}
	}
	return 0, 0, nil
}

// segment is a part of a text: an added token, or what lies between two.
type segment struct {
	start int
	text  string
	token *addedToken // nil for plain text
}

// segments cuts text at its added tokens. Where controls is false the control
// tokens count as plain text; they still cover what they match, so that no other
// token is found inside of them.
func (m *matcher) segments(text string, controls bool) iter.Seq[segment] {
	return func(yield func(segment) bool) {
		done := 0
		for from := 0; len(m.tokens) > 0; {
			start, end, a := m.find(text, from)
			if a == nil {
				break
			}
			from = end
			if a.control && !controls || a.singleWord && (endsWithWord(text[:start]) || startsWithWord(text[end:])) {
				continue
			}
			if a.lstrip {
				start = max(done, len(strings.TrimRightFunc(text[:start], unicode.IsSpace)))
			}
			if a.rstrip {
				end = len(text) - len(strings.TrimLeftFunc(text[end:], unicode.IsSpace))
			}
			if done < start && !yield(segment{start: done, text: text[done:start]}) {
				return
			}
			if !yield(segment{start: start, token: a}) {
				return
			}
			done = end
		}
		if done < len(text) {
			yield(segment{start: done, text: text[done:]})
		}
	}
}

func endsWithWord(text string) bool {
	r, size := utf8.DecodeLastRuneInString(text)
	return size > 0 && isWord(r)
}

func startsWithWord(text string) bool {
	r, size := utf8.DecodeRuneInString(text)
	return size > 0 && isWord(r)
}

// isWord is \w of Unicode's regular expressions (UTS 18, annex C).
func isWord(r rune) bool {
	return unicode.In(r, unicode.L, unicode.M, unicode.Nd, unicode.Nl, unicode.Pc, unicode.Other_Alphabetic, unicode.Join_Control)
}
