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

// gradientProgram returns the program of an input's shape: loss sum and the
// gradient vector. In float16 it takes the scale of the loss as well.
func (t *Trainer) gradientProgram(in *input) (*salamandra.Program, error) {
	args := t.argumentShapes(in)
	if t.state.LossScale != nil {
		args = append(args, shapes.Make(dtypes.Float32))
	}
	c := compilation{"compiling shape", t.train, t.gradients, args}
	return t.program(c, in, func(s batchShape) (*salamandra.Program, error) {
		return t.model.NewProgram(s.name("gradients"), nil, func(tr salamandra.Transformer, in []*Node) []*Node {
			factors := bindTraining(&tr, t.layers, in[0], in[1])
			tr.Keep = salamandra.KeepProducts
			if t.config.GradientCheckpointing {
				tr.Keep = salamandra.KeepBlocks
			}
			x := neftune(tr.Embed(in[2]), in[1], s.SharedPrefix, t.config.NEFTuneAlpha)
			weights, scale := in[5], (*Node)(nil)
			if len(in) > 6 {
				scale = in[6]
				weights = Mul(weights, scale)
			}
			loss, gradients := (&lossGraph{tr, s, t.config.HeadChunk}).gradients(x, targets{in[3], in[4], weights}, factors)
			gradient := flatten(gradients)
			if scale != nil {
				loss, gradient = Div(loss, scale), Div(gradient, scale)
			}
			return []*Node{loss, gradient}
		})
	})
}

// lossProgram returns the program of an input's shape: the loss sum,
// without dropout.
func (t *Trainer) lossProgram(in *input) (*salamandra.Program, error) {
	c := compilation{"compiling shape to evaluate", t.eval, t.losses, t.argumentShapes(in)}
	return t.program(c, in, func(s batchShape) (*salamandra.Program, error) {
		return t.model.NewProgram(s.name("loss"), nil, func(tr salamandra.Transformer, in []*Node) []*Node {
			tr.Linear = t.layers.Linear(in[:1])
			return []*Node{lossGraph{tr, s, t.config.HeadChunk}.sum(tr.Embed(in[1]), targets{in[2], in[3], in[4]})}
		})
	})
}

// argumentShapes are those of what a program takes: the adapter and the input.
func (t *Trainer) argumentShapes(in *input) []shapes.Shape {
	return append([]shapes.Shape{shapes.Make(dtypes.Float32, t.layers.NumParameters())}, in.shapes()...)
}

// compilation says which programs there are and how another is compiled.
type compilation struct {
	phase string
	plan  *dataset.Plan
	made  map[batchShape]*salamandra.Program
	args  []shapes.Shape
}

// program looks a program up by the shape of a batch, or makes and compiles it. Who
// needs one that another is compiling waits for it, unless it is only for later.
func (t *Trainer) program(c compilation, in *input, build func(batchShape) (*salamandra.Program, error)) (*salamandra.Program, error) {
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
		if err = p.Compile(c.args...); err != nil {
			p.Close()
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
