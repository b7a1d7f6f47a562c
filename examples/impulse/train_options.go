package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/lora/train"
)

// trainOptions are the flags of train.
type trainOptions struct {
	Model, Data, OutputDir, InitAdapter string
	PromptFile, TestFile                string
	AllowTestOverlap                    bool
	Schema, Backend, Dtype, Quantize    string
	Date                                string
	BOS, NoDefaultSystem                bool
	BatchSize, MaxLength, MaxShapes     int
	EvalSplit                           float64
	Overlong                            string
	Shuffle, NoSharedPrefix             bool
	Loss, GradientCheckpointing         string
	Overwrite, DryRun, WandB            bool
	Resume, ResumeAnyway                bool
	Metric                              string
	ReportSamples                       int
	Constrained                         bool
	Average                             averageOptions

	LoRA  lora.Config
	Train train.Config

	args []byte // all flags, for training_args.json
}

func (o *trainOptions) addFlags(cmd *cobra.Command) {
	o.LoRA, o.Train = lora.DefaultConfig(), train.DefaultConfig()
	o.addInputFlags(cmd.Flags())
	o.addOptimiserFlags(cmd.Flags())
	o.addDataFlags(cmd.Flags())
	o.addRunFlags(cmd.Flags())
}

// addInputFlags adds the flags for what goes in and how it is prompted.
func (o *trainOptions) addInputFlags(f *pflag.FlagSet) {
	f.StringVar(&o.Model, "model", "", "base model: a directory, or a hub id, which is downloaded if it is not in the local cache (required)")
	f.StringVar(&o.Data, "data", "", "examples: messages, prompt and completion, Alpaca, or annotated IMPULSE records; JSON Lines or an array (required)")
	f.StringVar(&o.TestFile, "test-file", "", "queries for a later test: refuse to train if they, or near duplicates, are among the examples")
	f.BoolVar(&o.AllowTestOverlap, "allow-test-overlap", false, "with --test-file: list such queries and train")
	f.StringVar(&o.PromptFile, "prompt-file", "", "system prompt of annotated IMPULSE records; without it the built-in one")
	f.StringVar(&o.OutputDir, "output-dir", "", "directory for the adapter (required)")
	f.StringVar(&o.InitAdapter, "init-adapter", "", "start from this adapter instead of a new one")
	f.StringVar(&o.Schema, "schema", "auto", "JSON Schema of the answers, kept in prompt.json: auto (the built-in one if all answers fit), none, or a file")
	f.StringVar(&o.Backend, "backend", "auto", "auto, go, xla:cpu, xla:cuda or xla:/path/to/plugin.so")
	f.StringVar(&o.Dtype, "dtype", "auto", "auto, float32, bfloat16 or float16")
	f.StringVar(&o.Quantize, "quantize", "none", "none; 8bit and 4bit are refused")
	f.StringVar(&o.Date, "date", chatml.DefaultDate, "date in the default system message, yyyy-mm-dd")
	f.BoolVar(&o.BOS, "bos", false, "begin every example with <s>, as the public IMPULSE scripts do")
	f.BoolVar(&o.NoDefaultSystem, "no-default-system", false, "add no system message where an example has none")
}

