package constrain

import (
	"fmt"
	"math"
	"slices"
	"unicode/utf8"
)

// Unlimited is the budget of an answer of any length.
const Unlimited = math.MaxInt

// Matcher follows one answer from token to token. It is not for several
// goroutines at once; different matchers are, also of the same grammar.
type Matcher struct {
	c     *cache
	at    *node
	ended bool
	mask  Mask
	most  int  // steps of work, 0 for no limit
	spent *int // of these, by all matchers of the answer
}

// Matcher returns a matcher at the beginning of an answer. It fails
// if a byte that some answer may need to be completed is no token
// by itself. Vocabularies with byte fallback and byte-level ones have all that
// matter. What is cached for a vocabulary is kept as long
// as the grammar, so make the vocabulary once.
func (g *Grammar) Matcher(v *Vocabulary) (*Matcher, error) {
	if err := v.check(&g.needed); err != nil {
		return nil, err
	}
	g.b.mu.Lock()
	defer g.b.mu.Unlock()
	if g.b.caches[v] == nil {
		g.b.caches[v] = newCache(g.b, v)
	}
	return &Matcher{c: g.b.caches[v], at: g.start, mask: make(Mask, v.words()), most: g.opts.MaxWork, spent: new(int)}, nil
}

// Match reports whether text is an answer of the grammar.
func (g *Grammar) Match(text []byte) bool {
	g.b.mu.Lock()
	defer g.b.mu.Unlock()
	end := g.b.run(g.start, text)
	return end != nil && end.min == 0
}

// Size returns about how much memory is kept for the grammar: its states and the
// masks of all vocabularies. It grows up to a bound as answers are written.
func (g *Grammar) Size() int64 {
	g.b.mu.Lock()
	defer g.b.mu.Unlock()
	n := stateBytes * (g.b.nodes + len(g.b.stepped))
	for _, c := range g.b.caches {
		n += c.bytes
	}
	return int64(n)
}

// stateBytes is about the memory of a state, half of it that of its transitions.
const stateBytes = 400

// lock begins work for the answer, which the function returned ends.
func (m *Matcher) lock() func() {
	b := m.c.b
	b.mu.Lock()
	begin := b.work
	if b.most = 0; m.most > 0 {
		b.most = begin + max(m.most-*m.spent, 1)
	}
	return func() {
		*m.spent += b.work - begin
		b.most = 0
		b.mu.Unlock()
	}
}

// Clone returns a matcher at the same place, which goes on by itself. What it
// does counts as work for the same answer.
func (m *Matcher) Clone() *Matcher {
	c := *m
	c.mask = make(Mask, len(m.mask))
	return &c
}

// Shortest returns a number of tokens that suffices to complete the answer, the
// end token not counted: as many as spell the shortest text that completes it.
// There may be a longer text of fewer tokens. Where that takes more work than is
// allowed, it is the number of bytes.
func (m *Matcher) Shortest() int {
	defer m.lock()()
	return m.c.cost(m.at)
}

// Fits reports whether the answer can be completed with at most budget tokens, by
// the measure of [Matcher.Shortest].
func (m *Matcher) Fits(budget int) bool {
	defer m.lock()()
	return m.c.fits(m.at, budget)
}

// Allowed returns the tokens that may come next so that the answer can still be
// completed with at most budget tokens, this one counted and the end token not.
// It is never empty before the answer has ended. It is valid until the next
// call. It fails if budget is below [Matcher.Shortest], which
// cannot happen where every token was allowed by the call before with a budget
// that was greater by one. It fails with ErrTooLarge where the answer takes more
// work than MaxWork of [Options].
func (m *Matcher) Allowed(budget int) (Mask, error) {
	defer m.lock()()
	if m.ended {
		clear(m.mask)
		return m.mask, nil
	}
	fits := m.c.fits(m.at, budget)
	if fits {
		m.c.fill(m.mask, m.at, budget)
	}
	if m.c.b.spent() {
		return nil, fmt.Errorf("constrain: %w: an answer by this schema takes more than %d steps of work; counted repetitions in a pattern are what takes most", ErrTooLarge, m.most)
	}
	if !fits {
		return nil, fmt.Errorf("constrain: %w: %d tokens, the shortest completion has more", errBudget, budget)
	}
	return m.mask, nil
}

