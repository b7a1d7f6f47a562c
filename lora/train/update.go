package train

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
)

// step computes the next n batches as one optimiser step and moves the adapter.
func (t *Trainer) step(inputs <-chan *input, n int) (Step, error) {
	start := time.Now()
	s := Step{Step: t.state.Step + 1, LearningRate: t.schedule.At(t.state.Step)}
	var losses []*tensors.Tensor
	var sum *tensors.Tensor
	var ids []string
	for range n {
		in := <-inputs
		out, err := t.gradient(in)
		if err != nil {
			return s, fmt.Errorf("train: step %d: %w", s.Step, err)
		}
		ids = append(ids, in.IDs...)
		s.Tokens += in.Tokens
		s.SequenceTokens += in.SequenceTokens
		s.TrainedTokens += in.TrainedTokens
		losses = append(losses, out[0])
		if sum, err = t.accumulate(sum, out[1]); err != nil {
			return s, fmt.Errorf("train: step %d: %w", s.Step, err)
		}
	}
	for _, l := range losses {
		s.Loss += float64(tensors.ToScalar[float32](l)) / float64(s.TrainedTokens)
		_ = l.FinalizeAll()
	}
	if err := t.apply(&s, sum, ids); err != nil {
		return s, err
	}
	s.Duration = time.Since(start)
	return s, nil
}

// gradient computes the loss and the gradient of a batch.
func (t *Trainer) gradient(in *input) ([]*tensors.Tensor, error) {
	defer in.free()
	if in.err != nil {
		return nil, in.err
	}
	p, err := t.gradientProgram(in.Batch)
	if err != nil {
		return nil, err
	}
	return p.Call(in.arguments(t.layers.Params())...)
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
	out, err := t.add.Call1(in[0], gradient)
	return out, errors.Join(err, gradient.FinalizeAll())
}

// apply runs the optimiser, which is given the memory of what it replaces. Of a
// step that is refused it keeps the parameters and moments, as its program does.
func (t *Trainer) apply(s *Step, sum *tensors.Tensor, ids []string) error {
	if math.IsNaN(s.Loss) || math.IsInf(s.Loss, 0) {
		s.GradNorm = math.NaN()
		return errors.Join(t.check(*s, ids), sum.FinalizeAll())
	}
	old := []*tensors.Tensor{t.layers.Params(), t.state.m1, t.state.m2, sum}
	in, err := t.donate(old...)
	if err != nil {
		return fmt.Errorf("train: step %d: %w", s.Step, err)
	}
	out, err := t.update.Call(append(in, adamScalars(t.config, s.Step, s.TrainedTokens, s.LearningRate))...)
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
	if err := t.check(*s, ids); err != nil {
		return err
	}
	t.state.Step++
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
	finite := func(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }
	switch {
	case !finite(s.Loss) || !finite(s.GradNorm):
		return fmt.Errorf("train: step %d: loss %v, gradient norm %v: %w; records %s", s.Step, s.Loss, s.GradNorm, ErrNotFinite, strings.Join(ids, ", "))
	case s.GradNorm == 0:
		return fmt.Errorf("train: step %d: %w; records %s", s.Step, ErrNoGradient, strings.Join(ids, ", "))
	}
	return nil
}
