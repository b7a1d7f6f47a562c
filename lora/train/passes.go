package train

import (
	"errors"
	"slices"
	"sync"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/impulse-salamandra/finetune/salamandra"
)

// XLA takes half a minute for a program of all blocks of a small model, minutes for one
// of a large model on a GPU; and the blocks are all the same. So a batch runs through
// programs of one block:
//
//	start     tokens to the activations x before the first block
//	forward   a block: x to the next x, and what its backward pass finds
//	last      the last block and the head: the loss, the gradients by its x and factors
//	backward  a block: the gradient by its result to those by its x and factors
//	join      the gradients by the factors of all blocks to that by the vector
//
// Where blocks differ, where the base is divided among devices, and on the Go backend,
// which compiles nothing, last is the only one: that of all blocks, from the tokens to
// the gradient by the vector. Both ways compute the same, rounded differently.

// passes are the programs of one shape. Those to evaluate have no way back.
//
// The arguments of a batch are the vector of the adapter; in training the state; the
// tokens; the targets; and in float16 the scale of the loss. Of these, start takes the
// state and the tokens, join the scale after the gradients. The others take vector and
// state, which are common, and then: forward x; last x, the targets and the scale; backward
// the gradient by its result, x and what forward kept.
type passes struct {
	start, forward, last, backward, join *salamandra.Program

	err    error               // of making them
	blocks int                 // before the last
	common int                 // arguments that all blocks take
	x      shapes.Shape        // [N, C]
	kept   chan []shapes.Shape // gets what forward returns beside x, while it is compiled
}

// newPasses are those of a shape by blocks, still without programs.
func newPasses(m *salamandra.Model, s batchShape, common int) *passes {
	return &passes{blocks: m.Config.NumHiddenLayers - 1, common: common, x: shapes.Make(m.DType(), s.Tokens(), m.Config.HiddenSize), kept: make(chan []shapes.Shape, 1)}
}

// made notes that a program could not be made.
func (p *passes) made(q *salamandra.Program, err error) *salamandra.Program {
	p.err = errors.Join(p.err, err)
	return q
}

// all are the programs that there are.
func (p *passes) all() []*salamandra.Program {
	list := []*salamandra.Program{p.start, p.forward, p.last, p.backward, p.join}
	return slices.DeleteFunc(list, func(q *salamandra.Program) bool { return q == nil })
}

func (p *passes) close() {
	for _, q := range p.all() {
		q.Close()
	}
}

// compile compiles the programs for arguments of these shapes, of an adapter of n numbers.
func (p *passes) compile(args []shapes.Shape, n int) error {
	if p.err != nil {
		return p.err
	}
	if p.start == nil {
		return p.last.Compile(args...)
	}
	x, common, rest := []shapes.Shape{p.x}, args[:p.common], args[p.common+1:]
	part := shapes.Make(dtypes.Float32, n/(p.blocks+1))
	// Each takes one core, so they are compiled side by side.
	var group sync.WaitGroup
	errs := make([]error, 5)
	compile := func(i int, q *salamandra.Program, args ...[]shapes.Shape) {
		if q != nil {
			errs[i] = q.Compile(slices.Concat(args...)...)
		}
	}
	group.Go(func() { compile(0, p.last, common, x, rest) })
	group.Go(func() {
		compile(1, p.start, args[1:p.common+1])
		compile(2, p.join, slices.Repeat([]shapes.Shape{part}, p.blocks+1), rest[numTargets:])
	})
	if p.blocks > 0 {
		group.Go(func() {
			compile(3, p.forward, common, x)
			p.keeps(nil) // who still waits waits in vain
		})
		group.Go(func() {
			if kept := <-p.kept; kept != nil {
				compile(4, p.backward, common, x, x, kept)
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

// keeps tells, once, what forward returns beside x; nil if that will not be known.
func (p *passes) keeps(list []shapes.Shape) {
	select {
	case p.kept <- list:
	default:
	}
}

// run returns the loss sum of a batch and, in training, the gradient by the vector,
// computed on the device of m. The arguments stay.
func (p *passes) run(m *salamandra.Model, args []any) ([]*tensors.Tensor, error) {
	if p.start == nil {
		return p.last.On(m).Call(args...)
	}
	r := &batchRun{passes: p, m: m, args: args}
	out, err := r.run()
	for _, t := range slices.Concat(append(r.found, r.parts)...) {
		err = errors.Join(err, t.FinalizeAll())
	}
	return out, err
}

// batchRun is a batch on its way through the passes.
type batchRun struct {
	*passes
	m     *salamandra.Model
	args  []any
	found [][]*tensors.Tensor // what the backward pass of each block finds, x first
	parts []*tensors.Tensor   // gradients by the factors of the last blocks
}

// block runs a program of one block.
func (r *batchRun) block(p *salamandra.Program, i int, more ...any) ([]*tensors.Tensor, error) {
	return p.On(r.m).CallBlock(nil, i, append(slices.Clone(r.args[:r.common]), more...)...)
}

func (r *batchRun) run() ([]*tensors.Tensor, error) {
	x, err := r.forwards()
	if err != nil {
		return nil, err
	}
	rest := r.args[r.common+1:]
	out, err := r.block(r.last, r.blocks, append([]any{salamandra.Donate(x)}, rest...)...)
	if err != nil || r.join == nil {
		return out, err
	}
	loss := out[0]
	r.parts = out[2:]
	if err = r.backwards(out[1]); err == nil {
		out, err = r.join.On(r.m).Call(append(anyOf(r.parts), rest[numTargets:]...)...)
	}
	if err != nil {
		return nil, errors.Join(err, loss.FinalizeAll())
	}
	return append([]*tensors.Tensor{loss}, out...), nil
}

// forwards returns x before the last block.
func (r *batchRun) forwards() (*tensors.Tensor, error) {
	out, err := r.start.On(r.m).Call(r.args[1 : r.common+1]...)
	if err != nil {
		return nil, err
	}
	for i := range r.blocks {
		x := out[0]
		var in any = x
		if r.backward == nil {
			in = salamandra.Donate(x)
		} else {
			r.found = append(r.found, []*tensors.Tensor{x})
		}
		if out, err = r.block(r.forward, i, in); err != nil {
			return nil, err
		}
		if r.backward != nil {
			r.found[i] = append(r.found[i], out[1:]...)
		}
	}
	return out[0], nil
}

// backwards goes from the gradient by the last block's x to those by the factors of
// all blocks.
func (r *batchRun) backwards(dx *tensors.Tensor) error {
	for i := r.blocks - 1; i >= 0; i-- {
		out, err := r.block(r.backward, i, append([]any{salamandra.Donate(dx)}, anyOf(r.found[i])...)...)
		if err != nil {
			return err
		}
		dx, r.parts = out[0], append(out[1:], r.parts...)
		for _, t := range r.found[i] {
			err = errors.Join(err, t.FinalizeAll())
		}
		if err != nil {
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
