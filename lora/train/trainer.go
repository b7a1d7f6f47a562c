package train

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"strings"
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

// Config says how to train. Start from [DefaultConfig]: a zero field means
// zero.
type Config struct {
	Epochs   int // passes over the examples, at least 1
	MaxSteps int // ends the run after this many optimiser steps; 0 for no limit
	// GradientAccumulationSteps is the number of batches whose gradients make
	// one optimiser step, at least 1. The sum is divided by the trained tokens
	// of all of them, so that two batches of 4 are one batch of 8. The last
	// step of an epoch takes what is left.
	GradientAccumulationSteps int

	LearningRate float64 // the highest rate
	Scheduler    string  // Linear, Cosine or Constant
	WarmupSteps  int     // steps over which the rate rises from 0

	Beta1, Beta2, Epsilon float64 // of AdamW
	WeightDecay           float64 // decoupled, times the learning rate
	MaxGradNorm           float64 // longer gradients are shortened to this norm; 0 for no limit

	// Seed fixes the order of the examples and the dropout.
	Seed uint64
	// GradientCheckpointing keeps one activation per block and computes the
	// others again in the backward pass: less memory, about a third more work.
	GradientCheckpointing bool
	// HeadChunk is how many trained places go through the head at once; it
	// bounds the memory for logits to HeadChunk·VocabSize numbers.
	HeadChunk int
}

// DefaultConfig returns the defaults of the IMPULSE guide with the optimiser
// constants of torch.optim.AdamW.
func DefaultConfig() Config {
	return Config{
		Epochs: 3, GradientAccumulationSteps: 1,
		LearningRate: 2e-4, Scheduler: Cosine,
		Beta1: 0.9, Beta2: 0.999, Epsilon: 1e-8, MaxGradNorm: 1,
		Seed: 42, HeadChunk: 512,
	}
}

// Validate lists every setting that makes no sense, wrapping [ErrConfig].
func (c Config) Validate() error {
	var faults []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf("train: %w: %s", ErrConfig, fmt.Sprintf(format, args...)))
		}
	}
	check(c.Epochs >= 1, "%d epochs, want 1 or more", c.Epochs)
	check(c.MaxSteps >= 0, "max steps %d, want 0 or more", c.MaxSteps)
	check(c.GradientAccumulationSteps >= 1, "gradient accumulation over %d batches, want 1 or more", c.GradientAccumulationSteps)
	check(c.Beta1 >= 0 && c.Beta1 < 1 && c.Beta2 >= 0 && c.Beta2 < 1, "betas %v and %v, want 0 or more and below 1", c.Beta1, c.Beta2)
	check(c.Epsilon > 0, "epsilon %v, want a positive number", c.Epsilon)
	check(c.WeightDecay >= 0 && !math.IsInf(c.WeightDecay, 1), "weight decay %v, want 0 or more", c.WeightDecay)
	check(c.MaxGradNorm >= 0 && !math.IsInf(c.MaxGradNorm, 1), "gradient clip %v, want 0 or more", c.MaxGradNorm)
	check(c.HeadChunk >= 1, "head chunk %d, want 1 or more", c.HeadChunk)
	if err := (Schedule{c.Scheduler, c.LearningRate, c.WarmupSteps, 1}).Validate(); err != nil {
		faults = append(faults, fmt.Errorf("%w: %w", ErrConfig, err))
	}
	return errors.Join(faults...)
}

// Step reports one optimiser step.
type Step struct {
	Step          int     // from 1
	Epoch         float64 // passes over the examples so far
	Loss          float64 // mean over the trained tokens
	GradNorm      float64 // before clipping
	LearningRate  float64
	Tokens        int // tokens computed, the shared prefix once per batch, no padding
	TrainedTokens int
	// SequenceTokens counts each example with its prefix: what a trainer
	// without a shared prefix would have computed.
	SequenceTokens int
	Duration       time.Duration // includes compilation where a shape is new
}

// Evaluation reports the loss on the evaluation examples.
type Evaluation struct {
	Step   int // optimiser steps done
	Epoch  float64
	Loss   float64 // mean over the trained tokens
	Tokens int     // trained tokens
}

