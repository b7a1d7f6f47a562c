package train

import (
	"errors"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/impulse-salamandra/finetune/salamandra"
)

// A program of a whole model takes minutes to compile on a GPU, and its blocks are all
// the same. So a batch runs through programs of one block there:
//
//	start     tokens to the activations x before the first block
//	forward   a block: x to the next x, and what its backward pass finds
//	last      the last block and the head: the loss, the gradients by its x and factors
//	backward  a block: the gradient by its result to those by its x and factors
//	join      the gradients by the factors of all blocks to that by the vector
//
// On a processor, where blocks differ, and where the base is divided among devices,
// last is the only one: that of all blocks, from the tokens to the gradient by the
// vector.

// passes are the programs of one shape. Those to evaluate have no way back.
type passes struct {
	start, forward, last, backward, join *salamandra.Program
	blocks                               int            // before the last
	x                                    shapes.Shape   // [N, C]
	kept                                 []shapes.Shape // what forward returns beside x
}

// parts are the graphs of passes. They take what batchArguments says: forward then x,
// last x before the targets, backward the gradient by its result, x, and what forward
// kept of it; join takes the gradients of all blocks, in order.
type parts struct {
	start, forward, last, backward, join func(tr salamandra.Transformer, in []*Node) []*Node
}

// make makes the programs of the parts, which are nil to evaluate but for the first three.
func (p *passes) make(m *salamandra.Model, s batchShape, does string, of parts) error {
	block := func(name string, build func(tr salamandra.Transformer, in []*Node) []*Node) (*salamandra.Program, error) {
		return m.NewBlockProgram(name, nil, build)
	}
	p.x = shapes.Make(m.DType(), s.Tokens(), m.Config.HiddenSize)
	for _, part := range []struct {
		made  **salamandra.Program
		name  string
		make  func(name string, build func(tr salamandra.Transformer, in []*Node) []*Node) (*salamandra.Program, error)
		build func(tr salamandra.Transformer, in []*Node) []*Node
	}{
		{&p.start, "start", m.NewEndsProgram, of.start},
		{&p.forward, "forward", block, of.forward},
		{&p.last, "last", m.NewLastProgram, of.last},
		{&p.backward, "backward", block, of.backward},
		{&p.join, "join", m.NewEndsProgram, of.join},
	} {
		if part.build == nil {
			continue
		}
		var err error
		if *part.made, err = part.make(s.name(does+" "+part.name), part.build); err != nil {
			p.close()
			return err
		}
	}
	return nil
}

func (p *passes) all() []*salamandra.Program {
	var list []*salamandra.Program
	for _, q := range []*salamandra.Program{p.start, p.forward, p.last, p.backward, p.join} {
		if q != nil {
			list = append(list, q)
		}
	}
	return list
}

func (p *passes) close() {
	for _, q := range p.all() {
		q.Close()
	}
}

// batchArguments are what the passes over a batch take: all of them the vector of the
// adapter and, in training, the state; start the tokens; and last the targets and, in
// float16, the scale of the loss, which join takes too.
type batchArguments[T any] struct {
	common  []T
	tokens  T
	targets []T
	scale   []T
}

// list are the arguments in the order in which the program of all blocks takes them.
func (a batchArguments[T]) list() []T {
	return append(append(append(append([]T{}, a.common...), a.tokens), a.targets...), a.scale...)
}

// compile compiles the programs for arguments of these shapes.
func (p *passes) compile(a batchArguments[shapes.Shape], parameters int) error {
	if p.start == nil {
		return p.last.Compile(a.list()...)
	}
	x := p.x
	with := func(more ...shapes.Shape) []shapes.Shape {
		return append(append([]shapes.Shape{}, a.common...), more...)
	}
	if err := p.start.Compile(with(a.tokens)[1:]...); err != nil {
		return err
	}
	if p.blocks > 0 {
		if err := p.forward.Compile(with(x)...); err != nil {
			return err
		}
	}
	if p.blocks > 0 && p.backward != nil {
		if err := p.backward.Compile(with(append([]shapes.Shape{x, x}, p.kept...)...)...); err != nil {
			return err
		}
	}
	if err := p.last.Compile(with(append(append([]shapes.Shape{x}, a.targets...), a.scale...)...)...); err != nil || p.join == nil {
		return err
	}
	parts := make([]shapes.Shape, p.blocks+1)
	for i := range parts {
		parts[i] = shapes.Make(dtypes.Float32, parameters/len(parts))
	}
	return p.join.Compile(append(parts, a.scale...)...)
}

