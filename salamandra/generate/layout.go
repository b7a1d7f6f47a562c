package generate

import "fmt"

// layout is the tokens of one step and where they go. The slices have the
// lengths of the shape; unused places hold zeros.
type layout struct {
	stepShape
	ids []int32 // [N]
	parts[[]int32]
	numbers []int32  // all parts, one after the other
	masks   []uint32 // [R, words], the tokens allowed at each choice, 32 in a word

	places []place // of each token in the cache
	rows   []seen  // what the tokens of each row see, where the host computes attention
	taken  []int   // of each row's pending tokens, those that are in the step
	first  []int   // the first choice of each row, -1 for none: a long prompt goes on

	tokens, choices int // so far
}

// parts are the inputs of a step's program beside the tokens, as one vector: in Go
// slices of int32, in the graph nodes.
type parts[T any] struct {
	positions T // [N]
	seats     T // [W*S], the token at each place of each row
	back      T // [N], the place of each token among the W*S
	lengths   T // [W], tokens in the cache
	seen      T // [N], tokens of the prefix that the row begins with
	last      T // [R], tokens whose successor is chosen; the last part, which blocks do without
}

// cut takes the parts of a shape off a vector.
func cut[T any](s stepShape, take func(n int) T) parts[T] {
	return parts[T]{
		positions: take(s.n), seats: take(s.w * s.s), back: take(s.n),
		lengths: take(s.w), seen: take(s.n), last: take(s.r),
	}
}

// maskWords is the length of a mask of 32-bit words.
func maskWords(vocabulary int) int { return (vocabulary + 31) / 32 }

// newLayout lays out the next tokens of rows, up to chunk pending ones of each,
// and their drafts.
func newLayout(s stepShape, rows []*row, chunk, vocabulary int) *layout {
	l := &layout{stepShape: s, ids: make([]int32, s.n), masks: make([]uint32, s.r*maskWords(vocabulary))}
	cut(s, func(n int) int { l.numbers = append(l.numbers, make([]int32, n)...); return 0 })
	rest := l.numbers
	l.parts = cut(s, func(n int) []int32 {
		part := rest[:n]
		rest = rest[n:]
		return part
	})
	for _, r := range rows {
		l.add(r, min(len(r.pending), chunk))
	}
	return l
}

// add lays out n pending tokens of a row and, if those are all, its draft.
func (l *layout) add(r *row, n int) {
	first := l.tokens
	if r.kv != nil {
		defer func() {
			own := seen{from: first, n: l.tokens - first, begun: r.out.CachedTokens, own: r.kv, length: r.length}
			if r.prefix != nil {
				own.prefix = r.prefix.kv
			}
			l.rows = append(l.rows, own)
		}()
	} else {
		l.lengths[r.at] = int32(r.length)
	}
	at := l.run(r, 0, r.pending[:n])
	l.taken = append(l.taken, n)
	if n < len(r.pending) {
		l.first = append(l.first, -1)
		return
	}
	l.first = append(l.first, l.choices)
	l.choose()
	for _, d := range r.draft {
		at = l.run(r, at, d)
		l.choose()
	}
}

// run lays out tokens of a row that follow the first at ones.
func (l *layout) run(r *row, at int, ids []int32) int {
	for _, id := range ids {
		t := l.tokens
		l.ids[t], l.positions[t] = id, int32(r.out.CachedTokens+r.length+at)
		l.seen[t] = int32(r.out.CachedTokens)
		if l.s > 0 {
			seat := r.at*l.s + at
			l.seats[seat], l.back[t] = int32(t), int32(seat)
			l.places = append(l.places, place{r.at, r.length + at})
		}
		l.tokens, at = t+1, at+1
	}
	return at
}

// choose has a token chosen after the last one laid out.
func (l *layout) choose() {
	l.last[l.choices] = int32(l.tokens - 1)
	l.choices++
}

// mask is the mask of choice i.
func (l *layout) mask(i int) []uint32 {
	words := len(l.masks) / l.r
	return l.masks[i*words : (i+1)*words]
}

// fillMasks writes the masks of all choices.
func (l *layout) fillMasks(rows []*row) error {
	for i, r := range rows {
		if l.first[i] < 0 {
			continue
		}
		if err := r.fillMasks(func(choice int) []uint32 { return l.mask(l.first[i] + choice) }); err != nil {
			return &rowError{r, err}
		}
	}
	return nil
}

// fillMasks writes the tokens allowed after the pending ones, and after each run
// of the draft, into the row's masks.
func (r *row) fillMasks(mask func(choice int) []uint32) error {
	m, left := r.Constraint, r.MaxNewTokens-len(r.out.IDs)
	for choice := 0; ; choice++ {
		words := mask(choice)
		if m == nil {
			allowAll(words)
		} else if allowed, err := m.Allowed(left); err == nil {
			halves(words, allowed)
		} else {
			return fmt.Errorf("generate: %w", err)
		}
		if choice == len(r.draft) {
			return nil
		}
		d := r.draft[choice]
		left -= len(d)
		if m == nil {
			continue
		}
		if choice == 0 {
			m = m.Clone()
		}
		for _, id := range d {
			if err := m.Accept(id); err != nil {
				return fmt.Errorf("generate: %w", err)
			}
		}
	}
}

func allowAll(words []uint32) {
	for i := range words {
		words[i] = 1<<32 - 1
	}
}

// halves writes a mask of 64-bit words as one of 32-bit words.
func halves(words []uint32, mask []uint64) {
	for i := range words {
		if i/2 < len(mask) {
			words[i] = uint32(mask[i/2] >> (32 * (i % 2)))
		}
	}
}
