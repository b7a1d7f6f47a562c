package train

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/gomlx/gomlx/core/tensors"
)

// step computes the batches of one optimiser step and moves the adapter.
func (t *Trainer) step(group [][]int) (Step, error) {
	start := time.Now()
	s := Step{Step: t.state.Step + 1, LearningRate: t.schedule.At(t.state.Step)}
	var losses []*tensors.Tensor
	var sum *tensors.Tensor
	var ids []string
	for micro, indices := range group {
		batch, err := t.train.Batch(indices)
		if err != nil {
			return s, err
		}
		ids = append(ids, batch.IDs...)
		s.Tokens += batch.Tokens
		s.SequenceTokens += batch.SequenceTokens
		s.TrainedTokens += batch.TrainedTokens
		p, err := t.gradientProgram(batch)
		if err != nil {
			return s, err
		}
		draw := randomState(t.config.Seed, uint64(t.state.Step)<<20+uint64(micro))
		out, err := p.Call(append([]any{t.layers.Params(), draw}, arguments(batch)...)...)
		if err != nil {
			return s, fmt.Errorf("train: step %d: %w", s.Step, err)
		}
		losses = append(losses, out[0])
		if sum, err = t.accumulate(sum, out[1]); err != nil {
			return s, fmt.Errorf("train: step %d: %w", s.Step, err)
		}
	}
	next, err := t.apply(sum, adamScalars(t.config, s.Step, s.TrainedTokens, s.LearningRate))
	if err != nil {
		return s, fmt.Errorf("train: step %d: %w", s.Step, err)
	}
	for _, l := range losses {
		s.Loss += float64(tensors.ToScalar[float32](l)) / float64(s.TrainedTokens)
		_ = l.FinalizeAll()
	}
	s.GradNorm = float64(tensors.ToScalar[float32](next[3]))
	if err := t.check(s, ids); err != nil {
		return s, err
	}
	if err := t.accept(next); err != nil {
		return s, err
	}
	s.Duration = time.Since(start)
	return s, nil
}

// accumulate adds gradients of batches.
func (t *Trainer) accumulate(sum, gradient *tensors.Tensor) (*tensors.Tensor, error) {
	if sum == nil {
		return gradient, nil
	}
	out, err := t.add.Call1(sum, gradient)
	if err != nil {
		return nil, err
	}
	return out, errors.Join(sum.FinalizeAll(), gradient.FinalizeAll())
}

// apply runs the optimiser. The present parameters and moments are kept until
// the result is known to be good.
func (t *Trainer) apply(sum *tensors.Tensor, scalars []float32) ([]*tensors.Tensor, error) {
	out, err := t.update.Call(t.layers.Params(), t.state.m1, t.state.m2, sum, scalars)
	if err != nil {
		return nil, err
	}
	return out, sum.FinalizeAll()
}

// check refuses a step that would spoil the adapter or do nothing.
func (t *Trainer) check(s Step, ids []string) error {
	finite := func(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }
	switch {
	case !finite(s.Loss) || !finite(s.GradNorm):
		return fmt.Errorf("train: step %d: loss %v, gradient norm %v: %w; records %s", s.Step, s.Loss, s.GradNorm, ErrNotFinite, strings.Join(ids, ", "))
	case s.GradNorm == 0:
		return fmt.Errorf("train: step %d: %w; records %s", s.Step, ErrNoGradient, strings.Join(ids, ", "))
	}
	return nil
}

// accept makes the result of apply the present state.
func (t *Trainer) accept(next []*tensors.Tensor) error {
	old := []*tensors.Tensor{t.layers.Params(), t.state.m1, t.state.m2, next[3]}
	if err := t.layers.SetParams(next[0]); err != nil {
		return err
	}
	t.state.m1, t.state.m2 = next[1], next[2]
	t.state.Step++
	var errs []error
	for _, o := range old {
		errs = append(errs, o.FinalizeAll())
	}
	return errors.Join(errs...)
}
