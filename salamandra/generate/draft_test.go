package generate

import (
	"testing"
)

// drafting is a row whose next tokens are those of a text it has seen, which came true
// as often as said.
func drafting(came, of int) *row {
	v, text := &variant{}, make([]int32, 60)
	for i := range text {
		text[i] = int32(100 + i)
	}
	v.ngrams.learnFrom(text, 0)
	for i := range of {
		id := text[30]
		if i >= came {
			id++
		}
		v.ngrams.chosen(text[:30], id)
	}
	return &row{task: &task{Request: Request{MaxNewTokens: 200}}, variant: v, text: text[:30], pending: text[29:30]}
}

// TestDraftsAreWorthIt: what never comes true is not drafted where tokens cost time, and
// what always does is, as far as a row has places; in between, the more a step costs
// beside its tokens the more.
func TestDraftsAreWorthIt(t *testing.T) {
	b := buckets{exact: true, limit: 1000}
	steps := func(fixed float64) *pace {
		p := &pace{w: 1, guess: 16}
		for i := range 200 {
			n := 1 + i%40
			p.note(size{n, n}, fixed+float64(n))
		}
		return p
	}
	draft := func(p *pace, rows ...*row) int {
		z := b.draft(rows, chunkShared, len(rows), chunkShared, p)
		n := 0
		for _, r := range rows {
			n += len(r.pending)
			for _, d := range r.draft {
				n += len(d)
			}
		}
		if z.n < n {
			t.Errorf("%d tokens in a step of %d", n, z.n)
		}
		return n - len(rows)
	}
	if n := draft(steps(6), drafting(0, 60)); n != 0 {
		t.Errorf("%d drafted that never come true", n)
	}
	if n := draft(steps(6), drafting(60, 60)); n != chunkShared-1 {
		t.Errorf("%d drafted that always come true, want %d", n, chunkShared-1)
	}
	last := 0
	for _, fixed := range []float64{5, 20, 80} {
		n := draft(steps(fixed), drafting(20, 60))
		if n < last {
			t.Errorf("a step that costs %v tokens more: %d drafted, before %d", fixed, n, last)
		}
		last = n
	}
	if last == 0 {
		t.Error("nothing drafted where steps cost much")
	}
	alone := draft(steps(20), drafting(40, 60))
	var rows []*row
	for range 8 {
		rows = append(rows, drafting(40, 60))
	}
	if together := draft(steps(20), rows...); together > 8*alone {
		t.Errorf("%d drafted for 8 rows, %d for one", together, alone)
	}
}

// TestOdds: they follow what comes true, and forget.
func TestOdds(t *testing.T) {
	var o odds
	if o.chance() != 0.5 {
		t.Errorf("of nothing: %v", o.chance())
	}
	for _, row := range []struct {
		chosen   bool
		from, to float64
	}{{true, 0.95, 1}, {false, 0, 0.05}} {
		for range 500 {
			o.note(row.chosen)
		}
		if c := o.chance(); c < row.from || c > row.to {
			t.Errorf("always %v: %v", row.chosen, c)
		}
	}
}