// run returns the loss sum of a batch and, in training, the gradient by the vector,
// computed on the device of m. The arguments stay.
func (p *passes) run(m *salamandra.Model, a batchArguments[any]) ([]*tensors.Tensor, error) {
	if p.start == nil {
		return p.last.On(m).Call(a.list()...)
	}
	r := &batchRun{passes: p, m: m, batchArguments: a}
	out, err := r.run()
	for _, t := range r.live {
		err = errors.Join(err, t.FinalizeAll())
	}
	return out, err
}

// batchRun is a batch on its way through the passes.
type batchRun struct {
	*passes
	batchArguments[any]
	m     *salamandra.Model
	found [][]*tensors.Tensor // what the backward pass of each block finds, x first
	parts []*tensors.Tensor   // gradients by the factors of each block
	live  []*tensors.Tensor   // tensors to free at the end
}

func (r *batchRun) with(more ...any) []any { return append(append([]any{}, r.common...), more...) }

func (r *batchRun) run() ([]*tensors.Tensor, error) {
	x, err := r.forwards()
	if err != nil {
		return nil, err
	}
	out, err := r.last.On(r.m).CallBlock(nil, r.blocks, r.with(append(append([]any{salamandra.Donate(x)}, r.targets...), r.scale...)...)...)
	if err != nil || r.join == nil {
		return out, err
	}
	loss := out[0]
	if err = r.backwards(out[1], out[2]); err == nil {
		out, err = r.join.On(r.m).Call(append(anyOf(r.parts), r.scale...)...)
	}
	if err != nil {
		return nil, errors.Join(err, loss.FinalizeAll())
	}
	return append([]*tensors.Tensor{loss}, out...), nil
}

// forwards returns x before the last block.
func (r *batchRun) forwards() (*tensors.Tensor, error) {
	out, err := r.start.On(r.m).Call(r.with(r.tokens)[1:]...)
	if err != nil {
		return nil, err
	}
	x := out[0]
	r.found = make([][]*tensors.Tensor, r.blocks)
	for i := range r.blocks {
		var in any = x
		if r.backward == nil {
			in = salamandra.Donate(x)
		} else {
			r.found[i] = append(r.found[i], x)
			r.live = append(r.live, x)
		}
		if out, err = r.forward.On(r.m).CallBlock(nil, i, r.with(in)...); err != nil {
			return nil, err
		}
		x = out[0]
		r.found[i] = append(r.found[i], out[1:]...)
		r.live = append(r.live, out[1:]...)
	}
	return x, nil
}

// backwards goes from the gradients by the last block's x and factors to those of all
// blocks.
func (r *batchRun) backwards(dx, part *tensors.Tensor) error {
	r.parts = make([]*tensors.Tensor, r.blocks+1)
	r.parts[r.blocks] = part
	r.live = append(r.live, part)
	for i := r.blocks - 1; i >= 0; i-- {
		in := append([]any{salamandra.Donate(dx)}, anyOf(r.found[i])...)
		out, err := r.backward.On(r.m).CallBlock(nil, i, r.with(in...)...)
		if err != nil {
			return err
		}
		for _, t := range r.found[i] {
			err = errors.Join(err, t.FinalizeAll())
		}
		dx, r.parts[i] = out[0], out[1]
		if r.live = append(r.live, out[1]); err != nil {
			return err
		}
	}
	return dx.FinalizeAll()
}

func anyOf(list []*tensors.Tensor) []any {
	out := make([]any, len(list))
	for i, t := range list {
		out[i] = t
	}
	return out
}
