package salamandra

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/gomlx/gomlx/core/tensors"
)

// engine is the state of the running batch.
type engine struct {
	rows     []*row // by place in the cache, Slots of them; nil where free
	cache    kvCache
	turn     int // the row that the next step is made for
	replaced []*variant
}

// row is a request under way.
type row struct {
	*task
	g       *Generator
	variant *variant
	prefix  *prefix // nil for none
	draw    *rand.Rand
	at      int     // place in the cache
	length  int     // tokens in the cache
	text    []int32 // prompt and answer
	pending []int32 // tokens to compute before the next choice
	draft   []run   // what may come after them, computed with them
	guessed int     // tokens in drafts so far
	right   int     // of these, how many came true
	ended   bool
}

// run is a token and those that it forces.
type run []int32

// run is the engine: it takes requests in and makes steps until there is
// nothing to do.
func (g *Generator) run() {
	e := &g.engine
	e.cache.model = g.model
	if e.rows == nil {
		e.rows = make([]*row, max(g.Slots, 1))
	}
	for {
		tasks, v, closed := g.next()
		if tasks == nil {
			return
		}
		if closed {
			for _, r := range e.active() {
				e.remove(r, ErrClosed)
			}
			for _, t := range tasks {
				t.finish(ErrClosed)
			}
			continue
		}
		for _, t := range tasks {
			if err := g.admit(t, v); err != nil {
				t.finish(err)
			}
		}
		for _, r := range e.active() {
			if err := r.ctx.Err(); err != nil {
				e.remove(r, err)
			}
		}
		g.step()
		e.retire(nil)
	}
}

// next returns the tasks to begin with, at most as many as there are free rows,
// and nil where nothing is left to do: then the engine has ended.
func (g *Generator) next() ([]*task, *variant, bool) {
	e := &g.engine
	g.mu.Lock()
	defer g.mu.Unlock()
	e.retire(g.takeRetired())
	n := min(len(g.waiting), len(e.rows)-len(e.active()))
	if g.closed {
		n = len(g.waiting)
	}
	tasks := append([]*task{}, g.waiting[:n]...)
	g.waiting = slices.Delete(g.waiting, 0, n)
	if n == 0 && len(e.active()) == 0 {
		if e.cache.w > 1 || e.cache.m > e.cache.room(1) {
			e.cache.free() // the next request may be alone
		}
		g.running = false
		g.idle.Broadcast()
		return nil, nil, false
	}
	return tasks, g.variant, g.closed
}

// active returns the requests under way.
func (e *engine) active() []*row {
	return slices.DeleteFunc(slices.Clone(e.rows), func(r *row) bool { return r == nil })
}

// retire frees replaced variants that no request uses any more.
func (e *engine) retire(more []*variant) {
	e.replaced = slices.DeleteFunc(append(e.replaced, more...), func(v *variant) bool {
		if v.rows == 0 {
			v.free()
		}
		return v.rows == 0
	})
}

// admit begins a request.
func (g *Generator) admit(t *task, v *variant) error {
	if err := t.ctx.Err(); err != nil {
		return err
	}
	if t.warm {
		err := g.keep(v, t.Prompt)
		if err == nil {
			t.finish(nil)
		}
		return err
	}
	p, err := g.prefixOf(v, t.Prompt)
	if err != nil {
		return err
	}
	r := &row{task: t, g: g, variant: v, prefix: p, draw: rand.New(rand.NewPCG(t.Seed, t.stream)), at: slices.Index(g.engine.rows, nil)}
	r.out.PromptTokens, r.text = len(t.Prompt), slices.Clone(t.Prompt)
	if p != nil {
		p.rows++
		r.out.CachedTokens = len(p.ids)
	}
	v.rows++
	v.guesses.learnFrom(t.Prompt, r.out.CachedTokens)
	g.engine.rows[r.at] = r
	forced, err := r.force()
	r.pending = slices.Concat(t.Prompt[r.out.CachedTokens:], forced)
	if err != nil || r.ended {
		g.engine.remove(r, err)
	}
	return nil
}

// remove ends a request and frees its place.
func (e *engine) remove(r *row, err error) {
	e.rows[r.at] = nil
	r.variant.rows--
	if r.prefix != nil {
		r.prefix.rows--
	}
	r.finish(err)
}

// lane returns rows that can be computed together, in turn: those of one
// variant and one prefix, and those without a prefix.
func (e *engine) lane() (rows []*row, p *prefix) {
	var first *row
	for i := range e.rows {
		if r := e.rows[(e.turn+i)%len(e.rows)]; r != nil {
			first, e.turn = r, r.at+1
			break
		}
	}
	if first == nil {
		return nil, nil
	}
	p = first.prefix
	for _, r := range e.active() {
		if r.variant == first.variant && (p == nil || r.prefix == p || r.prefix == nil) {
			rows = append(rows, r)
			if p == nil {
				p = r.prefix
			}
		}
	}
	return slices.DeleteFunc(rows, func(r *row) bool { return r.prefix != nil && r.prefix != p }), p
}

