package train

import (
	"context"
	"time"
)

// Step reports one optimiser step.
type Step struct {
	Step          int     // from 1
	Epoch         float64 // passes over the examples so far
	Loss          float64 // mean over the trained tokens
	GradNorm      float64 // before clipping; 0 if Skipped
	LearningRate  float64
	Tokens        int // tokens computed, the shared prefix once per batch, no padding
	TrainedTokens int
	// Skipped: its gradient left float16's range, so that the adapter did not move;
	// the next step has a smaller scale of the loss.
	Skipped bool
	// SequenceTokens counts each example with its prefix: what a trainer
	// without a shared prefix would have computed.
	SequenceTokens int
	Duration       time.Duration // from its first batch to the moved adapter
	Compiling      time.Duration // of Duration, for shapes that were new
	// Busy is how long of Duration each device that had batches computed them, with
	// what it waited for programs, by rank and its place there; nil for one device.
	Busy [][]time.Duration
}

// TokensPerSecond is the rate of a step, each example counted with its prefix and
// compilation left out.
func (s Step) TokensPerSecond() float64 {
	// A coarse clock may not have moved.
	return float64(s.SequenceTokens) / max(s.Duration-s.Compiling, time.Microsecond).Seconds()
}

// Evaluation reports how good the adapter is on the evaluation examples.
type Evaluation struct {
	Step   int      `json:"step"` // optimiser steps done
	Epoch  float64  `json:"epoch"`
	Loss   float64  `json:"loss"`   // mean over the trained tokens
	Tokens int      `json:"tokens"` // trained tokens
	Score  *float64 `json:"score"`  // of Hooks.Score, nil without
	Best   bool     `json:"-"`      // better than all before, by the score or else by the loss
}

// Epoch reports the end of one pass over the examples, or of the run within
// one; its evaluation, if there is one, has been reported.
type Epoch struct {
	Step     int           // optimiser steps done
	Epoch    float64       // passes done
	Loss     float64       // mean over the trained tokens of the pass
	Duration time.Duration // of its steps and its evaluation
	// Compiling is the part of the evaluation that shapes took that were new.
	Compiling time.Duration
}

// Hooks are called as training goes on, from the goroutine of [Trainer.Run];
// nil ones are left out. An error stops the run and is returned by it.
type Hooks struct {
	Step       func(Step) error
	Evaluation func(Evaluation) error
	Epoch      func(Epoch) error
	Checkpoint func(Checkpoint) error // it is on disk

	// Progress is called with what goes on between these: "compiling shape" and
	// "compiling shape to evaluate" when the done-th of total begins, "evaluating"
	// when done of total batches are.
	Progress func(phase string, done, total int64)

	// Score judges the adapter at each evaluation, such as by the answers it
	// generates; the higher the better. It then decides which evaluation is best,
	// in place of the loss. Of several processes each calls its own, so that they may
	// share the work, and rank 0's counts.
	Score func(context.Context) (float64, error)
}

// Join returns hooks that call those of each of all in turn, up to the first
// error. The last Score counts.
func Join(all ...Hooks) Hooks {
	joined := Hooks{
		Step:       join(all, func(h Hooks) func(Step) error { return h.Step }),
		Evaluation: join(all, func(h Hooks) func(Evaluation) error { return h.Evaluation }),
		Epoch:      join(all, func(h Hooks) func(Epoch) error { return h.Epoch }),
		Checkpoint: join(all, func(h Hooks) func(Checkpoint) error { return h.Checkpoint }),
	}
	var progress []func(string, int64, int64)
	for _, h := range all {
		if h.Score != nil {
			joined.Score = h.Score
		}
		if h.Progress != nil {
			progress = append(progress, h.Progress)
		}
	}
	joined.Progress = func(phase string, done, total int64) {
		for _, p := range progress {
			p(phase, done, total)
		}
	}
	return joined
}

// join combines the hooks that of selects.
func join[T any](all []Hooks, of func(Hooks) func(T) error) func(T) error {
	return func(event T) error {
		for _, h := range all {
			if hook := of(h); hook != nil {
				if err := hook(event); err != nil {
					return err
				}
			}
		}
		return nil
	}
}
