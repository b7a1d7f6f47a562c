package train

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
)

// step computes the next n batches as one optimiser step and moves the adapter.
func (t *Trainer) step(ctx context.Context, f feeds, n int) (Step, error) {
	start := time.Now()
	t.compiling, t.busy = 0, nil
	s := Step{Step: t.state.Step + 1, LearningRate: t.schedule.at(t.updates())}
	var losses []float64
	var sum *tensors.Tensor
	var ids []string
	err := t.compute(ctx, f, n, t.gradient, func(r result) error {
		ids = append(ids, r.batch.IDs...)
		s.Tokens += r.batch.Tokens
		s.SequenceTokens += r.batch.SequenceTokens
		s.TrainedTokens += r.batch.TrainedTokens
		losses = append(losses, r.loss)
		var err error
		if sum, err = t.accumulate(sum, r.gradient); err != nil {
			return t.failed(0, err)
		}
		return nil
	})
	if err != nil {
		if sum != nil {
			err = errors.Join(err, t.free(0, sum))
		}
		return s, fmt.Errorf("train: step %d: %w", s.Step, err)
	}
	if t.ranks.Rank() > 0 {
		t.state.Step++ // rank 0 takes it
		return s, nil
	}
	for _, loss := range losses {
		s.Loss += loss / float64(s.TrainedTokens)
	}
	if err := t.apply(&s, sum, ids); err != nil {
		return s, err
	}
	s.Duration, s.Compiling = time.Since(start), t.compiling
	if len(t.models)*t.ranks.Size() > 1 {
		s.Busy = t.busy
	}
	return s, nil
}

// gradient computes the loss and the gradient of a batch on its device.
func (t *Trainer) gradient(in *input, adapter *tensors.Tensor) (result, error) {
	p, err := t.gradientProgram(in)
	if err != nil {
		in.free()
		return result{}, err
	}
	if l := t.state.LossScale; l != nil {
		return t.call(p, in, adapter, float32(l.Scale))
	}
	return t.call(p, in, adapter)
}

// accumulate adds gradients of batches; the first is given up.
func (t *Trainer) accumulate(sum, gradient *tensors.Tensor) (*tensors.Tensor, error) {
	if sum == nil {
		return gradient, nil
	}
	in, err := t.donate(sum)
	if err != nil {
		return nil, err
	}
	return ask(t, 0, t.deadline(), func() (*tensors.Tensor, error) {
		out, err := t.add.Call1(in[0], gradient)
		return out, errors.Join(err, gradient.FinalizeAll())
	})
}

// apply runs the optimiser, which is given the memory of what it replaces. Of a
// step that is refused it keeps the parameters and moments, as its program does.
func (t *Trainer) apply(s *Step, sum *tensors.Tensor, ids []string) error {
	if !finite(s.Loss) {
		s.GradNorm = math.NaN()
		if err := t.overflowed(s); err != nil {
			return errors.Join(fmt.Errorf("train: step %d: %w: %w; records %s", s.Step, ErrNotFinite, err, strings.Join(ids, ", ")), sum.FinalizeAll())
		}
		return errors.Join(t.check(*s, ids), sum.FinalizeAll())
	}
	old := []*tensors.Tensor{t.layers.Params(), t.state.m1, t.state.m2, sum}
	in, err := t.donate(old...)
	if err != nil {
		return fmt.Errorf("train: step %d: %w", s.Step, err)
	}
	in = append(in, adamScalars(t.config, t.updates()+1, s.TrainedTokens, s.LearningRate))
	out, err := ask(t, 0, t.deadline(), func() ([]*tensors.Tensor, error) { return t.update.Call(in...) })
	if errors.Is(err, errHangs) {
		err = t.failed(0, err)
	}
	if err != nil {
		return fmt.Errorf("train: step %d: %w", s.Step, err)
	}
	for _, o := range old { // copies on the host
		err = errors.Join(err, o.FinalizeAll())
	}
	if err = errors.Join(err, t.layers.SetParams(out[0])); err != nil {
		return err
	}
	t.state.m1, t.state.m2 = out[1], out[2]
	s.GradNorm = float64(tensors.ToScalar[float32](out[3]))
	_ = out[3].FinalizeAll()
	if err := t.overflowed(s); err != nil {
		return fmt.Errorf("train: step %d: %w: %w; records %s", s.Step, ErrNotFinite, err, strings.Join(ids, ", "))
	}
	if err := t.check(*s, ids); err != nil {
		return err
	}
	t.state.Step++
	return nil
}

// updates is how often the adapter has been moved.
func (t *Trainer) updates() int {
	if l := t.state.LossScale; l != nil {
		return t.state.Step - l.Skipped
	}
	return t.state.Step
}

// overflowed adapts the scale of the loss to a step, which the optimiser has left
// out if its gradient is not finite.
func (t *Trainer) overflowed(s *Step) error {
	l := t.state.LossScale
	if l == nil {
		return nil
	}
	var err error
	if s.Skipped, err = l.skips(*s); err != nil {
		return err
	}
	l.update(s.Skipped)
	if s.Skipped {
		s.GradNorm = 0
	}
	return nil
}

// donate gives up the device's memory of tensors to a program.
func (t *Trainer) donate(list ...*tensors.Tensor) ([]any, error) {
	in := make([]any, len(list))
	for i, x := range list {
		var err error
		if in[i], err = DonateTensorBuffer(x, t.model.Backend(), 0); err != nil {
			return nil, fmt.Errorf("train: %w", err)
		}
	}
	return in, nil
}

// check refuses a step that would spoil the adapter or do nothing.
func (t *Trainer) check(s Step, ids []string) error {
	switch {
	case !finite(s.Loss) || !finite(s.GradNorm):
		return fmt.Errorf("train: step %d: loss %v, gradient norm %v: %w; records %s", s.Step, s.Loss, s.GradNorm, ErrNotFinite, strings.Join(ids, ", "))
	case s.GradNorm == 0 && !s.Skipped:
		return fmt.Errorf("train: step %d: %w; records %s", s.Step, ErrNoGradient, strings.Join(ids, ", "))
	}
	return nil
}
