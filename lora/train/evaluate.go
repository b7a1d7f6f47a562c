package train

import (
	"context"
	"fmt"
	"iter"
	"math"

	"github.com/gomlx/gomlx/core/tensors"

	"github.com/impulse-salamandra/finetune/dataset"
)

// Evaluate computes the loss on the evaluation examples, without dropout.
func (t *Trainer) Evaluate(ctx context.Context) (Evaluation, error) {
	e := Evaluation{Step: t.state.Step, Epoch: t.epochs()}
	if t.eval == nil {
		return e, fmt.Errorf("train: no examples to evaluate on")
	}
	sum := 0.0
	for batch, err := range batches(t.eval) {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return e, err
		}
		p, err := t.lossProgram(batch)
		if err != nil {
			return e, err
		}
		out, err := p.Call(arguments(batch)...)
		if err != nil {
			return e, fmt.Errorf("train: evaluation: %w", err)
		}
		sum += float64(tensors.ToScalar[float32](out[0]))
		_ = out[0].FinalizeAll()
		e.Tokens += batch.TrainedTokens
	}
	if e.Loss = sum / float64(e.Tokens); math.IsNaN(e.Loss) || math.IsInf(e.Loss, 0) {
		return e, fmt.Errorf("train: evaluation after step %d: loss %v: %w", e.Step, e.Loss, ErrNotFinite)
	}
	return e, nil
}

// batches yields the batches of one pass.
func batches(plan *dataset.Plan) iter.Seq2[dataset.Batch, error] {
	return func(yield func(dataset.Batch, error) bool) {
		for _, indices := range plan.Epoch(0, 0) {
			if !yield(plan.Batch(indices)) {
				return
			}
		}
	}
}
