package train

import (
	"errors"
	"fmt"
	"math"
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

	// LoRAPlusRatio is the learning rate of B and of DoRA's magnitudes over that
	// of A; 1 trains all alike.
	// Source: Hayou et al. 2024, arXiv:2402.12354, LoRA+.
	LoRAPlusRatio float64
	// NEFTuneAlpha adds noise to the embeddings in training, uniform within
	// ±α/√(L·C), where L is the length of the batch's rows with their prefix and
	// padding and C the hidden size; 0 for none. The shared prefix of a batch has
	// one draw. Source: Jain et al. 2023, arXiv:2310.05914, as in Transformers.
	NEFTuneAlpha float64

	// EarlyStoppingPatience ends the run after this many evaluations in a row
	// that were not better than the best; 0 for never.
	EarlyStoppingPatience int

	// Seed fixes the order of the examples and the dropout.
	Seed uint64
	// GradientCheckpointing keeps one activation per block and computes the
	// others again in the backward pass: less memory, about a third more work.
	GradientCheckpointing bool
	// HeadChunk is how many trained places go through the head at once; it
	// bounds the memory for logits to HeadChunk·VocabSize numbers.
	HeadChunk int

	Checkpoints Checkpoints `json:"-"`
}

// DefaultConfig returns the defaults of the IMPULSE guide with the optimiser
// constants of torch.optim.AdamW.
func DefaultConfig() Config {
	return Config{
		Epochs: 3, GradientAccumulationSteps: 1,
		LearningRate: 2e-4, Scheduler: Cosine,
		Beta1: 0.9, Beta2: 0.999, Epsilon: 1e-8, MaxGradNorm: 1,
		LoRAPlusRatio: 1,
		Seed:          42, HeadChunk: 512,
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
	check(c.LoRAPlusRatio > 0 && !math.IsInf(c.LoRAPlusRatio, 1), "LoRA+ ratio %v, want a positive number", c.LoRAPlusRatio)
	check(c.NEFTuneAlpha >= 0 && !math.IsInf(c.NEFTuneAlpha, 1), "NEFTune alpha %v, want 0 or more", c.NEFTuneAlpha)
	check(c.EarlyStoppingPatience >= 0, "early stopping after %d evaluations, want 0 or more", c.EarlyStoppingPatience)
	check(c.Checkpoints.Steps >= 0 && c.Checkpoints.Limit >= 0, "a checkpoint every %d steps and %d kept, want 0 or more", c.Checkpoints.Steps, c.Checkpoints.Limit)
	check(c.HeadChunk >= 1, "head chunk %d, want 1 or more", c.HeadChunk)
	if err := (Schedule{c.Scheduler, c.LearningRate, c.WarmupSteps, 1}).Validate(); err != nil {
		faults = append(faults, fmt.Errorf("%w: %w", ErrConfig, err))
	}
	return errors.Join(faults...)
}