// addOptimiserFlags adds the flags of the trainer and of the adapter.
func (o *trainOptions) addOptimiserFlags(f *pflag.FlagSet) {
	f.IntVar(&o.Train.Epochs, "epochs", o.Train.Epochs, "passes over the examples")
	f.IntVar(&o.Train.MaxSteps, "max-steps", 0, "stop after this many optimiser steps; 0 for no limit")
	f.IntVar(&o.BatchSize, "batch-size", 4, "examples per batch")
	f.IntVar(&o.Train.GradientAccumulationSteps, "gradient-accumulation-steps", 1, "batches per optimiser step")
	f.Float64Var(&o.Train.LearningRate, "learning-rate", o.Train.LearningRate, "highest learning rate")
	f.StringVar(&o.Train.Scheduler, "lr-scheduler", o.Train.Scheduler, "linear, cosine or constant")
	f.IntVar(&o.Train.WarmupSteps, "warmup-steps", 0, "steps over which the learning rate rises from 0")
	f.Float64Var(&o.Train.MaxGradNorm, "gradient-clip", o.Train.MaxGradNorm, "longest gradient; 0 for no limit")
	f.Float64Var(&o.Train.WeightDecay, "weight-decay", 0, "decoupled weight decay")
	f.Float64Var(&o.Train.LoRAPlusRatio, "lora-plus-ratio", o.Train.LoRAPlusRatio, "learning rate of B over that of A (LoRA+ advises 16); 1 trains both alike")
	f.Float64Var(&o.Train.NEFTuneAlpha, "neftune-alpha", 0, "noise on the embeddings in training (NEFTune advises 5); 0 for none")
	f.Uint64Var(&o.Train.Seed, "seed", o.Train.Seed, "seed of the split, the order, the adapter, the dropout and the noise")
	f.StringVar(&o.GradientCheckpointing, "gradient-checkpointing", "auto", "keep little per block and recompute the rest, less memory but slower: on, off, or auto: on if there is no room without, or if without would take an eighth of the memory on a CPU")
	f.Lookup("gradient-checkpointing").NoOptDefVal = "on"
	f.IntVar(&o.Train.HeadChunk, "head-chunk", o.Train.HeadChunk, "trained tokens that go through the head at once")
	f.IntVar(&o.LoRA.Rank, "lora-r", o.LoRA.Rank, "rank of the adapter")
	f.Float64Var(&o.LoRA.Alpha, "lora-alpha", o.LoRA.Alpha, "scale of the adapter times its rank")
	f.Float64Var(&o.LoRA.Dropout, "lora-dropout", o.LoRA.Dropout, "dropout before the adapter")
	f.StringSliceVar(&o.LoRA.TargetModules, "target-modules", o.LoRA.TargetModules, "linear layers to adapt")
	f.BoolVar(&o.LoRA.UseRSLoRA, "use-rslora", false, "scale by the root of the rank")
	f.BoolVar(&o.LoRA.UseDoRA, "use-dora", false, "train a magnitude per output as well")
}

// addDataFlags adds the flags for how examples become batches.
func (o *trainOptions) addDataFlags(f *pflag.FlagSet) {
	f.IntVar(&o.MaxLength, "max-length", 2048, "longest example in tokens")
	f.StringVar(&o.Overlong, "overlong", "error", "longer examples: error, drop or truncate-prompt")
	f.Float64Var(&o.EvalSplit, "eval-split", 0.1, "share of the examples kept for evaluation")
	f.BoolVar(&o.Shuffle, "shuffle", true, "new order of the examples in each epoch; false keeps the file's")
	f.BoolVar(&o.NoSharedPrefix, "no-shared-prefix", false, "compute what all examples begin with for each of them instead of once per batch")
	f.StringVar(&o.Loss, "loss", "completion", "tokens to train: completion, the answers, or all")
	f.IntVar(&o.MaxShapes, "max-shapes", 4, "most tensor shapes to compile for")
}

