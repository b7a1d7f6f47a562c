package train

import (
	. "github.com/gomlx/gomlx/core/graph"

	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/salamandra"
)

// batchShape is what programs are compiled for.
type batchShape struct {
	salamandra.SharedPrefix
	first, targets int // the token that targets count from, and how many
}

// gradientProgram returns the program of a batch's shape: loss sum and the
// gradient vector.
func (t *Trainer) gradientProgram(b dataset.Batch) (*salamandra.Program, error) {
	return program(t.gradients, b, func(s batchShape) (*salamandra.Program, error) {
		return t.model.NewProgram("gradients", nil, func(tr salamandra.Transformer, in []*Node) []*Node {
			factors := bindTraining(&tr, t.layers, in[0], in[1])
			tr.Keep = salamandra.KeepProducts
			if t.config.GradientCheckpointing {
				tr.Keep = salamandra.KeepBlocks
			}
			x := neftune(tr.Embed(in[2]), in[1], s.SharedPrefix, t.config.NEFTuneAlpha)
			loss, gradients := lossSum(tr, s.SharedPrefix, s.first, x, in[3], in[4], in[5], t.config.HeadChunk, factors)
			return []*Node{loss, flatten(gradients)}
		})
	})
}

// lossProgram returns the program of a batch's shape: loss sum alone.
func (t *Trainer) lossProgram(b dataset.Batch) (*salamandra.Program, error) {
	return program(t.losses, b, func(s batchShape) (*salamandra.Program, error) {
		return t.model.NewProgram("loss", t.layers, func(tr salamandra.Transformer, in []*Node) []*Node {
			loss, _ := lossSum(tr, s.SharedPrefix, s.first, tr.Embed(in[0]), in[1], in[2], in[3], t.config.HeadChunk, nil)
			return []*Node{loss}
		})
	})
}

// program looks a program up by the shape of a batch, or makes it.
func program(made map[batchShape]*salamandra.Program, b dataset.Batch, build func(batchShape) (*salamandra.Program, error)) (*salamandra.Program, error) {
	s := batchShape{salamandra.SharedPrefix{P: b.P, B: b.B, S: b.S}, b.TargetsFrom, b.N}
	if p, ok := made[s]; ok {
		return p, nil
	}
	p, err := build(s)
	if err == nil {
		made[s] = p
	}
	return p, err
}

// arguments are the batch as lossSum takes it.
func arguments(b dataset.Batch) []any {
	ids := append(append(make([]int32, 0, len(b.Prefix)+len(b.Suffix)), b.Prefix...), b.Suffix...)
	return []any{ids, b.TargetPositions, b.Labels, b.Weights}
}
