package train

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/internal/donation"
	"github.com/impulse-salamandra/finetune/internal/quantize"
	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/salamandra"
)

// Causes of a stopped run; test with errors.Is.
var (
	// ErrNotFinite marks a loss or gradient that is infinite or not a number.
	// The adapter keeps the values of the last good step.
	ErrNotFinite = errors.New("not a finite number")
	// ErrNoGradient marks a gradient of exactly zero: nothing would be trained.
	ErrNoGradient = errors.New("the gradient is zero")
)

// Trainer trains an adapter on a model. It is used by one goroutine at a time.
type Trainer struct {
	model       *salamandra.Model   // on the first device, which adds and optimises
	models      []*salamandra.Model // of all devices
	ranks       Ranks               // of the run; outside of Run this process only
	layers      *lora.Layers
	train, eval *dataset.Plan
	config      Config
	schedule    schedule

	making            sync.Mutex                     // over the programs
	changed           *sync.Cond                     // of the programs
	gradients, losses map[batchShape]*passes         // nil while one is being compiled
	needed            map[string]map[batchShape]bool // by phase: those that a step or an evaluation has asked for
	byBlocks          bool                           // the programs are of one block
	early             int                            // how many are compiled before they are needed, at a time
	beside            bool                           // the first steps, not before them
	add, update       *Exec
	state             state
	progress          func(phase string, done, total int64) // of the hooks
	compiling         time.Duration                         // of the step or evaluation at hand
	hung              hungDevices
	after             func(device int, limit time.Duration) <-chan time.Time // when it is given up
	busy              [][]time.Duration                                      // as Step.Busy, in it
	saved             int                                                    // step of the newest checkpoint of this run, 0 for none
	unlock            func()                                                 // lets others use Checkpoints.Dir
}

// state is what a checkpoint holds: with it, and the same data and
// configuration, a run goes on as if it had never stopped.
type state struct {
	position
	m1, m2  *tensors.Tensor
	stopped bool // early: not kept, since a resumed run repeats the evaluation
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
	// LossScale is nil but in float16.
	LossScale *lossScale `json:"loss_scale,omitempty"`
}

