package gobackend

import (
	"fmt"
	"slices"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
)

// step is an operation of a program.
type step struct {
	in   []view
	out  []*place
	run  func(out, in [][]byte) error
	over int // the input whose place the output may take, -1 for none
}

// program implements [compute.Executable].
type program struct {
	backend *Backend
	names   []string
	inputs  []shapes.Shape
	outputs []shapes.Shape
	results []*place // of the outputs: their own, an input's or a constant
	steps   []*step
	arena   int // its size in bytes
}

// compiler lowers a graph to steps.
type compiler struct {
	backend *Backend
	views   map[*node]view
	copies  map[string]view // views without gaps, by where they come from
	whole   map[*place]view // of 8-bit numbers, by where they are converted to
	program *program
}

// foldBytes is how large a constant may become that is computed once.
const foldBytes = 1 << 20

func compile(b *Backend, f *function) (*program, error) {
	c := &compiler{backend: b, views: map[*node]view{}, copies: map[string]view{}, whole: map[*place]view{}, program: &program{backend: b, names: f.names}}
	for i, n := range f.inputs {
		c.program.inputs = append(c.program.inputs, n.shape)
		c.views[n] = denseView(&place{kind: isInput, index: i}, n.shape)
	}
	used := needed(f.outputs)
	for _, call := range f.calls {
		if !used[call] || call.op == compute.OpTypeParameter {
			continue
		}
		if err := c.lower(call); err != nil {
			return nil, fmt.Errorf("%s: %w", call.op, err)
		}
	}
	taken := map[*place]bool{}
	for i, n := range f.outputs {
		v := c.dense(c.views[n])
		if v.place.kind != inArena || taken[v.place] || v.offset != 0 || v.place.size != size(v.dims)*v.width() {
			v = c.copyOf(v)
		}
		taken[v.place] = true
		v.place.kind, v.place.index = isOutput, i
		c.program.outputs = append(c.program.outputs, n.shape)
		c.program.results = append(c.program.results, v.place)
	}
	c.program.dropUnread()
	c.program.plan()
	return c.program, nil
}

// dropUnread leaves out steps whose results nothing reads.
func (p *program) dropUnread() {
	read := map[*place]bool{}
	for _, s := range slices.Backward(p.steps) {
		if slices.ContainsFunc(s.out, func(o *place) bool { return o.kind == isOutput || read[o] }) {
			for _, v := range s.in {
				read[v.place] = true
			}
			continue
		}
		s.run = nil
	}
	p.steps = slices.DeleteFunc(p.steps, func(s *step) bool { return s.run == nil })
}

// needed are the calls that outputs depend on.
func needed(outputs []*node) map[*call]bool {
	used := map[*call]bool{}
	var todo []*node
	for todo = slices.Clone(outputs); len(todo) > 0; {
		n := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if !used[n.call] {
			used[n.call] = true
			todo = append(todo, n.call.inputs...)
		}
	}
	return used
}

// lower adds the steps of a call.
func (c *compiler) lower(call *call) error {
	if call.op == compute.OpTypeConstant {
		c.views[call.results[0]] = denseView(&place{kind: isConstant, bytes: dtypes.UnsafeByteSliceFromAny(call.args[0])}, call.results[0].shape)
		return nil
	}
	in := make([]view, len(call.inputs))
	constant := true
	for i, n := range call.inputs {
		in[i] = c.views[n]
		constant = constant && in[i].place.kind == isConstant
	}
	var bytes int64
	for _, r := range call.results {
		bytes += r.shape.ByteSize()
	}
	before := len(c.program.steps)
	if len(call.results) == 1 {
		if lower := lowerings[call.op]; lower != nil {
			if out, ok := lower(c, call, in); ok {
				c.views[call.results[0]] = out
				return c.foldSteps(before, constant && bytes <= foldBytes)
			}
		}
	}
	if call.op == compute.OpTypeOptimizationBarrier {
		for i, r := range call.results {
			c.views[r] = in[i]
		}
		return nil
	}
	if err := c.leave(call, in); err != nil {
		return err
	}
	return c.foldSteps(before, constant && bytes <= foldBytes)
}

// foldSteps computes the steps from before on now, if they depend on constants only.
func (c *compiler) foldSteps(before int, constant bool) error {
	if !constant {
		return nil
	}
	for _, s := range c.program.steps[before:] {
		for _, p := range s.out {
			p.kind, p.bytes = isConstant, aligned(p.size)
		}
		if err := s.execute(func(p *place) []byte { return p.bytes }); err != nil {
			return err
		}
	}
	c.program.steps = c.program.steps[:before]
	return nil
}