// addRunFlags adds the flags for how a run goes and is kept.
func (o *trainOptions) addRunFlags(f *pflag.FlagSet) {
	f.BoolVar(&o.Resume, "resume", false, "go on from the newest checkpoint in --output-dir, with the flags of that run unless given")
	f.BoolVar(&o.ResumeAnyway, "resume-anyway", false, "with --resume: go on although flags, data or base have changed")
	f.IntVar(&o.Train.Checkpoints.Steps, "save-steps", 50, "write a checkpoint after each so many optimiser steps, beside that of each epoch; 0 for none")
	f.IntVar(&o.Train.Checkpoints.Limit, "save-total-limit", 2, "checkpoints to keep, and the best beside them; 0 for all")
	f.StringVar(&o.Metric, "metric", lossMetric, "what makes an adapter the best: loss, or the share of held-out queries answered right (strict, relaxed) or with valid JSON (validity)")
	f.BoolVar(&o.Constrained, "constrained", true, "keep the answers for --metric strict and relaxed to the schema, as validate does; never those for validity")
	f.IntVar(&o.Train.EarlyStoppingPatience, "early-stopping-patience", 3, "stop after this many evaluations in a row that were not better; 0 for never")
	f.IntVar(&o.Average.Checkpoints, "average-checkpoints", 0, "the result is the mean of the newest so many checkpoints, of which at least as many are kept; 0 for none")
	f.StringVar(&o.Average.Method, "average-method", string(lora.AverageDelta), "what is averaged: delta (the updates B·A, exact) or factors (A and B apart, as the public IMPULSE scripts do)")
	f.IntVar(&o.Average.Rank, "average-rank", 0, "highest rank of the mean of the updates; 0 for the sum of the ranks, which holds it exactly")
	f.BoolVar(&o.Overwrite, "overwrite", false, "write into an output directory that is not empty, and remove the checkpoints in it")
	f.BoolVar(&o.DryRun, "dry-run", false, "check everything, print the plan, train nothing")
	f.IntVar(&o.ReportSamples, "report-samples", 4, "held-out queries answered after each epoch for report.html; 0 for none")
	f.BoolVar(&o.WandB, "use-wandb", false, "say how the metrics reach Weights & Biases")
}

// check lists what is wrong with the flags before anything is read.
func (o *trainOptions) check() error {
	faults := []error{o.Train.Validate(), o.LoRA.Validate(), required("--model", o.Model), required("--data", o.Data), required("--output-dir", o.OutputDir)}
	if o.ReportSamples < 0 {
		faults = append(faults, fmt.Errorf("--report-samples %d, want 0 or more", o.ReportSamples))
	}
	switch o.Quantize {
	case "none":
	case "8bit", "4bit":
		faults = append(faults, fmt.Errorf("--quantize %s: quantised bases are not supported yet; on a GPU of 12 to 16 GB use the 2B model in bfloat16", o.Quantize))
	default:
		faults = append(faults, fmt.Errorf("--quantize %q, want none", o.Quantize))
	}
	faults = append(faults, o.checkChoices(), o.checkData(), o.checkBackend(), o.checkMetric(), o.Average.check(o.LoRA.UseDoRA), o.checkOutput())
	return errors.Join(faults...)
}

// required refuses a flag that was left out.
func required(flag, value string) error {
	if value == "" {
		return fmt.Errorf("%s is required", flag)
	}
	return nil
}

// checkChoices refuses names that a flag does not have.
func (o *trainOptions) checkChoices() error {
	var faults []error
	if _, ok := overlongPolicies[o.Overlong]; !ok {
		faults = append(faults, fmt.Errorf("--overlong %q, want error, drop or truncate-prompt", o.Overlong))
	}
	if o.Loss != "completion" && o.Loss != "all" {
		faults = append(faults, fmt.Errorf("--loss %q, want completion or all", o.Loss))
	}
	if _, ok := checkpointingModes[o.GradientCheckpointing]; !ok {
		faults = append(faults, fmt.Errorf("--gradient-checkpointing=%s, want auto, on or off", o.GradientCheckpointing))
	}
	return errors.Join(faults...)
}

// checkBackend refuses names that nothing can have, before examples are read.
func (o *trainOptions) checkBackend() error {
	var faults []error
	faults = append(faults, chooseBackend(o.Backend).check())
	switch o.Dtype {
	case "auto", "float32", "bfloat16", "float16":
	default:
		faults = append(faults, fmt.Errorf("--dtype %q, want auto, float32, bfloat16 or float16", o.Dtype))
	}
	if o.InitAdapter != "" {
		if _, err := os.Stat(filepath.Join(o.InitAdapter, lora.ConfigFile)); err != nil {
			faults = append(faults, fmt.Errorf("--init-adapter: %w", err))
		}
	}
	return errors.Join(faults...)
}

var overlongPolicies = map[string]dataset.OverlongPolicy{
	"error": dataset.OverlongError, "drop": dataset.OverlongDrop, "truncate-prompt": dataset.OverlongTruncate,
}
