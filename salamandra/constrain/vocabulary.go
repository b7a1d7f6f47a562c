package constrain

import (
	"bytes"
	"fmt"
	"slices"
	"sync"
)

// Vocabulary is the tokens of a model as a trie of their bytes. It does not
// change and may be shared by any number of grammars.
type Vocabulary struct {
	size    int
	end     []int32
	text    [][]byte                  // of each id; nil for tokens that add no text
	longest int                       // bytes of the longest token
	encode  func(text string) []int32 // nil without a tokenizer

	// The nodes of the trie from top to bottom, children after their parent in
	// the order of bytes: what lies under node i is nodes i+1 to after[i]-1.
	letter []byte
	depth  []uint16 // 1 for a token's first byte
	after  []int32
	tokens []int32 // node i ends the tokens ids[tokens[i]:tokens[i+1]]
	ids    []int32
	first  [256]int32 // the node of each first byte, -1 for none
	slices []slice
	own    []uint8  // the slice of the tokens that node i ends
	holds  []uint64 // of the tokens that begin with the bytes of node i, a bit for each

	quotesOnce sync.Once
	quoted     []int32 // see quotes

	mu      sync.Mutex
	strings *class // of all strings, the same for every grammar; nil before it is asked for
}

// NewVocabulary makes the trie of the ids below size. bytesOf returns the bytes
// that a token adds to a text and is called once for each id; it reports false
// for tokens that add none and are never allowed, such as control tokens.
// Tokens without bytes, or with more than 65,535, are never allowed either. End
// holds the tokens that end an answer. Slices returned by bytesOf are kept.
//
// Bytes need not be whole characters: byte-fallback tokens and tokens that hold
// part of a character are followed byte by byte.
func NewVocabulary(size int, bytesOf func(id int32) ([]byte, bool), end []int32) *Vocabulary {
	size = max(size, 0)
	v := &Vocabulary{size: size, end: slices.Clone(end), text: make([][]byte, size)}
	for id := range int32(size) {
		if text, ok := bytesOf(id); ok && len(text) > 0 && len(text) < 1<<16 && !slices.Contains(end, id) {
			v.text[id] = text
			v.ids = append(v.ids, id)
			v.longest = max(v.longest, len(text))
		}
	}
	slices.SortStableFunc(v.ids, func(x, y int32) int { return bytes.Compare(v.text[x], v.text[y]) })
	var open []int32 // the nodes from the top to the last token's
	closeTo := func(depth int) {
		for _, i := range open[depth:] {
			v.after[i] = int32(len(v.letter))
		}
		open = open[:depth]
	}
	var last []byte
	for at, id := range v.ids {
		text := v.text[id]
		same := 0
		for same < min(len(text), len(last)) && text[same] == last[same] {
			same++
		}
		closeTo(same)
		for d := same; d < len(text); d++ {
			open = append(open, int32(len(v.letter)))
			v.letter = append(v.letter, text[d])
			v.depth = append(v.depth, uint16(d+1))
			v.after = append(v.after, 0)
			v.tokens = append(v.tokens, int32(at))
		}
		last = text
	}
	closeTo(0)
	v.tokens = append(v.tokens, int32(len(v.ids)))
	v.slice(leastSlice)
	for c := range v.first {
		v.first[c] = -1
	}
	for i := int32(0); int(i) < len(v.letter); i = v.after[i] {
		v.first[v.letter[i]] = i
	}
	return v
}

// Tokenizer is what a vocabulary is made from; *tokenizer.Tokenizer is one.
type Tokenizer interface {
	VocabSize() int
	// TokenBytes returns the bytes that a token adds to a text that it does not
	// begin, false for control tokens.
	TokenBytes(id int32) ([]byte, bool)
	// EncodeText returns the tokens of a text, in which special tokens are text;
	// first reports whether it begins a sequence.
	EncodeText(text string, first bool) []int32
}

// TokenizerVocabulary makes the vocabulary of a tokenizer, with which matchers
// know the tokens of forced text; see [Matcher.ForcedTokens]. End holds the
// tokens that end an answer.
func TokenizerVocabulary(tok Tokenizer, end []int32) *Vocabulary {
	v := NewVocabulary(tok.VocabSize(), tok.TokenBytes, end)
	v.encode = func(text string) []int32 { return tok.EncodeText(text, false) }
	return v
}

// under returns the tokens whose bytes begin with those of node i.
func (v *Vocabulary) under(i int32) []int32 {
	return v.ids[v.tokens[i]:v.tokens[v.after[i]]]
}

// endingAt returns the tokens whose last byte is node i.
func (v *Vocabulary) endingAt(i int32) []int32 {
	// Tokens are sorted, so those that end here come before those below.
	return v.ids[v.tokens[i]:v.tokens[i+1]]
}

// quotes lists the tokens that may end a string and hold another one.
func (v *Vocabulary) quotes() []int32 {
	v.quotesOnce.Do(func() {
		for _, id := range v.ids {
			if bytes.Count(v.text[id], []byte(`"`)) > 2 {
				v.quoted = append(v.quoted, id)
			}
		}
	})
	return v.quoted
}

// child returns the node under node i for byte c, -1 for none; the node of the
// first byte if i is -1.
func (v *Vocabulary) child(i int32, c byte) int32 {
	if i < 0 {
		return v.first[c]
	}
	for k := i + 1; k < v.after[i]; k = v.after[k] {
		if v.letter[k] >= c {
			if v.letter[k] == c {
				return k
			}
			return -1
		}
	}
	return -1
}

// words is the length of a mask.
func (v *Vocabulary) words() int { return (v.size + 63) / 64 }

// check reports the bytes in needed that no token spells alone.
func (v *Vocabulary) check(needed *[256]bool) error {
	var missing []byte
	for c, need := range needed {
		if i := v.first[c]; need && (i < 0 || len(v.endingAt(i)) == 0) {
			missing = append(missing, byte(c))
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("constrain: %w: answers may need the bytes % x, which no token spells alone; without them some answers could not be completed", errVocabulary, missing)
	}
	for _, id := range v.end {
		if id < 0 || int(id) >= v.size {
			return fmt.Errorf("constrain: %w: end token %d, want 0 to %d", errVocabulary, id, v.size-1)
		}
	}
	if len(v.end) == 0 {
		return fmt.Errorf("constrain: %w: no end token", errVocabulary)
	}
	return nil
}
