package generate

import "slices"

// ngrams predict the token that comes next by what came before: the answers of a
// model resemble each other, and their prompts. The tokens predicted are drafts:
// they are computed in the same step as the certain ones, and count only as far as
// the model then chooses the same, so that they never change an answer.
// Source of speculative decoding: Leviathan et al. 2023, arXiv:2211.17192; of
// drafts without a model: Saxena 2023, "Prompt Lookup Decoding".
type ngrams struct {
	table []ngram
}

// ngram is the token seen most of late after some tokens.
type ngram struct {
	check  uint32 // of the tokens before, 0 where there is nothing
	id     int32
	weight int32 // how often it was seen more than others
}

// Contexts are the last tokens; the longest that is known decides. They share one
// hash table, in which a new context replaces a weak one.
var contextLengths = [...]int{6, 3, 1}

const (
	tableSize = 1 << 15
	maxWeight = 4 // at most, so that a new habit soon outweighs an old one
)

// contexts calls f with the entry and the check of each context that ends a text,
// the longest first, until f returns false.
func (t *ngrams) contexts(text []int32, f func(e *ngram, check uint32) bool) {
	if t.table == nil {
		t.table = make([]ngram, tableSize)
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
		if !f(&t.table[h%tableSize], uint32(h>>32)|1) {
			return
		}
	}
}

// learn notes that id came after text.
func (t *ngrams) learn(text []int32, id int32) {
	t.contexts(text, func(e *ngram, check uint32) bool {
		switch {
		case e.check == check && e.id == id:
			e.weight = min(e.weight+1, maxWeight)
		case e.weight > 1:
			e.weight--
		default:
			*e = ngram{check, id, 1}
		}
		return true
	})
}

// learnFrom notes which token came after which in a text, from an index on.
func (t *ngrams) learnFrom(text []int32, from int) {
	for i := from; i < len(text); i++ {
		t.learn(text[:i], text[i])
	}
}

// next returns the token that came after text before.
func (t *ngrams) next(text []int32) (id int32, ok bool) {
	t.contexts(text, func(e *ngram, check uint32) bool {
		if e.check == check {
			id, ok = e.id, true
		}
		return !ok
	})
	return id, ok
}

// draftShared is how many tokens of each of several rows a step has places for at
// least.
const draftShared = 2

// draft speculates for rows as far as a step has free places: those that rounding
// adds, and a few more while drafts come true. It returns the size of the step.
func (g *Generator) draft(rows []*row, chunk, width int) size {
	b, well := g.buckets(), false
	var least size
	var ready []*row
	for _, r := range rows {
		n := min(len(r.pending), chunk)
		least.n, least.s = least.n+n, max(least.s, n)
		r.draft = nil
		if len(r.pending) <= chunk {
			ready = append(ready, r)
			well = well || r.drafted < 64 || 8*r.right > r.drafted
		}
	}
	if g.SpeculativeTokens <= 0 {
		return b.size(width, least)
	}
	wanted := least
	if well && (width == 1 || !b.exact) { // there every place costs as much as the first
		wanted.n = max(wanted.n, min(max(g.SpeculativeTokens, draftShared*width), chunk*width))
	}
	if b.exact {
		wanted.s = chunk // no program depends on it
	}
	step := b.size(width, wanted)
	free, runs := step.n-least.n, b.choices(step.n, width)-len(rows)
	for i, r := range ready {
		others := len(ready) - i
		free -= r.speculate(min(free/others, step.s-len(r.pending)), runs/others)
		runs -= len(r.draft)
	}
	return step
}

// speculate drafts what may come after the pending tokens: up to places tokens in
// up to runs runs, none of which ends the answer. It returns their number of
// tokens.
func (r *row) speculate(places, runs int) (n int) {
	text, left, m := r.text, r.MaxNewTokens-len(r.out.IDs), r.Constraint
	for len(r.draft) < runs {
		id, ok := r.variant.ngrams.next(text)
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
		left -= len(d)
		if left <= 0 || n+len(d) > places {
			return n
		}
		n += len(d)
		text = append(slices.Clip(text), d...)
		r.draft = append(r.draft, d)
	}
	return n
}
