package generate

import (
	"cmp"
	"slices"
)

// ngrams predict the token that comes next by what came before: the answers of a
// model resemble each other, and their prompts. The tokens predicted are drafts:
// they are computed in the same step as the certain ones, and count only as far as
// the model then chooses the same, so that they never change an answer.
// Source of speculative decoding: Leviathan et al. 2023, arXiv:2211.17192; of
// drafts without a model: Saxena 2023, "Prompt Lookup Decoding".
type ngrams struct {
	table []ngram
	odds  [len(contextLengths)][maxWeight]odds
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

// odds are how often tokens were predicted of late, by a context of one length and
// weight, and how often the model chose them.
type odds struct{ predicted, chosen float64 }

func (o *odds) note(chosen bool) {
	if o.predicted >= 64 {
		o.predicted, o.chosen = o.predicted/2, o.chosen/2
	}
	o.predicted++
	if chosen {
		o.chosen++
	}
}

func (o *odds) chance() float64 { return (o.chosen + 1) / (o.predicted + 2) }

// contexts calls f with the entry and the check of each context that ends a text,
// the longest first, until f returns false. Length counts contextLengths.
func (t *ngrams) contexts(text []int32, f func(length int, e *ngram, check uint32) bool) {
	if t.table == nil {
		t.table = make([]ngram, tableSize)
	}
	for length, n := range contextLengths {
		if len(text) < n {
			continue
		}
		h := uint64(n)
		for _, id := range text[len(text)-n:] {
			h = (h ^ uint64(uint32(id))) * 0x9E3779B97F4A7C15
			h ^= h >> 29
		}
		if !f(length, &t.table[h%tableSize], uint32(h>>32)|1) {
			return
		}
	}
}

// learn notes that id came after text.
func (t *ngrams) learn(text []int32, id int32) {
	t.contexts(text, func(_ int, e *ngram, check uint32) bool {
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

// next returns the token that came after text before, and its odds, nil if there is none.
func (t *ngrams) next(text []int32) (id int32, known *odds) {
	t.contexts(text, func(length int, e *ngram, check uint32) bool {
		if e.check == check {
			id, known = e.id, &t.odds[length][e.weight-1]
		}
		return known == nil
	})
	return id, known
}

// chosen notes that the model chose id after text.
func (t *ngrams) chosen(text []int32, id int32) {
	if predicted, known := t.next(text); known != nil {
		known.note(predicted == id)
	}
}

// guess is a run that may come after the pending tokens of a row and the guesses before
// it.
type guess struct {
	run
	row    *row
	chance float64 // of it and those before it
	end    int     // tokens of the row with it
}

// leastChance is that of guesses worth making: some take places that are there anyway.
const leastChance = 1. / 16

// draft speculates for rows as far as it is worth it, and returns the size of the step.
//
// A run that comes true saves its row a step of its tokens; one that does not has taken
// their time. So the likeliest are taken, as many as save most beyond what the step
// then costs. Places is the most tokens of a row with drafts.
func (b buckets) draft(rows []*row, chunk, width, places int, p *pace) size {
	var least size
	var all []guess
	for _, r := range rows {
		n := min(len(r.pending), chunk)
		least.n, least.s = least.n+n, max(least.s, n)
		r.draft = nil
		if len(r.pending) <= chunk && places > 0 {
			all = append(all, r.guesses(min(places, chunk))...)
		}
	}
	slices.SortStableFunc(all, func(x, y guess) int { return cmp.Compare(y.chance, x.chance) })
	step := b.size(width, least)
	before, most, sum, with := p.cost(step), 0.0, 0.0, least
	left := map[*row]bool{}
	var drafted []guess
	taken := 0
	for _, x := range all {
		n := len(x.run)
		saved := x.chance*(p.cost(b.size(width, size{n * len(rows), n}))/float64(len(rows))) - (1-x.chance)*b.choice*p.token()
		if left[x.row] = left[x.row] || b.exact && saved < float64(n)*p.token(); left[x.row] {
			continue
		}
		with.n, with.s = with.n+n, max(with.s, x.end)
		if with.n > chunk*width {
			break
		}
		z := b.size(width, with)
		if drafted = append(drafted, x); len(rows)+len(drafted) > b.choices(z.n, width) {
			break
		}
		sum += saved
		if worth := sum - (p.cost(z) - before); worth > most {
			taken, most, step = len(drafted), worth, z
		}
	}
	for _, x := range drafted[:taken] {
		x.row.draft = append(x.row.draft, x.run)
	}
	return step
}

// guesses are the runs that may come after the pending tokens, none of which ends the
// answer, for a step of so many tokens of the row.
func (r *row) guesses(places int) (list []guess) {
	text, left, m := r.text, r.MaxNewTokens-len(r.out.IDs), r.Constraint
	last := guess{row: r, chance: 1, end: len(r.pending)}
	for {
		id, known := r.variant.ngrams.next(text)
		if known == nil || slices.Contains(r.StopTokens, id) {
			return list
		}
		if last.chance *= known.chance(); last.chance < leastChance {
			return list
		}
		last.run = run{id}
		if m != nil {
			if m == r.Constraint {
				m = m.Clone()
			}
			if m.Accept(id) != nil {
				return list
			}
			for _, id := range m.ForcedTokens(left - 1) {
				if m.Accept(id) != nil {
					return list
				}
				last.run = append(last.run, id)
			}
			if m.Done() || !m.Fits(left-len(last.run)) {
				return list
			}
		}
		left -= len(last.run)
		last.end += len(last.run)
		if left <= 0 || last.end > places {
			return list
		}
		text = append(slices.Clip(text), last.run...)
		list = append(list, last)
	}
}
