package train

import (
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
	order := t.eval.Epoch(0, 0)
	t.busy = nil
	f := t.feed(t.eval, order, len(order), nil)
	defer t.closeFeeds(f)
	sum, done := 0.0, 0
	t.progress("evaluating", 0, int64(len(order)))
	err := t.compute(ctx, f, len(order), t.loss, func(r result) error {
		sum += r.loss
		e.Tokens += r.batch.TrainedTokens
		done++
		t.progress("evaluating", int64(done), int64(len(order)))
		return ctx.Err()
	})
	if err != nil {
		return e, fmt.Errorf("train: evaluation: %w", err)
	}
	if t.ranks.Rank() > 0 {
		return e, nil // rank 0 has the sum
	}
	if e.Loss = sum / float64(e.Tokens); math.IsNaN(e.Loss) || math.IsInf(e.Loss, 0) {
		return e, fmt.Errorf("train: evaluation after step %d: loss %v: %w", e.Step, e.Loss, ErrNotFinite)
	}
	return e, nil
}

// loss computes the loss sum of a batch on its device.
func (t *Trainer) loss(in *input, adapter *tensors.Tensor) (result, error) {
	p, err := t.lossProgram(in)
	if err != nil {
		in.free()
		return result{}, err
	}
	return t.call(p, in, adapter)
}

// judge compares an evaluation with the best so far: by score, the higher the
// better, if evaluations are scored, else by loss. The first of equals is the
// best. It reports whether the run should end.
func (t *Trainer) judge(e *Evaluation) (stop bool) {
	best := t.state.Best
	e.Best = best == nil || e.Score != nil && (best.Score == nil || *e.Score > *best.Score) || e.Score == nil && e.Loss < best.Loss
	if e.Best {
		kept := *e
		t.state.Best, t.state.Worse = &kept, 0
		return false
	}
	t.state.Worse++
	return t.config.EarlyStoppingPatience > 0 && t.state.Worse >= t.config.EarlyStoppingPatience
}
