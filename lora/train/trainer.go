package train

import (
	"context"
	"errors"
	"fmt"
	"time"

	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/salamandra"
)

// Causes of a stopped run; test with errors.Is.
var (
	// ErrConfig marks a setting that makes no sense.
	ErrConfig = errors.New("invalid setting")
	// ErrNotFinite marks a loss or gradient that is infinite or not a number.
	// The adapter keeps the values of the last good step.
	ErrNotFinite = errors.New("not a finite number")
	// ErrNoGradient marks a gradient of exactly zero: nothing would be trained.
	ErrNoGradient = errors.New("the gradient is zero")
)

// Trainer trains an adapter on a model. It is used by one goroutine at a time.
type Trainer struct {
	model       *salamandra.Model
	layers      *lora.Layers
	train, eval *dataset.Plan
	config      Config
	schedule    Schedule

	gradients, losses map[batchShape]*salamandra.Program
	add, update       *Exec
	state             state
}

// state is what a checkpoint holds: with it, and the same data and
// configuration, a run goes on as if it had never stopped.
type state struct {
	step   int // optimiser steps done
	epoch  int // epochs finished
	batch  int // batches of the present epoch done
	m1, m2 *tensors.Tensor
}

// New prepares a run of layers, which are on model, over the examples of a
// plan. Eval may be nil. Nothing is computed yet.
func New(model *salamandra.Model, layers *lora.Layers, train, eval *dataset.Plan, config Config) (*Trainer, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	t := &Trainer{
		model: model, layers: layers, train: train, eval: eval, config: config,
		gradients: map[batchShape]*salamandra.Program{}, losses: map[batchShape]*salamandra.Program{},
	}
	t.schedule = Schedule{config.Scheduler, config.LearningRate, config.WarmupSteps, t.TotalSteps()}
	n := layers.NumParameters()
	t.state.m1 = tensors.FromFlatDataAndDimensions(make([]float32, n), n)
	t.state.m2 = tensors.FromFlatDataAndDimensions(make([]float32, n), n)
	var err error
	if t.add, err = NewExec(model.Backend(), func(a, b *Node) *Node { return Add(a, b) }); err != nil {
		return nil, fmt.Errorf("train: %w", err)
	}
	t.update, err = NewExec(model.Backend(), func(in []*Node) []*Node {
		return adamW(config, in[0], in[1], in[2], in[3], in[4])
	})
	if err != nil {
		return nil, fmt.Errorf("train: %w", err)
	}
	return t, nil
}

// Close frees compiled programs and moments. The adapter stays.
func (t *Trainer) Close() {
	for _, programs := range []map[batchShape]*salamandra.Program{t.gradients, t.losses} {
		for _, p := range programs {
			p.Close()
		}
		clear(programs)
	}
	t.add.Finalize()
	t.update.Finalize()
	_ = errors.Join(t.state.m1.FinalizeAll(), t.state.m2.FinalizeAll())
}

// StepsPerEpoch is the number of optimiser steps of one pass.
func (t *Trainer) StepsPerEpoch() int {
	k := t.config.GradientAccumulationSteps
	return (t.train.Batches + k - 1) / k
}

// TotalSteps is the number of optimiser steps of the run.
func (t *Trainer) TotalSteps() int {
	total := t.config.Epochs * t.StepsPerEpoch()
	if t.config.MaxSteps > 0 {
		total = min(total, t.config.MaxSteps)
	}
	return total
}

// Run trains from where the trainer stands to the end. With an evaluation plan
// it evaluates after each epoch and at the end. When ctx ends it returns its
// error after the step at hand; the trainer and the adapter then hold the last
// finished step.
func (t *Trainer) Run(ctx context.Context, hooks Hooks) error {
	hooks = Join(hooks) // no hook is nil
	for t.state.step < t.TotalSteps() {
		start := time.Now()
		loss, err := t.pass(ctx, hooks.Step)
		if err != nil {
			return err
		}
		if t.eval != nil {
			e, err := t.Evaluate(ctx)
			if err != nil {
				return err
			}
			if err := hooks.Evaluation(e); err != nil {
				return err
			}
		}
		if err := hooks.Epoch(Epoch{t.state.step, t.epochs(), loss, time.Since(start)}); err != nil {
			return err
		}
	}
	return nil
}

// pass trains to the end of the present epoch, or of the run, and returns the
// mean loss over its trained tokens.
func (t *Trainer) pass(ctx context.Context, report func(Step) error) (float64, error) {
	order := t.train.Epoch(t.state.epoch, t.config.Seed)
	loss, tokens := 0.0, 0
	for t.state.batch < len(order) && t.state.step < t.TotalSteps() {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		group := order[t.state.batch:min(t.state.batch+t.config.GradientAccumulationSteps, len(order))]
		s, err := t.step(group)
		if err != nil {
			return 0, err
		}
		t.state.batch += len(group)
		s.Epoch = t.epochs()
		loss, tokens = loss+s.Loss*float64(s.TrainedTokens), tokens+s.TrainedTokens
		if err := report(s); err != nil {
			return 0, err
		}
	}
	if t.state.batch == len(order) {
		t.state.epoch, t.state.batch = t.state.epoch+1, 0
	}
	return loss / float64(tokens), nil
}

// epochs is the passes over the examples so far.
func (t *Trainer) epochs() float64 {
	return float64(t.state.epoch) + float64(t.state.batch)/float64(t.train.Batches)
}