// rowError is an error of one request.
type rowError struct {
	row *row
	err error
}

func (e *rowError) Error() string { return e.err.Error() }

// step makes one pass through the model. An error ends all requests it was
// made for, unless it is that of one.
func (g *Generator) step() {
	rows, p := g.engine.lane()
	if len(rows) == 0 {
		return
	}
	if err := g.compute(rows, p); err != nil {
		if of := (*rowError)(nil); errors.As(err, &of) {
			g.engine.remove(of.row, of.err)
			return
		}
		for _, r := range rows {
			if g.engine.rows[r.at] == r {
				g.engine.remove(r, err)
			}
		}
	}
}

// compute computes the next tokens of rows and takes what comes after them.
func (g *Generator) compute(rows []*row, p *prefix) error {
	e := &g.engine
	b, err := g.plan(rows, p)
	if err != nil {
		return err
	}
	var prefixKV []*tensors.Tensor
	if p != nil {
		prefixKV = p.tensors
	}
	out, err := g.call(rows[0].variant, b.shape, b.stepPlan, &e.cache, prefixKV)
	if err != nil {
		return err
	}
	defer out.free()
	if err := e.cache.write(g.programs, out.kv, b.places); err != nil {
		return err
	}
	scores := &scores{result: out, plan: b.stepPlan, v: g.model.Config.VocabSize}
	for i, r := range rows {
		r.out.Steps++
		r.length += b.taken[i]
		r.pending = r.pending[b.taken[i]:]
		if b.chosen[i] < 0 {
			continue // a long prompt goes on
		}
		err := r.advance(scores, b.chosen[i])
		if err != nil || r.ended {
			e.remove(r, err)
		}
	}
	return nil
}

// batch is a step for rows.
type batch struct {
	*stepPlan
	shape  stepShape
	places []place // of each token
	taken  []int   // pending tokens of each row that are computed
	chosen []int   // where in last the row's first is, -1 for none
}

// Most tokens of one request in a step: alone; where others would wait; and
// there where one has a prompt of more than four such steps.
const (
	chunkAlone  = 256
	chunkShared = 16
	chunkLong   = 64
)

// plan lays out a step.
func (g *Generator) plan(rows []*row, p *prefix) (*batch, error) {
	e := &g.engine
	b := &batch{}
	s := &b.shape
	chunk, width := chunkAlone, 1
	if slices.ContainsFunc(e.rows[1:], func(r *row) bool { return r != nil }) || e.cache.w > 1 {
		chunk, width = chunkShared, len(e.rows)
		if slices.ContainsFunc(rows, func(r *row) bool { return len(r.pending) > chunkLong }) {
			chunk = chunkLong
		}
	}
	room, places := 0, g.draft(rows, chunk, width)
	for _, r := range rows {
		n := min(len(r.pending), chunk)
		for _, d := range r.draft {
			n += len(d)
		}
		s.n, s.s, room = s.n+n, max(s.s, n), max(room, r.length+n)
	}
	if !g.model.interprets() {
		s.n = max(s.n, places) // rather than another program
	}
	if err := e.cache.grow(width, room); err != nil {
		return nil, err
	}
	s.w, s.m = e.cache.w, e.cache.m
	s.round(g.model)
	if p != nil {
		s.p = g.paddedPrefix(len(p.ids))
	}
	b.stepPlan = newStepPlan(*s, g.model.Config.VocabSize)
	tokens, last := 0, 0
	for _, r := range rows {
		n, from := min(len(r.pending), chunk), 0
		b.taken, b.chosen = append(b.taken, n), append(b.chosen, -1)
		b.lengths[r.at] = int32(r.length)
		add := func(ids []int32) {
			for _, id := range ids {
				b.ids[tokens], b.positions[tokens] = id, int32(r.out.CachedTokens+r.length+from)
				b.sees[tokens] = int32(r.out.CachedTokens)
				b.seats[r.at*s.s+from], b.back[tokens] = int32(tokens), int32(r.at*s.s+from)
				b.places = append(b.places, place{r.at, r.length + from})
				tokens, from = tokens+1, from+1
			}
		}
		add(r.pending[:n])
		if n < len(r.pending) {
			continue
		}
		b.chosen[len(b.chosen)-1] = last
		words := len(b.masks) / s.r
		err := r.masks(func(d run, fill func(mask []uint32) error) error {
			add(d)
			b.last[last] = int32(tokens - 1)
			last++
			return fill(b.masks[(last-1)*words : last*words])
		})
		if err != nil {
			return nil, &rowError{r, err}
		}
	}
	return b, nil
}

