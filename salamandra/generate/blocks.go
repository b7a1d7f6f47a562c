package generate

import (
	"cmp"
	"fmt"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/impulse-salamandra/finetune/salamandra"
	"github.com/impulse-salamandra/finetune/salamandra/llama"
)

// parts of a step by blocks: what comes before them; of each block what comes before and
// after attention; the head.
type stepParts struct{ embed, before, after, head call }

// parts returns the programs of a step by blocks, which depend on the number of tokens
// and choices alone.
func (ps *programs) parts(a salamandra.Adapter, s stepShape) (p stepParts, err error) {
	if p.embed, err = ps.embed(s.n); err != nil {
		return p, err
	}
	p.before.takes = []shapes.Shape{ps.states(s.n), shapes.Make(dtypes.Int32, s.n)}
	if p.before.Program, err = ps.get(ps.some(1), a, fmt.Sprintf("before attention N=%d", s.n), beforeAttention); err != nil {
		return p, err
	}
	p.after.takes = []shapes.Shape{ps.states(s.n), attendedShape(&ps.model.Config, s.n)}
	if p.after.Program, err = ps.get(giving(0, 1, ps.some(1)), a, fmt.Sprintf("after attention N=%d", s.n), afterAttention); err != nil {
		return p, err
	}
	p.head, err = ps.head(s.n, s.r)
	return p, err
}

// beforeAttention gives the queries, keys and values of tokens, as [heads] has them.
func beforeAttention(t salamandra.Transformer, args []*Node) []*Node {
	q, k, v := t.BeforeAttention(0, args[0], args[1])
	all := ConvertDType(Concatenate([]*Node{q, k, v}, 1), dtypes.Float32)
	return []*Node{Reshape(all, all.Shape().Dim(0), -1)}
}

func afterAttention(t salamandra.Transformer, args []*Node) []*Node {
	return []*Node{t.AfterAttention(0, args[0], ConvertDType(args[1], args[0].DType()))}
}

// attendedShape is the shape of attention's result.
func attendedShape(config *llama.Config, n int) shapes.Shape {
	return shapes.Make(dtypes.Float32, n, config.NumAttentionHeads*config.HeadDim)
}

// runParts runs a step by blocks.
func (ps *programs) runParts(a salamandra.Adapter, l *layout) (stepResult, error) {
	p, err := ps.parts(a, l.stepShape)
	if err != nil {
		return stepResult{}, err
	}
	tokens, err := ps.model.Tokens(l.ids)
	if err != nil {
		return stepResult{}, err
	}
	positions := tensors.FromFlatDataAndDimensions(l.positions, l.n)
	masks := tensors.FromFlatDataAndDimensions(l.masks, l.r, len(l.masks)/l.r)
	defer finalize([]*tensors.Tensor{positions, masks})
	x, err := one(p.embed.Call(salamandra.Donate(tokens)))
	if err != nil {
		return stepResult{}, err
	}
	for i := range ps.model.Config.NumHiddenLayers {
		heads, err := one(p.before.CallBlock(a, i, x, positions))
		if err != nil {
			return stepResult{}, err
		}
		attended, err := ps.attend(i, heads, l)
		if err != nil {
			return stepResult{}, err
		}
		if x, err = one(p.after.CallBlock(a, i, salamandra.Donate(x), salamandra.Donate(attended))); err != nil {
			return stepResult{}, err
		}
	}
	out, err := p.head.Call(salamandra.Donate(x), l.last, masks)
	if err != nil {
		return stepResult{}, err
	}
	return chosen(out[0], out[1], nil)
}

// one is the only result of a program.
func one(out []*tensors.Tensor, err error) (*tensors.Tensor, error) {
	if err != nil {
		return nil, err
	}
	return out[0], nil
}

// attend runs attention on what a program gave, which it frees.
func (ps *programs) attend(layer int, given *tensors.Tensor, l *layout) (*tensors.Tensor, error) {
	defer finalize([]*tensors.Tensor{given})
	config := &ps.model.Config
	out, err := tensors.FromShapeForBackend(ps.model.Backend(), compute.DeviceNum(ps.model.Device()), attendedShape(config, l.n))
	if err != nil {
		return nil, fmt.Errorf("generate: %w", err)
	}
	var inner error
	err = tensors.ConstFlatData(given, func(numbers []float32) {
		inner = tensors.MutableFlatData(out, func(to []float32) {
			attend(layer, heads{config, numbers}, l.rows, to)
			clear(to[l.tokens*config.NumAttentionHeads*config.HeadDim:])
		})
	})
	if err = cmp.Or(err, inner); err != nil {
		finalize([]*tensors.Tensor{out})
		return nil, fmt.Errorf("generate: %w", err)
	}
	return out, nil
}

// stretchOf copies a prefix of n tokens, as runPrefix gives it, to the host, and
// frees it.
func stretchOf(config *llama.Config, kv []*tensors.Tensor, n int) (*stretch, error) {
	defer finalize(kv)
	s := newStretch(config, n)
	for i := range config.NumHiddenLayers {
		var inner error
		err := tensors.ConstFlatData(kv[2*i], func(keys []float32) {
			inner = tensors.ConstFlatData(kv[2*i+1], func(values []float32) {
				d, places := config.HeadDim, kv[2*i].Shape().Dim(2)
				for head := range config.NumKeyValueHeads {
					for t := range n {
						at := (head*places + t) * d
						s.put(i, head, t, keys[at:at+d], values[at:at+d])
					}
				}
			})
		})
		if err = cmp.Or(err, inner); err != nil {
			return nil, fmt.Errorf("generate: %w", err)
		}
	}
	return s, nil
}
