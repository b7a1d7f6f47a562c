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
	saved             int    // step of the newest checkpoint of this run, 0 for none
	unlock            func() // lets others use Checkpoints.Dir
}

// state is what a checkpoint holds: with it, and the same data and
// configuration, a run goes on as if it had never stopped.
type state struct {
	position
	m1, m2  *tensors.Tensor
	stopped bool // early: not kept, the evaluation that is repeated tells again
}

// position is the part of the state that is not tensors.
type position struct {
	Step  int  `json:"step"`  // optimiser steps done
	Epoch int  `json:"epoch"` // epochs finished
	Batch int  `json:"batch"` // batches of the present epoch done
	Ended bool `json:"ended"` // an epoch or the run has, and is not evaluated yet
	// Loss and Tokens are the sums over the trained tokens of the present epoch.
	Loss   float64 `json:"loss_sum"`
	Tokens int     `json:"loss_tokens"`
	// Best is the best evaluation, Worse how many came after it.
	Best  *Evaluation `json:"best"`
	Worse int         `json:"worse"`
}

// New prepares a run of layers, which are on model, over the examples of a
// plan. Eval may be nil. Nothing is computed yet, but Checkpoints.Dir is made
// and locked: it fails with [lora.ErrBusy] if another trainer uses it, and with
// [lora.ErrDiskSpace] if there is no room for a checkpoint.
func New(model *salamandra.Model, layers *lora.Layers, train, eval *dataset.Plan, config Config) (*Trainer, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	t := &Trainer{
		model: model, layers: layers, train: train, eval: eval, config: config,
		gradients: map[batchShape]*salamandra.Program{}, losses: map[batchShape]*salamandra.Program{},
		unlock: func() {},
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
		return adamW(config, rateFactors(layers, in[0], config.LoRAPlusRatio), in[0], in[1], in[2], in[3], in[4])
	})
	if err != nil {
		return nil, fmt.Errorf("train: %w", err)
	}
	if err := t.openCheckpoints(); err != nil {
		t.Close()
		return nil, err
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
	t.unlock()
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

// Step returns the optimiser steps done.
func (t *Trainer) Step() int { return t.state.Step }

// Run trains from where the trainer stands to the end. With an evaluation plan
// it evaluates after each epoch and at the end; see
// Config.EarlyStoppingPatience.
//
// When ctx ends it returns its error after the step at hand, without finishing
// an evaluation. The trainer and the adapter then hold the last finished step,
// as they do after an error of a step, and there is a checkpoint of it.
func (t *Trainer) Run(ctx context.Context, hooks Hooks) error {
	hooks = Join(hooks) // none of those that report is nil
	if err := t.checkFresh(); err != nil {
		return err
	}
	for t.state.Ended || t.state.Step < t.TotalSteps() && !t.state.stopped {
		start := time.Now()
		if !t.state.Ended {
			if err := t.pass(ctx, hooks); err != nil {
				if ctx.Err() != nil || errors.Is(err, ErrNotFinite) || errors.Is(err, ErrNoGradient) {
					err = errors.Join(err, t.save(hooks))
				}
				return err
			}
		}
		if err := t.endPass(ctx, hooks, start); err != nil {
			return err
		}
	}
	return nil
}

// pass trains to the end of the present epoch, or of the run.
func (t *Trainer) pass(ctx context.Context, hooks Hooks) error {
	order, k := t.train.Epoch(t.state.Epoch, t.config.Seed), t.config.GradientAccumulationSteps
	step := t.state.Step
	f := t.feed(t.train, order[t.state.Batch:], func(i int) []uint64 {
		return randomState(t.config.Seed, uint64(step+i/k)<<20+uint64(i%k))
	})
	defer f.close()
	for t.state.Batch < len(order) && t.state.Step < t.TotalSteps() {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(k, len(order)-t.state.Batch)
		s, err := t.step(f.inputs, n)
		if err != nil {
			return err
		}
		t.state.Batch += n
		t.state.Loss, t.state.Tokens = t.state.Loss+s.Loss*float64(s.TrainedTokens), t.state.Tokens+s.TrainedTokens
		s.Epoch = t.epochs()
		if err := hooks.Step(s); err != nil {
			return err
		}
		if t.planned(s.Step) && t.state.Batch < len(order) && s.Step < t.TotalSteps() {
			if err := t.save(hooks); err != nil {
				return err
			}
		}
	}
	t.state.Ended = true
	if t.state.Batch == len(order) {
		t.state.Epoch, t.state.Batch = t.state.Epoch+1, 0
	}
	return nil
}

// endPass saves, evaluates and reports the end of an epoch, or of the run.
func (t *Trainer) endPass(ctx context.Context, hooks Hooks, start time.Time) error {
	if err := t.save(hooks); err != nil {
		return err
	}
	report := Epoch{Step: t.state.Step, Epoch: t.epochs(), Loss: t.state.Loss / float64(t.state.Tokens)}
	if t.eval != nil {
		e, err := t.Evaluate(ctx)
		if err == nil && hooks.Score != nil {
			var score float64
			score, err = hooks.Score(ctx)
			e.Score = &score
		}
		if err != nil {
			return err
		}
		t.state.stopped = t.judge(&e)
		if err := t.prune(); err != nil {
			return err
		}
		if err := hooks.Evaluation(e); err != nil {
			return err
		}
	}
	report.Duration = time.Since(start)
	t.state.Ended, t.state.Loss, t.state.Tokens = false, 0, 0
	return hooks.Epoch(report)
}

// epochs is the passes over the examples so far.
func (t *Trainer) epochs() float64 {
	return float64(t.state.Epoch) + float64(t.state.Batch)/float64(t.train.Batches)
}