// New prepares a run of layers, which are on model, over the examples of a
// plan. Eval may be nil. Nothing is computed yet, but Checkpoints.Dir is made
// and locked: it fails with [atomicfile.ErrBusy] if another trainer uses it, and with
// [atomicfile.ErrDiskSpace] if there is no room for a checkpoint.
func New(model *salamandra.Model, layers *lora.Layers, train, eval *dataset.Plan, config Config) (*Trainer, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	config.HeadChunk = headChunk(config.HeadChunk, model.Backend().HasSharedBuffers())
	t := &Trainer{
		model: model, models: append([]*salamandra.Model{model}, config.Replicas...), ranks: alone{}, layers: layers, train: train, eval: eval, config: config,
		gradients: map[batchShape]*passes{}, losses: map[batchShape]*passes{},
		unlock: func() {}, progress: func(string, int64, int64) {},
	}
	t.changed, t.needed = sync.NewCond(&t.making), map[string]map[batchShape]bool{}
	t.early, t.beside = early(model.Backend())
	t.hung, t.after = make(hungDevices, len(t.models)), func(_ int, limit time.Duration) <-chan time.Time { return time.After(limit) }
	t.byBlocks = model.Uniform() && layers.Uniform() && model.Shards() == 1 && !quantize.OnGo(model.Backend())
	t.schedule = schedule{config.Scheduler, config.LearningRate, config.WarmupSteps, t.totalSteps()}
	if model.DType() == dtypes.Float16 {
		t.state.LossScale = &lossScale{Scale: firstScale}
	}
	n := layers.NumParameters()
	t.state.m1 = tensors.FromFlatDataAndDimensions(make([]float32, n), n)
	t.state.m2 = tensors.FromFlatDataAndDimensions(make([]float32, n), n)
	var err error
	if t.add, err = NewExec(model.Backend(), func(a, b *Node) *Node { return Add(a, b) }); err != nil {
		return nil, fmt.Errorf("train: %w", err)
	}
	t.add.WithName(donation.Name("add", 0, 1))
	t.update, err = NewExec(model.Backend(), func(in []*Node) []*Node {
		return adamW(config, rateFactors(layers, in[0], config.LoRAPlusRatio), in[0], in[1], in[2], in[3], in[4])
	})
	if err != nil {
		return nil, fmt.Errorf("train: %w", err)
	}
	t.update.WithName(donation.Name("adamw", 0, 4))
	if err := t.openCheckpoints(); err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

// Close frees compiled programs and moments, unless a device hangs. The adapter stays.
func (t *Trainer) Close() {
	if t.Hung() {
		t.unlock()
		return
	}
	for _, programs := range []map[batchShape]*passes{t.gradients, t.losses} {
		for _, p := range programs {
			p.close()
		}
		clear(programs)
	}
	t.add.Finalize()
	t.update.Finalize()
	t.unlock()
	_ = errors.Join(t.state.m1.FinalizeAll(), t.state.m2.FinalizeAll())
}

// Status is where a run stands.
type Status struct {
	Step, TotalSteps, StepsPerEpoch int     // optimiser steps: done, of the run, of one pass
	Epoch                           float64 // passes over the examples done
	// Best is the best evaluation so far, nil before the first. Its adapter is
	// that of the checkpoint of the same step.
	Best *Evaluation
	// StoppedEarly: the run ended because evaluations did not get better.
	StoppedEarly bool
	// Saved is the directory of the newest checkpoint of this run, "" for none.
	Saved string
}

// Status returns where the run stands.
func (t *Trainer) Status() Status {
	s := Status{
		Step: t.state.Step, TotalSteps: t.totalSteps(), StepsPerEpoch: t.stepsPerEpoch(), Epoch: t.epochs(),
		StoppedEarly: t.state.stopped, Saved: t.checkpointDir(t.saved),
	}
	if t.state.Best != nil {
		best := *t.state.Best
		best.Best = true // a checkpoint does not say it
		s.Best = &best
	}
	return s
}

// stepsPerEpoch is the number of optimiser steps of one pass.
func (t *Trainer) stepsPerEpoch() int { return t.config.stepsPerEpoch(t.train) }

// totalSteps is the number of optimiser steps of the run.
func (t *Trainer) totalSteps() int { return t.config.TotalSteps(t.train) }

// Run trains from where the trainer stands to the end. With an evaluation plan
// it evaluates after each epoch and at the end; see
// Config.EarlyStoppingPatience.
//
// When ctx ends it returns its error after the step at hand, without finishing
// an evaluation. The trainer and the adapter then hold the last finished step,
// as they do after an error of a step, and there is a checkpoint of it.
func (t *Trainer) Run(ctx context.Context, hooks Hooks) error {
	if t.config.Ranks != nil {
		t.ranks = t.config.Ranks
		defer func() { t.ranks = alone{} }()
	}
	if t.ranks.Rank() > 0 {
		hooks = Hooks{Score: hooks.Score}
	}
	hooks = Join(hooks) // none of those that report is nil
	t.progress = hooks.Progress
	if err := t.begin(); err != nil {
		return err
	}
	if err := t.join(ctx); err != nil {
		return err
	}
	defer t.compileEarly(ctx)()
	for t.state.Ended || t.state.Step < t.totalSteps() && !t.state.stopped {
		start := time.Now()
		if !t.state.Ended {
			if err := t.pass(ctx, hooks); err != nil {
				return t.interrupted(ctx, hooks, err)
			}
		}
		if err := t.endPass(ctx, hooks, start); err != nil {
			return err
		}
	}
	return nil
}

// interrupted keeps the last finished step if the run was stopped, or cannot go
// on for what it computed or where.
func (t *Trainer) interrupted(ctx context.Context, hooks Hooks, err error) error {
	refused := errors.Is(err, ErrNotFinite) || errors.Is(err, ErrNoGradient)
	if ctx.Err() == nil && !refused && !errors.As(err, new(*deviceError)) {
		return err
	}
	if t.Hung() {
		if unread := t.fetch(); unread != nil {
			return errors.Join(err, unread)
		}
	}
	if err := errors.Join(err, t.save(hooks)); !refused || t.saved == 0 {
		return err
	}
	return fmt.Errorf("%w\nthe adapter before that step is in %s", err, t.checkpointDir(t.saved))
}

// pass trains to the end of the present epoch, or of the run.
func (t *Trainer) pass(ctx context.Context, hooks Hooks) error {
	order, k := t.train.Epoch(t.state.Epoch, t.config.Seed), t.config.GradientAccumulationSteps
	step := t.state.Step
	f := t.feed(t.train, order[t.state.Batch:], k, func(i int) []uint64 {
		return randomState(t.config.Seed, uint64(step+i/k)<<20+uint64(i%k))
	})
	defer t.closeFeeds(f)
	for t.state.Batch < len(order) && t.state.Step < t.totalSteps() {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(k, len(order)-t.state.Batch)
		s, err := t.step(ctx, f, n)
		if err != nil {
			return err
		}
		t.state.Batch += n
		t.state.Loss, t.state.Tokens = t.state.Loss+s.Loss*float64(s.TrainedTokens), t.state.Tokens+s.TrainedTokens
		s.Epoch = t.epochs()
		if err := hooks.Step(s); err != nil {
			return err
		}
		if t.planned(s.Step) && t.state.Batch < len(order) && s.Step < t.totalSteps() {
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
	t.compiling = 0
	if t.eval != nil {
		if err := t.assess(ctx, hooks); err != nil {
			return err
		}
	}
	report.Duration, report.Compiling = time.Since(start), t.compiling
	t.state.Ended, t.state.Loss, t.state.Tokens = false, 0, 0
	return hooks.Epoch(report)
}

// assess evaluates the adapter and decides whether the run goes on, which rank 0
// says to the others.
func (t *Trainer) assess(ctx context.Context, hooks Hooks) error {
	e, err := t.Evaluate(ctx)
	if err == nil && hooks.Score != nil {
		var score float64
		score, err = hooks.Score(ctx)
		e.Score = &score
	}
	if err != nil {
		return err
	}
	if t.ranks.Rank() > 0 {
		return t.hear(ctx, 0, &t.state.stopped)
	}
	t.state.stopped = t.judge(&e)
	if err := t.prune(); err != nil {
		return err
	}
	if err := hooks.Evaluation(e); err != nil {
		return err
	}
	return t.tellAll(ctx, t.state.stopped)
}

// epochs is the passes over the examples so far.
func (t *Trainer) epochs() float64 {
	return float64(t.state.Epoch) + float64(t.state.Batch)/float64(t.train.Batches)
}