// Hooks are called as training goes on, from the goroutine of [Trainer.Run].
// An error stops the run and is returned by it.
type Hooks struct {
	Step       func(Step) error
	Evaluation func(Evaluation) error
}

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

// batchShape is what programs are compiled for.
type batchShape struct {
	salamandra.SharedPrefix
	targets int
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
	for t.state.step < t.TotalSteps() {
		order := t.train.Epoch(t.state.epoch, t.config.Seed)
		for t.state.batch < len(order) && t.state.step < t.TotalSteps() {
			if err := ctx.Err(); err != nil {
				return err
			}
			group := order[t.state.batch:min(t.state.batch+t.config.GradientAccumulationSteps, len(order))]
			s, err := t.step(group)
			if err != nil {
				return err
			}
			if t.state.batch += len(group); t.state.batch == len(order) {
				t.state.epoch, t.state.batch = t.state.epoch+1, 0
			}
			s.Epoch = t.epochs()
			if hooks.Step != nil {
				if err := hooks.Step(s); err != nil {
					return err
				}
			}
			if t.state.batch == 0 {
				break
			}
		}
		if t.eval != nil && hooks.Evaluation != nil {
			e, err := t.Evaluate(ctx)
			if err != nil {
				return err
			}
			if err := hooks.Evaluation(e); err != nil {
				return err
			}
		}
	}
	return nil
}

// epochs is the passes over the examples so far.
func (t *Trainer) epochs() float64 {
	return float64(t.state.epoch) + float64(t.state.batch)/float64(t.train.Batches)
}

// step computes the batches of one optimiser step and moves the adapter.
func (t *Trainer) step(group [][]int) (Step, error) {
	start := time.Now()
	s := Step{Step: t.state.step + 1, LearningRate: t.schedule.At(t.state.step)}
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
		draw := randomState(t.config.Seed, uint64(t.state.step)<<20+uint64(micro))
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
	t.state.step++
	var errs []error
	for _, o := range old {
		errs = append(errs, o.FinalizeAll())
	}
	return errors.Join(errs...)
}

// Evaluate computes the loss on the evaluation examples, without dropout.
func (t *Trainer) Evaluate(ctx context.Context) (Evaluation, error) {
	e := Evaluation{Step: t.state.step, Epoch: t.epochs()}
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
	e.Loss = sum / float64(e.Tokens)
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

// gradientProgram returns the program of a batch's shape: loss sum and the
// gradient vector.
func (t *Trainer) gradientProgram(b dataset.Batch) (*salamandra.Program, error) {
	return program(t.gradients, b, func(s batchShape) (*salamandra.Program, error) {
		return t.model.NewProgram("gradients", nil, func(tr salamandra.Transformer, in []*Node) []*Node {
			factors := bindTraining(&tr, t.layers, in[0], in[1])
			tr.Checkpoint = t.config.GradientCheckpointing
			loss, gradients := lossSum(tr, s.SharedPrefix, in[2], in[3], in[4], in[5], t.config.HeadChunk, factors)
			return []*Node{loss, flatten(gradients)}
		})
	})
}

// lossProgram returns the program of a batch's shape: loss sum alone.
func (t *Trainer) lossProgram(b dataset.Batch) (*salamandra.Program, error) {
	return program(t.losses, b, func(s batchShape) (*salamandra.Program, error) {
		return t.model.NewProgram("loss", t.layers, func(tr salamandra.Transformer, in []*Node) []*Node {
			loss, _ := lossSum(tr, s.SharedPrefix, in[0], in[1], in[2], in[3], t.config.HeadChunk, nil)
			return []*Node{loss}
		})
	})
}

// program looks a program up by the shape of a batch, or makes it.
func program(made map[batchShape]*salamandra.Program, b dataset.Batch, build func(batchShape) (*salamandra.Program, error)) (*salamandra.Program, error) {
	s := batchShape{salamandra.SharedPrefix{P: b.P, B: b.B, S: b.S}, b.N}
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