// Accept goes on with a token. It fails, and changes nothing, if
// the token does not continue the answer.
func (m *Matcher) Accept(id int32) error {
	defer m.lock()()
	if m.ended {
		return fmt.Errorf("constrain: %w: %d after the end of the answer", errToken, id)
	}
	if slices.Contains(m.c.v.end, id) {
		if m.at.min != 0 {
			return fmt.Errorf("constrain: %w: end token %d before the answer is complete", errToken, id)
		}
		m.ended = true
		return nil
	}
	next := m.after(m.at, id)
	if next == nil {
		return fmt.Errorf("constrain: %w: %d", errToken, id)
	}
	m.at = next
	return nil
}

// after returns the state after a token, nil if it is not allowed.
func (m *Matcher) after(n *node, id int32) *node {
	if id < 0 || int(id) >= m.c.v.size || m.c.v.text[id] == nil {
		return nil
	}
	return m.c.b.run(n, m.c.v.text[id])
}

// Complete reports whether the answer may end here. A number may both end and
// go on.
func (m *Matcher) Complete() bool { return m.at.min == 0 }

// Done reports whether the answer is complete and nothing but an end token may
// follow, or has followed.
func (m *Matcher) Done() bool { return m.ended || m.at.op == opEmpty }

// Forced returns the bytes that every completion of the answer begins with: the
// rest of a key, of punctuation, of a constant, up to 4,096 of them. It is empty
// where the next byte is free.
func (m *Matcher) Forced() []byte {
	defer m.lock()()
	text, _ := m.forced()
	return text
}

// maxForced is about how many bytes are forced at once; the others follow.
const maxForced = 4096

func (m *Matcher) forced() ([]byte, *node) {
	var text []byte
	n := m.at
	for !m.ended && len(text) < maxForced {
		c, next, ok := m.c.b.only(n)
		if !ok {
			break
		}
		text, n = append(text, c), next
	}
	return text, n
}

// ForcedTokens returns the tokens that the tokenizer puts next whatever comes
// after, so that they can go through the model together, without a choice. The
// caller gives them to [Matcher.Accept] one by one. Budget is as in
// [Matcher.Allowed]; tokens that would not leave enough of it are left out.
// Without a tokenizer, see [TokenizerVocabulary], there are none.
//
// The rule: let F be the forced bytes. In the tokens of the whole answer,
// either a token ends where F does, or one reaches over that end; it then begins
// at a place e of F such that the vocabulary has a token F[e:]+x for some x
// that the grammar allows after F. A merge of byte pairs never crosses the end
// of a token of the result, so the tokens before e are those of F[:e] alone.
// The forced tokens are what the tokens of F and of all such F[:e] have in
// common at their beginning. Hence, if the tokens so far are the tokenizer's
// for some answer, so are these: where a model, left alone, would write that
// answer with the tokenizer's tokens, its answer does not change. This holds
// for BPE without look-ahead in the splitting of words; where the tokens of F
// do not spell F, as with a tokenizer that adds a space, none are returned.
func (m *Matcher) ForcedTokens(budget int) []int32 {
	encode := m.c.v.encode
	if encode == nil {
		return nil
	}
	defer m.lock()()
	text, free := m.forced()
	if len(text) == 0 {
		return nil
	}
	tokens := encode(string(text[:wholeRunes(text)]))
	for e := max(0, len(text)-m.c.v.longest); e < len(text) && len(tokens) > 0; e++ {
		if !m.c.reachesOver(text[e:], free) {
			continue
		}
		other := encode(string(text[:wholeRunes(text[:e])]))
		same := 0
		for same < min(len(tokens), len(other)) && tokens[same] == other[same] {
			same++
		}
		tokens = tokens[:same]
	}
	n := m.at
	for i, id := range tokens {
		if n = m.after(n, id); n == nil {
			return nil // not the tokens of this text
		}
		if !m.c.fits(n, budget-i-1) {
			return tokens[:i]
		}
	}
	return tokens
}

// wholeRunes returns the length of text without a character cut off at its end.
func wholeRunes(text []byte) int {
	for i := len(text) - 1; i >= max(0, len(text)-utf8.UTFMax); i-- {
		if utf8.RuneStart(text[i]) {
			if !utf8.FullRune(text[i:]) {
				return i
			}
			break
		}
	}
	return len(text)
}

// reachesOver reports whether a token begins with text and goes on with bytes
// that n allows.
func (c *cache) reachesOver(text []byte, n *node) bool {
	place := int32(-1)
	for _, letter := range text {
		if place = c.v.child(place, letter); place < 0 {
			return false
		}
	}
	found := false
	c.walk(n, place+1, c.v.after[place], 0, func(i int32, _, after *node) bool {
		found = found || len(c.v.endingAt(i)) > 0
		return !found && after.op != opEmpty
	})
	return found
}
