package train

import (
	"fmt"
	"slices"
	"time"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"

	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/salamandra"
)

// batchShape is what programs are compiled for.
type batchShape struct {
	salamandra.SharedPrefix
	first, targets int // the token that targets count from, and how many
}

func shapeOf(b dataset.Batch) batchShape {
	return batchShape{salamandra.SharedPrefix{P: b.P, B: b.B, S: b.S}, b.TargetsFrom, b.N}
}

// name is that of the program that does something for the shape.
func (s batchShape) name(does string) string {
	return fmt.Sprintf("%s P=%d B=%d S=%d T=%d", does, s.P, s.B, s.S, s.targets)
}

// gradientProgram returns the programs of an input's shape: loss sum and the
// gradient vector. In float16 they take the scale of the loss as well.
func (t *Trainer) gradientProgram(in *input) (*passes, error) {
	a := t.argumentShapes(in)
	if t.state.LossScale != nil {
		a.scale = append(a.scale, shapes.Make(dtypes.Float32))
	}
	c := compilation{"compiling shape", t.train, t.gradients, a}
	return t.program(c, in, func(s batchShape) (*passes, error) {
		s = s.filled(t.model.Backend().HasSharedBuffers())
		if t.byBlocks {
			return t.gradientPasses(s)
		}
		last, err := t.model.NewProgram(s.name("gradients"), nil, func(tr salamandra.Transformer, in []*Node) []*Node {
			factors := t.bind(&tr, in[0], in[1])
			tr.Keep = t.config.keep()
			x := s.embed(tr, in[1], in[2], t.config.NEFTuneAlpha)
			loss, _, gradients := t.scaledGradients(tr, s, x, in[3:], factors)
			return []*Node{loss, unscaled(flatten(gradients), in[6:])}
		})
		return &passes{last: last}, err
	})
}

// scaledGradients are [lossGraph.gradients] of targets and, in float16, a scale. The
// loss is unscaled.
func (t *Trainer) scaledGradients(tr salamandra.Transformer, s batchShape, x *Node, in, factors []*Node) (loss, dx *Node, gradients []*Node) {
	weights := in[2]
	for _, scale := range in[3:] {
		weights = Mul(weights, scale)
	}
	loss, dx, gradients = lossGraph{tr, s, t.config.HeadChunk}.gradients(x, targets{in[0], in[1], weights}, factors)
	return unscaled(loss, in[3:]), dx, gradients
}

// unscaled divides x by the scale, if there is one.
func unscaled(x *Node, scale []*Node) *Node {
	for _, s := range scale {
		x = Div(x, s)
	}
	return x
}

// keep is what training keeps for the backward pass.
func (c Config) keep() salamandra.Keep {
	if c.GradientCheckpointing {
		return salamandra.KeepBlocks
	}
	return salamandra.KeepProducts
}

// gradientPasses makes the programs of one block of a shape to train on.
func (t *Trainer) gradientPasses(s batchShape) (*passes, error) {
	p := &passes{blocks: t.model.Config.NumHiddenLayers - 1}
	blocks := func(tr salamandra.Transformer, x *Node) *Node {
		return tr.Blocks(x, s.Positions(x.Graph()), s.SharedPrefix)
	}
	return p, p.make(t.model, s, "gradients", parts{
		start: func(tr salamandra.Transformer, in []*Node) []*Node {
			return []*Node{s.embed(tr, in[0], in[1], t.config.NEFTuneAlpha)}
		},
		forward: func(tr salamandra.Transformer, in []*Node) []*Node {
			tr.Keep, tr.Kept = t.config.keep(), salamandra.Keeping()
			t.bind(&tr, in[0], in[1])
			x := blocks(tr, in[2])
			p.kept = nil
			for _, n := range tr.Kept.Nodes {
				p.kept = append(p.kept, n.Shape())
			}
			return append([]*Node{x}, tr.Kept.Nodes...)
		},
		last: func(tr salamandra.Transformer, in []*Node) []*Node {
			tr.Kept = new(salamandra.Kept)
			loss, dx, gradients := t.scaledGradients(tr, s, in[2], in[3:], t.bind(&tr, in[0], in[1]))
			return []*Node{loss, dx, flatten(gradients)}
		},
		backward: func(tr salamandra.Transformer, in []*Node) []*Node {
			tr.Keep, tr.Kept = t.config.keep(), salamandra.Found(in[4:])
			factors := t.bind(&tr, in[0], in[1])
			dx, x := in[2], in[3]
			gradients := tr.Kept.Gradients(blocks(tr, x), dx, append(slices.Clip(factors), x)...)
			return []*Node{gradients[len(factors)], flatten(gradients[:len(factors)])}
		},
		join: func(_ salamandra.Transformer, in []*Node) []*Node {
			return []*Node{unscaled(Concatenate(in[:p.blocks+1], 0), in[p.blocks+1:])}
		},
	})
}