// round makes the shape one of few.
func (s *stepShape) round(m *Model) {
	s.n = m.roundTokens(s.n, s.w)
	s.r = m.mostChoices(s.n, s.w)
	if s.w == 1 {
		s.s = s.n
		return
	}
	if s.s > 1 {
		s.s = roundTo(s.s, chunkShared, 4)
	}
}

// roundTokens returns the places for n tokens of w rows.
func (m *Model) roundTokens(n, w int) int {
	switch {
	case w == 1:
		return roundTo(n, w, 4)
	case m.interprets():
		return roundTo(n, w, 2)
	case n > 4*w && n <= 8*w:
		return 8 * w // most steps of a full batch
	}
	return roundTo(n, w, 4)
}

// mostChoices is how many tokens can be chosen in a step of n places. All are
// computed, so that those that are not used cost something.
func (m *Model) mostChoices(n, w int) int {
	if m.interprets() {
		return min(n, max(8, 2*w))
	}
	return min(n, max(8, 3*w))
}

// roundTo returns the least of first, first·factor, ... that is n or more.
func roundTo(n, first, factor int) int {
	for first < n {
		first *= factor
	}
	return first
}

// masks visits the places after which a token of the row is chosen: that after
// the pending tokens, and those after each run of the draft. Visit gets the run
// and a function that writes the tokens allowed there.
func (r *row) masks(visit func(d run, fill func(mask []uint32) error) error) error {
	m := r.Constraint
	budget := r.MaxNewTokens - len(r.out.IDs)
	fill := func(mask []uint32) error {
		if m == nil {
			for i := range mask {
				mask[i] = 1<<32 - 1
			}
			return nil
		}
		allowed, err := m.Allowed(budget)
		if err != nil {
			return fmt.Errorf("salamandra: %w", err)
		}
		for i := range mask {
			if i/2 < len(allowed) {
				mask[i] = uint32(allowed[i/2] >> (32 * (i % 2)))
			}
		}
		return nil
	}
	if err := visit(nil, fill); err != nil {
		return err
	}
	for _, d := range r.draft {
		if m != nil {
			if m == r.Constraint {
				m = m.Clone()
			}
			for _, id := range d {
				if err := m.Accept(id); err != nil {
					return fmt.Errorf("salamandra: %w", err)
				}
			}
		}
		budget -= len(d)
		if err := visit(d, fill); err != nil {
			return err
		}
	}
	return nil
}

// advance takes the tokens that come after the pending ones, at place i of the
// scores: as long as the draft guessed them, several.
func (r *row) advance(s *scores, i int) error {
	draft := r.draft
	r.draft = nil
	for _, d := range draft {
		r.guessed += len(d)
	}
	for {
		id, err := s.choose(r, i)
		if err != nil {
			return err
		}
		tokens, err := r.take(id)
		if err != nil || r.ended {
			return err
		}
		if len(draft) == 0 || !slices.Equal(tokens, draft[0]) {
			r.pending = append(r.pending, tokens...)
			return nil
		}
		r.length += len(tokens)
		r.right += len(tokens)
		draft, i = draft[1:], i+1
	}
}

// take appends a chosen token and those it forces.
func (r *row) take(id int32) (run, error) {
	if slices.Contains(r.StopTokens, id) {
		r.out.Stopped, r.ended = true, true
		return nil, nil
	}
	if len(r.out.IDs) == r.out.ForcedTokens {
		r.out.FirstToken = time.Since(r.start)
	}
	if err := r.append(id); err != nil || r.ended {
		return nil, err
	}
	forced, err := r.force()
	return append(run{id}, forced...), err
}

// force appends the tokens that the constraint leaves no choice about.
func (r *row) force() ([]int32, error) {
	if r.Constraint == nil {
		return nil, nil
	}
	forced := r.Constraint.ForcedTokens(r.MaxNewTokens - len(r.out.IDs))
	for i, id := range forced {
		r.out.ForcedTokens++
		if err := r.append(id); err != nil || r.ended {
			return forced[:i+1], err
		}
	}
	return forced, nil
}

// append puts a token behind the answer.
func (r *row) append(id int32) error {
	r.out.IDs = append(r.out.IDs, id)
	r.variant.guesses.learn(r.text, id)
	r.text = append(r.text, id)
	err := r.emit(id)
	if r.Constraint != nil {
		err = errors.Join(err, r.Constraint.Accept(id))
		r.out.Stopped = r.Constraint.Done()
	}
	r.ended = r.out.Stopped || len(r.out.IDs) == r.MaxNewTokens
	return err
}
