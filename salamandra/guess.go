package salamandra

import "slices"

// guesses tells which token may come next by what came before: the answers of
// one model resemble each other, and their prompts. What is guessed is computed
// together with what is certain, and counts only if it is chosen then. So a
// guess never changes an answer; it costs a place in a step.
// Source of the principle: Leviathan et al. 2023, arXiv:2211.17192; of guesses
// without a model: Saxena 2023, "Prompt Lookup Decoding".
type guesses struct {
	table []guess
}

// guess is the token seen most of late after some tokens.
type guess struct {
	check  uint32 // of the tokens before, 0 where there is nothing
	id     int32
	weight int32 // how often it was seen more than others
}

// Contexts are the last tokens; the longest that is known decides. They meet in
// one table, in which what is new replaces what is weak.
var contextLengths = [...]int{6, 3, 1}

const (
	guessPlaces = 1 << 15
	guessWeight = 4 // at most, so that a new habit soon outweighs an old one
)

// contexts calls f with the entry of each context that ends a text, the longest
// first, and what identifies it, until f returns false.
func (t *guesses) contexts(text []int32, f func(e *guess, check uint32) bool) {
	if t.table == nil {
		t.table = make([]guess, guessPlaces)
	}
	for _, n := range contextLengths {
		if len(text) < n {
			continue
		}
		h := uint64(n)
		for _, id := range text[len(text)-n:] {
			h = (h ^ uint64(uint32(id))) * 0x9E3779B97F4A7C15
			h ^= h >> 29
		}
		if !f(&t.table[h%guessPlaces], uint32(h>>32)|1) {
			return
		}
	}
}

// learn notes that id came after text.
func (t *guesses) learn(text []int32, id int32) {
	t.contexts(text, func(e *guess, check uint32) bool {
		switch {
		case e.check == check && e.id == id:
			e.weight = min(e.weight+1, guessWeight)
		case e.weight > 1:
			e.weight--
		default:
			*e = guess{check, id, 1}
		}
		return true
	})
}

// learnFrom notes what came after what in a text, from a place on.
func (t *guesses) learnFrom(text []int32, from int) {
	for i := from; i < len(text); i++ {
		t.learn(text[:i], text[i])
	}
}

// next returns what came after text before.
func (t *guesses) next(text []int32) (id int32, ok bool) {
	t.contexts(text, func(e *guess, check uint32) bool {
		if e.check == check {
			id, ok = e.id, true
		}
		return !ok
	})
	return id, ok
}

// guessShared is the least places of each of several rows.
const guessShared = 2

// draft guesses for rows as far as the places go that a step has free: those
// that rounding adds, and while guesses come true a few more. It returns the
// places of the step.
func (g *Generator) draft(rows []*row, chunk, width int) int {
	tokens, well := 0, false
	var ready []*row
	for _, r := range rows {
		tokens += min(len(r.pending), chunk)
		if r.draft = nil; len(r.pending) <= chunk {
			ready = append(ready, r)
			well = well || r.guessed < 64 || 8*r.right > r.guessed
		}
	}
	if g.Guess == 0 {
		return tokens
	}
	places := tokens
	if well && (width == 1 || !g.model.interprets()) { // there every place costs as much as the first
		places = max(places, g.Guess, guessShared*width)
	}
	places = g.model.roundTokens(places, width)
	free, runs := places-tokens, g.model.mostChoices(places, width)-len(rows)
	for i, r := range ready {
		others := len(ready) - i
		free -= r.guess(min(free/others, chunk-len(r.pending)), runs/others)
		runs -= len(r.draft)
	}
	return places
}

// guess drafts what may come after the pending tokens: up to places tokens in
// up to runs runs, none of which ends the answer. It returns how many tokens
// that are.
func (r *row) guess(places, runs int) (n int) {
	text, left, m := r.text, r.MaxNewTokens-len(r.out.IDs), r.Constraint
	for len(r.draft) < runs {
		id, ok := r.variant.guesses.next(text)
		if !ok || slices.Contains(r.StopTokens, id) {
			return n
		}
		d := run{id}
		if m != nil {
			if m == r.Constraint {
				m = m.Clone()
			}
			if m.Accept(id) != nil {
				return n
			}
			for _, id := range m.ForcedTokens(left - 1) {
				if m.Accept(id) != nil {
					return n
				}
				d = append(d, id)
			}
			if m.Done() || !m.Fits(left-len(d)) {
				return n
			}
		}
		if left -= len(d); left <= 0 || n+len(d) > places {
			return n
		}
		n += len(d)
		text = append(slices.Clip(text), d...)
		r.draft = append(r.draft, d)
	}
	return n
}
