package tokenizer

import (
	"cmp"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
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
	special    bool // left out by Decode when asked; never found by EncodeText
}

// parseAddedTokens reads the section "added_tokens".
func parseAddedTokens(raw json.RawMessage, fs *faults) []*addedToken {
	if isNull(raw) {
		return nil
	}
	var items []json.RawMessage
	if err := json.Unmarshal(raw, &items); err != nil {
		fs.malformed("added_tokens", "want an array: %v", err)
	}
	tokens := make([]*addedToken, len(items))
	for i, item := range items {
		a := &addedToken{}
		f := fs.fields(fmt.Sprintf("added_tokens[%d]", i), item)
		f.required("id", &a.id)
		f.required("content", &a.content)
		f.required("single_word", &a.singleWord)
		f.required("lstrip", &a.lstrip)
		f.required("rstrip", &a.rstrip)
		f.required("normalized", &a.normalized)
		f.required("special", &a.special)
		f.end()
		if a.content == "" {
			fs.malformed(f.at("content"), "empty")
		}
		tokens[i] = a
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

// segments cuts text at its added tokens. Where specials is false the special
// ones count as plain text; they still cover what they match, so that no other
// token is found inside of them.
func (m *matcher) segments(text string, specials bool) iter.Seq[segment] {
	return func(yield func(segment) bool) {
		done := 0
		for from := 0; len(m.tokens) > 0; {
			start, end, a := m.find(text, from)
			if a == nil {
				break
			}
			from = end
			if a.special && !specials || a.singleWord && (endsWithWord(text[:start]) || startsWithWord(text[end:])) {
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
