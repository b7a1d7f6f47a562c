package generate

import (
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/gomlx/gomlx/core/tensors"

	"github.com/impulse-salamandra/finetune/salamandra"
)

// Start here. One goroutine, which exists only while there are requests, runs
// the loop: it admits requests that wait into free rows of the cache, makes a
// step for rows that can be computed together, and retires what has ended. A
// step is one pass through the model:
//
//	draft     speculate which tokens may come after the certain ones   speculate.go
//	shape     round the tokens up to one of few sizes                  shape.go
//	lay out   put tokens, positions and seats into the arguments       layout.go
//	mask      ask the constraints which tokens may be chosen where     layout.go
//	run       the compiled program: logits, keys and values            program.go
//	write     keep the new keys and values                             cache.go
//	advance   choose tokens as far as the drafts come true             row.go, sampling.go

// engine is the state of the running batch.
type engine struct {
	rows     []*row // by place in the cache, Slots of them; nil where free
	cache    kvCache
	spare    []*stretch // of rows that have ended
	turn     int        // the row that the next step is made for
	replaced []*variant
	paces    []*pace // of steps of one row, and of as many as there are
}

// pace is that of steps of so many rows.
func (e *engine) pace(width int) *pace { return e.paces[min(width, len(e.paces))-1] }

// run is the loop.
func (g *Generator) run() {
	e := &g.engine
	if e.rows == nil {
		e.rows = make([]*row, max(g.Slots, 1))
		e.cache.model = g.model
		for _, w := range []int{1, len(e.rows)} {
			e.paces = append(e.paces, newPace(g.model, w))
		}
	}
	for {
		tasks, v, closed := g.next()
		if tasks == nil {
			return
		}
		if closed {
			e.closeAll(tasks)
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
	idle := len(e.active()) == 0
	if idle && n <= 1 { // the next request may be alone
		if e.cache.w > 1 || e.cache.m > g.buckets(g.variant).room(1) {
			e.cache.free()
		}
		e.spare = e.spare[:min(1, len(e.spare))]
	}
	if idle && n == 0 {
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

// closeAll ends requests under way and those that wait.
func (e *engine) closeAll(waiting []*task) {
	for _, r := range e.active() {
		e.remove(r, errClosed)
	}
	for _, t := range waiting {
		t.finish(errClosed)
	}
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
	if t.job != nil {
		err := t.job(v)
		if err == nil {
			t.finish(nil)
		}
		return err
	}
	p, err := g.prefixOf(v, t.Prompt)
	if err != nil {
		return err
	}
	r := &row{task: t, variant: v, prefix: p, draw: rand.New(rand.NewPCG(t.Seed, t.stream)), at: slices.Index(g.engine.rows, nil)}
	r.out.PromptTokens, r.text = len(t.Prompt), slices.Clone(t.Prompt)
	if p != nil {
		p.rows++
		r.out.CachedTokens = len(p.ids)
	}
	v.rows++
	v.ngrams.learnFrom(t.Prompt, r.out.CachedTokens)
	if g.programs.onHost(v.adapter) {
		r.kv = g.engine.stretch()
	}
	g.engine.rows[r.at] = r
	forced, err := r.force()
	r.pending = slices.Concat(t.Prompt[r.out.CachedTokens:], forced)
	if err != nil || r.ended {
		g.engine.remove(r, err)
	}
	return nil
}

// stretch is an empty one for a row that begins.
func (e *engine) stretch() *stretch {
	if last := len(e.spare) - 1; last >= 0 {
		s := e.spare[last]
		e.spare = e.spare[:last]
		return s
	}
	return newStretch(&e.cache.model.Config, stretchRoom)
}

// stretchRoom is how many tokens a row has room for at first.
const stretchRoom = 256

// remove ends a request and frees its place.
func (e *engine) remove(r *row, err error) {
	e.rows[r.at] = nil
	if r.kv != nil {
		e.spare = append(e.spare, r.kv)
	}
	r.variant.rows--
	if r.prefix != nil {
		r.prefix.rows--
	}
	r.finish(err)
}

// lane returns rows that can be computed together, in turn: those of one variant, and
// where programs take the prefix those that have one, or none.
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
	if first.kv != nil {
		return slices.DeleteFunc(e.active(), func(r *row) bool { return r.variant != first.variant }), nil
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

// step makes one pass through the model. An error ends all requests of the step,
// unless it concerns only one.
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
	chunk, width := e.chunk(rows)
	b := g.buckets(rows[0].variant)
	size := b.draft(rows, chunk, width, g.SpeculativeTokens, e.pace(width))
	if p == nil && !b.host {
		var err error
		if p, err = g.filler(rows[0].variant); err != nil {
			return err
		}
	}
	shape, err := e.shape(b, rows, chunk, width, size, p)
	if err != nil {
		return err
	}
	l := newLayout(shape, rows, chunk, g.model.Config.VocabSize)
	if err := l.fillMasks(rows); err != nil {
		return err
	}
	compiled, begun := g.programs.compiled(), time.Now()
	out, err := g.execute(b, rows[0].variant.adapter, l, p)
	if err != nil {
		return err
	}
	defer out.free()
	if compiled == g.programs.compiled() {
		e.pace(width).note(shape.size, time.Since(begun).Seconds())
	}
	scores := &scores{result: out, layout: l, v: g.model.Config.VocabSize}
	for i, r := range rows {
		r.out.Steps++
		r.length += l.taken[i]
		r.pending = r.pending[l.taken[i]:]
		if l.first[i] < 0 {
			continue // a long prompt goes on
		}
		if err := r.advance(scores, l.first[i]); err != nil || r.ended {
			e.remove(r, err)
		}
	}
	return nil
}

// execute runs a step and keeps its keys and values.
func (g *Generator) execute(b buckets, a salamandra.Adapter, l *layout, p *prefix) (stepResult, error) {
	if b.host {
		return g.programs.runParts(a, l)
	}
	var prefixKV []*tensors.Tensor
	if p != nil {
		prefixKV = p.tensors
	}
	out, err := g.programs.runStep(a, l, &g.engine.cache, prefixKV)
	if err != nil {
		return out, err
	}
	if err := g.engine.cache.write(g.programs, out.kv, l.places); err != nil {
		out.free()
		return out, err
	}
	return out, nil
}

// chunk returns the most pending tokens of a row in the next step, and for how
// many rows it is made.
func (e *engine) chunk(rows []*row) (chunk, width int) {
	alone := len(e.active()) == 1 && (rows[0].kv != nil || rows[0].at == 0 && e.cache.w <= 1)
	switch {
	case alone:
		return chunkAlone, 1
	case slices.ContainsFunc(rows, func(r *row) bool { return len(r.pending) > chunkLong }):
		return chunkLong, len(e.rows)
	}
	return chunkShared, len(e.rows)
}

// shape returns the shape of a step and makes room for it in the cache. Drafted
// is the size that the drafts were made for.
func (e *engine) shape(b buckets, rows []*row, chunk, width int, drafted size, p *prefix) (stepShape, error) {
	c := &e.cache
	var least size
	room, choices := 0, 0
	for _, r := range rows {
		n := min(len(r.pending), chunk)
		if len(r.pending) <= chunk {
			choices += 1 + len(r.draft)
		}
		for _, d := range r.draft {
			n += len(d)
		}
		least.n, least.s, room = least.n+n, max(least.s, n), max(room, r.length+n)
		if r.kv != nil && r.length+n > r.kv.room {
			r.kv.grow(max(r.length+n, 2*r.kv.room))
		}
	}
	if b.host {
		s := stepShape{w: width, size: drafted}
		if b.exact {
			s.size = b.size(width, least)
		}
		s.r = b.chosen(choices, s.n, width)
		return s, nil
	}
	if err := c.grow(max(width, c.w), b.room(max(room, c.m))); err != nil {
		return stepShape{}, err
	}
	s := stepShape{w: c.w, m: c.m, size: drafted}
	if b.exact {
		s.size = b.size(s.w, least)
	}
	s.r = b.chosen(choices, s.n, s.w)
	if p != nil {
		s.p = p.places
	}
	return s, nil
}