// lossProgram returns the programs of an input's shape: the loss sum,
// without dropout.
func (t *Trainer) lossProgram(in *input) (*passes, error) {
	c := compilation{"compiling shape to evaluate", t.eval, t.losses, t.argumentShapes(in)}
	return t.program(c, in, func(s batchShape) (*passes, error) {
		loss := func(tr salamandra.Transformer, x *Node, in []*Node) []*Node {
			return []*Node{lossGraph{tr, s, t.config.HeadChunk}.sum(x, targets{in[0], in[1], in[2]})}
		}
		if !t.byBlocks {
			last, err := t.model.NewProgram(s.name("loss"), nil, func(tr salamandra.Transformer, in []*Node) []*Node {
				t.bind(&tr, in[0], nil)
				return loss(tr, tr.Embed(in[1]), in[2:])
			})
			return &passes{last: last}, err
		}
		p := &passes{blocks: t.model.Config.NumHiddenLayers - 1}
		return p, p.make(t.model, s, "loss", parts{
			start: func(tr salamandra.Transformer, in []*Node) []*Node { return []*Node{tr.Embed(in[0])} },
			forward: func(tr salamandra.Transformer, in []*Node) []*Node {
				t.bind(&tr, in[0], nil)
				return []*Node{tr.Blocks(in[1], s.Positions(in[1].Graph()), s.SharedPrefix)}
			},
			last: func(tr salamandra.Transformer, in []*Node) []*Node {
				t.bind(&tr, in[0], nil)
				return loss(tr, in[1], in[2:])
			},
		})
	})
}

// argumentShapes are those of what the programs of an input take.
func (t *Trainer) argumentShapes(in *input) batchArguments[shapes.Shape] {
	return cutInput(shapes.Make(dtypes.Float32, t.layers.NumParameters()), in.shapes())
}

// cutInput are the arguments of a batch whose tensors, or shapes, are in: the state, in
// training, the tokens and the targets.
func cutInput[T any](vector T, in []T) batchArguments[T] {
	n := len(in) - numTargets
	return batchArguments[T]{common: append([]T{vector}, in[:n-1]...), tokens: in[n-1], targets: in[n:]}
}

// numTargets counts what targets are.
const numTargets = 3

// compilation says which programs there are and how another is compiled.
type compilation struct {
	phase string
	plan  *dataset.Plan
	made  map[batchShape]*passes
	args  batchArguments[shapes.Shape]
}

// program looks a program up by the shape of a batch, or makes and compiles it. Who
// needs one that another is compiling waits for it, unless it is only for later.
func (t *Trainer) program(c compilation, in *input, build func(batchShape) (*passes, error)) (*passes, error) {
	s := shapeOf(in.Batch)
	start := time.Now()
	t.making.Lock()
	defer t.making.Unlock()
	p, underway := c.made[s]
	if !in.early && !t.needed[c.phase][s] {
		if t.needed[c.phase] == nil {
			t.needed[c.phase] = map[batchShape]bool{}
		}
		t.needed[c.phase][s] = true
		t.progress(c.phase, int64(len(t.needed[c.phase])), int64(len(c.plan.Shapes)))
	}
	if p != nil || underway && in.early {
		return p, nil
	}
	if !in.early {
		defer func() { t.compiling += time.Since(start) }()
	}
	for underway && p == nil {
		t.changed.Wait()
		p, underway = c.made[s]
	}
	if p != nil {
		return p, nil
	}
	c.made[s] = nil // underway
	t.making.Unlock()
	p, err := build(s)
	if err == nil {
		if err = p.compile(c.args, t.layers.NumParameters()); err != nil {
			p.close()
		}
	}
	t.making.Lock()
	t.changed.Broadcast()
	if err != nil {
		delete(c.made, s)
		return nil, err
	}
	c.made[s] = p
	return p, nil
}

// arguments are the batch as the programs of a model take it.
func arguments(m *salamandra.Model, b dataset.Batch) ([]any, error) {
	tokens, err := m.Tokens(slices.Concat(b.Prefix, b.Suffix))
	return []any{tokens, b.TargetPositions, b.Labels, b.Weights}, err
}