// emit adds a step with one result without gaps. in are views whose strides the
// kernel knows; over is an input of the same size that may be overwritten, or -1.
func (c *compiler) emit(shape shapes.Shape, over int, run func(out []byte, in [][]byte), in ...view) view {
	p := &place{size: int(shape.ByteSize())}
	if over >= 0 && (!in[over].dense() || in[over].offset != 0 || in[over].place.size != p.size) {
		over = -1
	}
	c.program.steps = append(c.program.steps, &step{in: in, out: []*place{p}, over: over, run: func(out, in [][]byte) error {
		run(out[0], in)
		return nil
	}})
	return denseView(p, shape)
}

// dense is v without gaps: v itself, or a copy.
func (c *compiler) dense(v view) view {
	if v.dense() {
		return v
	}
	if v.place.kind == isConstant { // the copy may be for a step that is computed now
		return c.copyOf(v)
	}
	key := fmt.Sprintf("%p %d %d %d", v.place, v.offset, v.dims, v.strides)
	d, ok := c.copies[key]
	if !ok {
		d = c.copyOf(v)
		c.copies[key] = d
	}
	return d
}

func (c *compiler) copyOf(v view) view {
	return c.emit(shapes.Make(v.dtype, v.dims...), -1, func(out []byte, in [][]byte) {
		copyStrided(out, in[0], v.width(), v.dims, v.strides)
	}, v)
}

// leave makes a program of the backend inside for one call.
func (c *compiler) leave(call *call, in []view) error {
	b := c.backend.Backend.Builder(call.op.String())
	g := b.Main()
	values := make([]compute.Value, len(in))
	dense := make([]view, len(in))
	inShapes := make([]shapes.Shape, len(in))
	var err error
	for i, v := range in {
		dense[i], inShapes[i] = c.dense(v), call.inputs[i].shape
		if values[i], err = g.Parameter(fmt.Sprintf("x%d", i), inShapes[i], nil); err != nil {
			return err
		}
	}
	results, err := call.replay(g, values)
	if err != nil {
		return err
	}
	if err := g.Return(results, nil); err != nil {
		return err
	}
	executable, err := b.Compile()
	if err != nil {
		return err
	}
	s := &step{in: dense, over: -1}
	for _, r := range call.results {
		p := &place{size: int(r.shape.ByteSize())}
		s.out = append(s.out, p)
		c.views[r] = denseView(p, r.shape)
	}
	s.run = func(out, in [][]byte) error {
		buffers, donate := make([]compute.Buffer, len(in)), make([]bool, len(in))
		for i, bytes := range in {
			buffer, flat, err := c.backend.Backend.NewSharedBuffer(0, inShapes[i])
			if err != nil {
				return err
			}
			copy(dtypes.UnsafeByteSliceFromAny(flat), bytes)
			buffers[i], donate[i] = buffer, true
		}
		results, err := executable.Execute(buffers, donate, 0)
		if err != nil {
			return err
		}
		for i, r := range results {
			flat, err := r.Data()
			if err != nil {
				return err
			}
			copy(out[i], dtypes.UnsafeByteSliceFromAny(flat))
			_ = r.Finalize()
		}
		return nil
	}
	c.program.steps = append(c.program.steps, s)
	return nil
}

// plan gives places in the arena: each from the step that writes it to the last one
// that reads it.
func (p *program) plan() {
	for i, s := range p.steps {
		for _, o := range s.out {
			o.first, o.last = i, i
		}
		for _, v := range s.in {
			v.place.last = max(v.place.last, i)
		}
	}
	free := &spaces{}
	ending := make([][]*place, len(p.steps))
	for i, s := range p.steps {
		for j, o := range s.out {
			if o.kind != inArena {
				continue
			}
			if over := s.over; j == 0 && over >= 0 && s.in[over].place.kind == inArena && s.in[over].place.last == i && once(s.in, over) {
				from := s.in[over].place
				o.offset = from.offset
				ending[i] = slices.DeleteFunc(ending[i], func(p *place) bool { return p == from })
			} else {
				o.offset = free.take(o.size)
			}
			ending[o.last] = append(ending[o.last], o)
		}
		for _, o := range ending[i] {
			free.give(o.offset, o.size)
		}
	}
	p.arena = free.end
}

// once reports whether no other input of a step reads the place of input i elsewhere
// than where the step is at.
func once(in []view, i int) bool {
	for j, v := range in {
		if j != i && v.place == in[i].place && (!v.dense() || v.offset != 0 || size(v.dims) != size(in[i].dims)) {
			return false
		}
	}
	return true
}
