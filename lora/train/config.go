package train

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/salamandra"
)

// Config says how to train. Start from [DefaultConfig]: a zero field means
// zero.
type Config struct {
	Epochs   int `json:"epochs"`    // passes over the examples, at least 1
	MaxSteps int `json:"max_steps"` // ends the run after this many optimiser steps; 0 for no limit
	// GradientAccumulationSteps is the number of batches whose gradients make
	// one optimiser step, at least 1. The sum is divided by the trained tokens
	// of all of them, so that two batches of 4 are one batch of 8. The last
	// step of an epoch takes what is left.
	GradientAccumulationSteps int `json:"gradient_accumulation_steps"`

	LearningRate float64 `json:"learning_rate"` // the highest rate
	Scheduler    string  `json:"lr_scheduler"`  // "linear", "cosine" or "constant"
	WarmupSteps  int     `json:"warmup_steps"`  // steps over which the rate rises from 0

	Beta1       float64 `json:"adam_beta1"` // of AdamW
	Beta2       float64 `json:"adam_beta2"`
	Epsilon     float64 `json:"adam_epsilon"`
	WeightDecay float64 `json:"weight_decay"`  // decoupled, times the learning rate
	MaxGradNorm float64 `json:"max_grad_norm"` // longer gradients are shortened to this norm; 0 for no limit

	// LoRAPlusRatio is the learning rate of B and of DoRA's magnitudes over that
	// of A; 1 trains all alike.
	// Source: Hayou et al. 2024, arXiv:2402.12354, LoRA+.
	LoRAPlusRatio float64 `json:"lora_plus_ratio"`
	// NEFTuneAlpha adds noise to the embeddings in training, uniform within
	// ±α/√(L·C), where L is the length of the batch's rows with their prefix and
	// padding and C the hidden size; 0 for none. The shared prefix of a batch has
	// one draw. Source: Jain et al. 2023, arXiv:2310.05914, as in Transformers.
	NEFTuneAlpha float64 `json:"neftune_alpha"`

	// EarlyStoppingPatience ends the run after this many evaluations in a row
	// that were not better than the best; 0 for never.
	EarlyStoppingPatience int `json:"early_stopping_patience"`

	// Seed fixes the order of the examples and the dropout.
	Seed uint64 `json:"seed"`
	// GradientCheckpointing keeps one activation per block and computes the
	// others again in the backward pass: less memory, about a third more work.
	GradientCheckpointing bool `json:"gradient_checkpointing"`
	// HeadChunk is how many trained positions go through the head at once; it
	// bounds the memory for logits to HeadChunk·VocabSize numbers. 0 is 512 on a
	// processor and 1,536 on a GPU, which reads the head anew for each chunk. Chunks
	// are equal parts of the positions, up to a multiple of 32.
	HeadChunk int `json:"head_chunk"`

	Checkpoints Checkpoints `json:"-"`

	// Name, if not nil, returns what the caller's users know a setting by, such as a
	// flag, for the errors that say what to change: of Train.GradientCheckpointing,
	// Train.GradientAccumulationSteps and Plan.BatchSize.
	Name func(field string) string `json:"-"`

	// Replicas are the model on other devices, which the batches of a step and of
	// an evaluation are dealt to as well. Where all devices are alike the bytes of
	// a run do not depend on them, and a run may go on with another number. They
	// stay open.
	Replicas []*salamandra.Model `json:"-"`
	// Ranks, if not nil, connects the processes that train together.
	Ranks Ranks `json:"-"`
	// DeviceDeadline is how long a device may take for a batch, beside the compilation
	// of its program: one that does not answer in time is taken to hang, and ends the
	// run. 0 is ten minutes on a GPU and for ever on the host's processor, below 0 for
	// ever.
	DeviceDeadline time.Duration `json:"-"`
}

// DefaultConfig returns the defaults of the IMPULSE guide with the optimiser
// constants of torch.optim.AdamW.
func DefaultConfig() Config {
	return Config{
		Epochs: 3, GradientAccumulationSteps: 1,
		LearningRate: 2e-4, Scheduler: cosine,
		Beta1: 0.9, Beta2: 0.999, Epsilon: 1e-8, MaxGradNorm: 1,
		LoRAPlusRatio: 1,
		Seed:          42,
	}
}

// headChunk is Config.HeadChunk where that is 0.
func headChunk(chunk int, onHost bool) int {
	switch {
	case chunk > 0:
		return chunk
	case onHost:
		return 512
	}
	return 1536
}

// chunkOf is how many of n positions go through the head at a time, of at most chunk.
func chunkOf(n, chunk int) int {
	parts := max(1, (n+chunk-1)/chunk)
	each := (n + parts - 1) / parts
	return min(chunk, (each+31)&^31)
}

// Validate lists every setting that makes no sense.
func (c Config) Validate() error {
	var faults []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf("train: "+format, args...))
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
	check(c.HeadChunk >= 0, "head chunk %d, want 0 or more", c.HeadChunk)
	if err := (schedule{c.Scheduler, c.LearningRate, c.WarmupSteps, 1}).validate(); err != nil {
		faults = append(faults, err)
	}
	return errors.Join(faults...)
}

// stepsPerEpoch is the number of optimiser steps of one pass over a plan.
func (c Config) stepsPerEpoch(plan *dataset.Plan) int {
	k := c.GradientAccumulationSteps
	return (plan.Batches + k - 1) / k
}

// TotalSteps is the number of optimiser steps of a run over a plan.
func (c Config) TotalSteps(plan *dataset.Plan) int {
	total := c.Epochs * c.stepsPerEpoch(plan)
	if c.MaxSteps > 0 {
		total = min(total, c.MaxSteps)
	}
	return total
}

// PlannedCheckpoints is how many checkpoints a run over a plan writes if it goes
// on to its end.
func (c Config) PlannedCheckpoints(plan *dataset.Plan) int {
	n := 0
	for step := range c.TotalSteps(plan) {
		if c.planned(plan, step+1) {
			n++
		}
	}
	return n
}

// planned reports whether a checkpoint is due after a step whatever happens.
func (c Config) planned(plan *dataset.Plan, step int) bool {
	n := c.Checkpoints.Steps
	return n > 0 && step%n == 0 || step%c.stepsPerEpoch(plan) == 0 || step == c.TotalSteps(plan)
}
