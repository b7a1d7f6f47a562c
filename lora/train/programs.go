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
	args := t.argumentShapes(in)
	if t.state.LossScale != nil {
		args = append(args, shapes.Make(dtypes.Float32))
	}
	c := compilation{"compiling shape", t.train, t.gradients, args}
	return t.program(c, in, func(s batchShape) *passes {
		s = s.filled(t.model.Backend().HasSharedBuffers())
		if t.byBlocks {
			return t.gradientPasses(s)
		}
		p := new(passes)
		p.last = p.made(t.model.NewProgram(s.name("gradients"), nil, func(tr salamandra.Transformer, in []*Node) []*Node {
			tr.Keep = t.config.keep()
			factors := t.bind(&tr, in[0], in[1])
			x := s.embed(tr, in[1], in[2], t.config.NEFTuneAlpha)
			loss, _, gradients := t.scaledGradients(tr, s, x, in[3:], factors)
			return []*Node{loss, unscaled(flatten(gradients), in[6:])}
		}))
		return p
	})
}

// scaledGradients are [lossGraph.gradients] of targets and, in float16, a scale. The
// loss is unscaled.
func (t *Trainer) scaledGradients(tr salamandra.Transformer, s batchShape, x *Node, in, factors []*Node) (loss, dx *Node, gradients []*Node) {
	weights := in[2]
	for _, scale := range in[numTargets:] {
		weights = Mul(weights, scale)
	}
	loss, dx, gradients = lossGraph{tr, s, t.config.HeadChunk}.gradients(x, targets{in[0], in[1], weights}, factors)
	return unscaled(loss, in[numTargets:]), dx, gradients
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

// gradientPasses are those of one block of a shape to train on.
func (t *Trainer) gradientPasses(s batchShape) *passes {
	m, p := t.model, newPasses(t.model, s, 2)
	blocks := func(tr salamandra.Transformer, x *Node) *Node {
		return tr.Blocks(x, s.Positions(x.Graph()), s.SharedPrefix)
	}
	p.start = p.made(m.NewEndsProgram(s.name("gradients start"), func(tr salamandra.Transformer, in []*Node) []*Node {
		return []*Node{s.embed(tr, in[0], in[1], t.config.NEFTuneAlpha)}
	}))
	p.forward = p.made(m.NewBlockProgram(s.name("gradients forward"), nil, func(tr salamandra.Transformer, in []*Node) []*Node {
		tr.Keep, tr.Kept = t.config.keep(), salamandra.Keeping()
		t.bind(&tr, in[0], in[1])
		x := blocks(tr, in[2])
		kept := []shapes.Shape{}
		for _, n := range tr.Kept.Nodes {
			kept = append(kept, n.Shape())
		}
		p.keeps(kept)
		return append([]*Node{x}, tr.Kept.Nodes...)
	}))
	p.backward = p.made(m.NewBlockProgram(s.name("gradients backward"), nil, func(tr salamandra.Transformer, in []*Node) []*Node {
		tr.Keep, tr.Kept = t.config.keep(), salamandra.Found(in[4:])
		factors := t.bind(&tr, in[0], in[1])
		dx, x := in[2], in[3]
		gradients := tr.Kept.Gradients(blocks(tr, x), dx, append(slices.Clip(factors), x)...)
		return []*Node{gradients[len(factors)], flatten(gradients[:len(factors)])}
	}))
	p.last = p.made(m.NewLastProgram(s.name("gradients last"), func(tr salamandra.Transformer, in []*Node) []*Node {
		loss, dx, gradients := t.scaledGradients(tr, s, in[2], in[3:], t.bind(&tr, in[0], in[1]))
		return []*Node{loss, dx, flatten(gradients)}
	}))
	p.join = p.made(m.NewEndsProgram(s.name("gradients join"), func(_ salamandra.Transformer, in []*Node) []*Node {
		return []*Node{unscaled(Concatenate(in[:p.blocks+1], 0), in[p.blocks+1:])}
	}))
	if p.err == nil { // x, and the gradient by a block's result
		p.last.Gives(2, 1)
		p.backward.Gives(2, 1)
	}
	return p
}

// lossProgram returns the programs of an input's shape: the loss sum, without dropout.
func (t *Trainer) lossProgram(in *input) (*passes, error) {
	c := compilation{"compiling shape to evaluate", t.eval, t.losses, t.argumentShapes(in)}
	return t.program(c, in, func(s batchShape) *passes {
		last := func(tr salamandra.Transformer, in []*Node) []*Node {
			t.bind(&tr, in[0], nil)
			x := in[1]
			if tr.Block == nil {
				x = tr.Embed(x)
			}
			return []*Node{lossGraph{tr, s, t.config.HeadChunk}.sum(x, targets{in[2], in[3], in[4]})}
		}
		m, p := t.model, newPasses(t.model, s, 1)
		if !t.byBlocks {
			p.last = p.made(m.NewProgram(s.name("loss"), nil, last))
			return p
		}
		p.start = p.made(m.NewEndsProgram(s.name("loss start"), func(tr salamandra.Transformer, in []*Node) []*Node { return []*Node{tr.Embed(in[0])} }))
		p.forward = p.made(m.NewBlockProgram(s.name("loss forward"), nil, func(tr salamandra.Transformer, in []*Node) []*Node {
			t.bind(&tr, in[0], nil)
			return []*Node{tr.Blocks(in[1], s.Positions(in[1].Graph()), s.SharedPrefix)}
		}))
		p.last = p.made(m.NewLastProgram(s.name("loss last"), last))
		if p.err == nil {
			p.forward.Gives(1, 1)
		}
		return p
	})
}

// argumentShapes are those of what the programs of an input take.
func (t *Trainer) argumentShapes(in *input) []shapes.Shape {
	return append([]shapes.Shape{shapes.Make(dtypes.Float32, t.layers.NumParameters())}, in.shapes()...)
}

// numTargets counts what targets are.
const numTargets = 3

// compilation says which programs there are and how another is compiled.
type compilation struct {
	phase string
	plan  *dataset.Plan
	made  map[batchShape]*passes
	args  []shapes.Shape
}

// program looks a program up by the shape of a batch, or makes and compiles it. Who
// needs one that another is compiling waits for it, unless it is only for later.
func (t *Trainer) program(c compilation, in *input, build func(batchShape) *passes) (*passes, error) {
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
	p = build(s)
	err := p.compile(c.args, t.layers.NumParameters())
	t.making.Lock()
	t.changed.Broadcast()
	if err != nil {
		p.close()
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
