package train

import (
	"cmp"
	"context"
	"fmt"
	"math"

	"github.com/gomlx/gomlx/core/tensors"
)

// Evaluate computes the loss on the evaluation examples, without dropout.
func (t *Trainer) Evaluate(ctx context.Context) (Evaluation, error) {
	e := Evaluation{Step: t.state.Step, Epoch: t.epochs()}
	if t.eval == nil {
		return e, fmt.Errorf("train: no examples to evaluate on")
	}
	f := t.feed(t.eval, t.eval.Epoch(0, 0), nil)
	defer f.close()
	sum := 0.0
	for in := range f.inputs {
		loss, err := t.loss(ctx, in)
		if err != nil {
			return e, err
		}
		sum += loss
		e.Tokens += in.TrainedTokens
	}
	if e.Loss = sum / float64(e.Tokens); math.IsNaN(e.Loss) || math.IsInf(e.Loss, 0) {
		return e, fmt.Errorf("train: evaluation after step %d: loss %v: %w", e.Step, e.Loss, ErrNotFinite)
	}
	return e, nil
}

// loss computes the loss sum of a batch.
func (t *Trainer) loss(ctx context.Context, in *input) (float64, error) {
	defer in.free()
	if in.err != nil || ctx.Err() != nil {
		return 0, cmp.Or(in.err, ctx.Err())
	}
	p, err := t.lossProgram(in.Batch)
	if err != nil {
		return 0, err
	}
	out, err := p.Call(in.arguments()...)
	if err != nil {
		return 0, fmt.Errorf("train: evaluation: %w", err)
	}
	defer func() { _ = out[0].FinalizeAll() }()
	return float64(tensors.ToScalar[float32](out[0])), nil
}
