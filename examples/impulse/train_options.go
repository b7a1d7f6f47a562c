package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/impulse-salamandra/finetune"
	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/lora"
)

// trainOptions are the flags of train: those of the library, and those that are
// said otherwise or name files.
type trainOptions struct {
	finetune.TrainOptions
	PromptFile, TestFile, Schema    string
	ComparatorsFile                 string
	RequestValues                   []string
	Overlong, Loss                  string
	Checkpointing                   string
	NoSharedPrefix, NoDefaultSystem bool
	Constrained, UseWandB, Watch    bool
	rankDeadline                    time.Duration
	averageMethod                   string
	forecast                        forecastFlags
	flags                           *pflag.FlagSet
}

func (o *trainOptions) addFlags(cmd *cobra.Command) {
	o.TrainOptions, o.flags = finetune.DefaultTrainOptions(), cmd.Flags()
	o.Name = flagOf
	o.addInputFlags(o.flags)
	o.addOptimiserFlags(o.flags)
	o.addDataFlags(o.flags)
	o.addRunFlags(o.flags)
}

// addInputFlags adds the flags for what goes in and how it is prompted.
func (o *trainOptions) addInputFlags(f *pflag.FlagSet) {
	f.StringVar(&o.Model, "model", "", "base model: a directory, or a hub id, which is downloaded if it is not in the local cache (required)")
	f.StringVar(&o.Data, "data", "", "examples: messages, ShareGPT, prompt and completion, Alpaca, or annotated IMPULSE records; JSON Lines, an array, CSV or TSV (required)")
	f.StringVar(&o.TestFile, "test-file", "", "queries for a later test: refuse to train if they, or near duplicates, are among the examples")
	f.BoolVar(&o.AllowTestOverlap, "allow-test-overlap", false, "with --test-file: list such queries and train")
	f.StringVar(&o.PromptFile, "prompt-file", "", "system prompt of examples without one; annotated IMPULSE records have the built-in one by default")
	f.StringVar(&o.OutputDir, "output-dir", "", "directory for the adapter; without it models/MODEL-DATA, by the names of both")
	f.StringVar(&o.InitAdapter, "init-adapter", "", "start from this adapter instead of a new one; rank, alpha and targets are its own")
	f.StringVar(&o.Schema, "schema", "auto", "JSON Schema of the answers, kept in prompt.json: auto (IMPULSE's if all answers comply with it), none, or a file")
	f.StringSliceVar(&o.RequestValues, "request-values", nil, "with --schema FILE: what an answer repeats of its request, such as meta.query=question,meta.lang=language; without it where all answers repeat the question")
	f.BoolVar(&o.NormaliseAnswers, "normalise-answers", false, "rewrite answers that are JSON in the layout and order of keys that most have")
	f.StringVar(&o.Backend, "backend", "auto", "auto, go, xla:cpu, xla:cuda or xla:/path/to/plugin.so")
	f.StringVar(&o.Devices, "devices", "auto", "devices that the batches of a step are dealt to: all, how many, or a list of GPUs such as 0,1,3; auto is all GPUs that a step has batches for, and one device of a CPU; the result does not depend on it")
	f.IntVar(&o.Shards, "shard", 1, "divide the base among so many devices, which compute every batch together: for a base that one has no room for")
	f.DurationVar(&o.Train.DeviceDeadline, "device-deadline", 0, "a device that takes longer for a batch is taken to hang, and ends the run; 0 is 10m on a GPU and for ever on the host's processor")
	rankDeadlineFlag(f, &o.rankDeadline)
	f.StringVar(&o.Dtype, "dtype", o.Dtype, "auto, float32, bfloat16 or float16")
	f.StringVar(&o.Quantize, "quantize", "none", "store the linear layers of the base in fewer bits: none, 8bit, or 4bit as bitsandbytes' NF4")
	f.StringVar(&o.Contract.Date, "date", o.Contract.Date, "date in the default system message, yyyy-mm-dd")
	f.BoolVar(&o.Contract.BOS, "bos", false, "begin every example with <s>, as the public IMPULSE scripts do")
	f.BoolVar(&o.NoDefaultSystem, "no-default-system", false, "add no system message where an example has none")
	addTextFlags(f, &o.Contract.Title, &o.Contract.Description, &o.Contract.Examples)
}

// addOptimiserFlags adds the flags of the trainer and of the adapter.
func (o *trainOptions) addOptimiserFlags(f *pflag.FlagSet) {
	f.IntVar(&o.Train.Epochs, "epochs", o.Train.Epochs, "passes over the examples")
	f.IntVar(&o.Train.MaxSteps, "max-steps", 0, "stop after this many optimiser steps; 0 for no limit")
	f.IntVar(&o.Plan.BatchSize, "batch-size", o.Plan.BatchSize, "examples per batch")
	f.IntVar(&o.Train.GradientAccumulationSteps, "gradient-accumulation-steps", 1, "batches per optimiser step")
	f.Float64Var(&o.Train.LearningRate, "learning-rate", o.Train.LearningRate, "highest learning rate")
	f.StringVar(&o.Train.Scheduler, "lr-scheduler", o.Train.Scheduler, "linear, cosine or constant")
	f.IntVar(&o.Train.WarmupSteps, "warmup-steps", 0, "steps over which the learning rate rises from 0")
	f.Float64Var(&o.Train.MaxGradNorm, "gradient-clip", o.Train.MaxGradNorm, "longest gradient; 0 for no limit")
	f.Float64Var(&o.Train.WeightDecay, "weight-decay", 0, "decoupled weight decay")
	f.Float64Var(&o.Train.LoRAPlusRatio, "lora-plus-ratio", o.Train.LoRAPlusRatio, "learning rate of B over that of A (LoRA+ advises 16); 1 trains both alike")
	f.Float64Var(&o.Train.NEFTuneAlpha, "neftune-alpha", 0, "noise on the embeddings in training (NEFTune advises 5); 0 for none")
	f.Uint64Var(&o.Train.Seed, "seed", o.Train.Seed, "seed of the split, the order, the adapter, the dropout and the noise")
	f.StringVar(&o.Checkpointing, "gradient-checkpointing", "auto", "keep little per block and recompute the rest, less memory but slower: on, off, or auto: on if there is no room without, or if without would take half of the memory on a CPU")
	f.Lookup("gradient-checkpointing").NoOptDefVal = "on"
	f.IntVar(&o.Train.HeadChunk, "head-chunk", o.Train.HeadChunk, "trained tokens that go through the head at once; 0 is 512, or 1,536 on a GPU")
	f.IntVar(&o.LoRA.Rank, "lora-r", o.LoRA.Rank, "rank of the adapter")
	f.Float64Var(&o.LoRA.Alpha, "lora-alpha", o.LoRA.Alpha, "scale of the adapter times its rank")
	f.Float64Var(&o.LoRA.Dropout, "lora-dropout", o.LoRA.Dropout, "dropout before the adapter")
	f.StringSliceVar(&o.LoRA.TargetModules, "target-modules", o.LoRA.TargetModules, "linear layers to adapt")
	f.BoolVar(&o.LoRA.UseRSLoRA, "use-rslora", false, "scale by the root of the rank")
	f.BoolVar(&o.LoRA.UseDoRA, "use-dora", false, "train a magnitude per output as well")
}

// addDataFlags adds the flags for how examples become batches.
func (o *trainOptions) addDataFlags(f *pflag.FlagSet) {
	f.IntVar(&o.MaxLength, "max-length", o.MaxLength, "longest example in tokens")
	f.StringVar(&o.Overlong, "overlong", "error", "longer examples: error, drop or truncate-prompt")
	f.Float64Var(&o.Split.Fraction, "eval-split", o.Split.Fraction, "share of the examples kept for evaluation")
	f.BoolVar(&o.Plan.Shuffle, "shuffle", o.Plan.Shuffle, "new order of the examples in each epoch; false keeps the file's")
	f.BoolVar(&o.NoSharedPrefix, "no-shared-prefix", false, "compute what all examples begin with for each of them instead of once per batch")
	f.StringVar(&o.Loss, "loss", "completion", "tokens to train: completion, the answers, or all")
	f.IntVar(&o.Plan.MaxShapes, "max-shapes", o.Plan.MaxShapes, "most tensor shapes to compile for; a short run has fewer, if that saves time")
}

// addRunFlags adds the flags for how a run goes and is kept.
func (o *trainOptions) addRunFlags(f *pflag.FlagSet) {
	f.BoolVar(&o.Resume, "resume", false, "go on from the newest checkpoint in --output-dir, with the flags of that run unless given")
	f.BoolVar(&o.ResumeAnyway, "resume-anyway", false, "with --resume: go on although flags, data or base have changed")
	f.IntVar(&o.Train.Checkpoints.Steps, "save-steps", o.Train.Checkpoints.Steps, "write a checkpoint after each so many optimiser steps, beside that of each epoch; 0 for none")
	f.IntVar(&o.Train.Checkpoints.Limit, "save-total-limit", o.Train.Checkpoints.Limit, "checkpoints to keep, and the best beside them; 0 for all")
	f.StringVar(&o.Metric, "metric", o.Metric, "what makes an adapter the best: loss, or the share of held-out queries answered right (strict, relaxed) or with valid JSON (validity)")
	f.StringVar(&o.ComparatorsFile, "comparators", "", "JSON file that says how fields are compared for --metric strict and relaxed, as for validate")
	f.BoolVar(&o.Constrained, "constrained", true, "keep the answers for --metric strict and relaxed to the schema, as validate does; never those for validity")
	f.IntVar(&o.Train.EarlyStoppingPatience, "early-stopping-patience", o.Train.EarlyStoppingPatience, "stop after this many evaluations in a row that were not better; 0 for never")
	f.IntVar(&o.Average.Checkpoints, "average-checkpoints", 0, "the result is the mean of the newest so many checkpoints, of which at least as many are kept; 0 for none")
	f.StringVar(&o.averageMethod, "average-method", string(o.Average.Method), "what is averaged: delta (the updates B·A, exact) or factors (A and B apart, as the public IMPULSE scripts do)")
	f.IntVar(&o.Average.Rank, "average-rank", 0, "highest rank of the mean of the updates; 0 for the sum of the ranks, which holds it exactly")
	f.BoolVar(&o.Overwrite, "overwrite", false, "write into an output directory that is not empty, and remove the checkpoints in it")
	o.forecast.add(f)
	f.BoolVar(&o.DryRun, "dry-run", false, "check everything, print the plan, train nothing")
	f.IntVar(&o.Samples, "report-samples", o.Samples, "held-out queries answered after each epoch for report.html; 0 for none")
	f.BoolVar(&o.Watch, "watch", false, fmt.Sprintf("serve the report on this machine, kept up to date in the browser, at port %d or another", watchPort))
	f.BoolVar(&o.UseWandB, "use-wandb", false, "keep an offline run of Weights & Biases, in the project of WANDB_PROJECT, which is uploaded meanwhile where wandb is installed and has a key")
}

// chooseOutputDir names the output directory by model and data, if no flag does, and
// says so.
func (o *trainOptions) chooseOutputDir(out io.Writer) error {
	switch {
	case o.OutputDir != "" || o.DryRun:
		return nil
	case o.Model == "" || o.Data == "":
		if o.Resume {
			return errors.New("--resume needs --output-dir, or --model and --data to name it by")
		}
		return nil // which is refused with all else
	}
	data := filepath.Base(o.Data)
	o.OutputDir = filepath.Join("models", filepath.Base(o.Model)+"-"+strings.TrimSuffix(data, filepath.Ext(data)))
	fmt.Fprintf(out, "output directory: %s\n", o.OutputDir)
	return nil
}

// overlongPolicies are the values of --overlong.
var overlongPolicies = map[string]dataset.OverlongPolicy{
	"error": dataset.OverlongError, "drop": dataset.OverlongDrop, "truncate-prompt": dataset.OverlongTruncate,
}

// settle turns the flags that are said otherwise into the library's options. It
// lists every flag that is wrong.
func (o *trainOptions) settle() error {
	var faults []error
	fault := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	policy, ok := overlongPolicies[o.Overlong]
	fault(ok, "--overlong %q, want error, drop or truncate-prompt", o.Overlong)
	fault(o.Loss == "completion" || o.Loss == "all", "--loss %q, want completion or all", o.Loss)
	fault(slices.Contains([]string{"auto", "on", "off"}, o.Checkpointing), "--gradient-checkpointing=%s, want auto, on or off", o.Checkpointing)
	o.TrainOptions.Overlong, o.Plan.LossAll, o.Plan.SharedPrefix = policy, o.Loss == "all", !o.NoSharedPrefix
	o.AutoCheckpointing, o.Train.GradientCheckpointing = o.Checkpointing == "auto", o.Checkpointing == "on"
	o.Contract.DefaultSystem, o.Unconstrained, o.Split.Seed = !o.NoDefaultSystem, !o.Constrained, o.Train.Seed
	o.Average.Method = lora.AverageMethod(o.averageMethod)
	for i, name := range o.LoRA.TargetModules {
		o.LoRA.TargetModules[i] = strings.TrimSpace(name)
	}
	if slices.Equal(o.LoRA.TargetModules, []string{"all-linear"}) { // as PEFT calls them
		o.LoRA.TargetModules = lora.DefaultConfig().TargetModules
	}
	if o.Split.Fraction == 0 && !o.flags.Changed("early-stopping-patience") {
		o.Train.EarlyStoppingPatience = 0
	}
	if o.TestFile != "" {
		o.Test = []dataset.Record{} // until it is read
	}
	if o.UseWandB {
		o.WandB = &finetune.WandB{Name: filepath.Base(o.OutputDir)}
	}
	_, _, err := o.forecast.card()
	faults = append(faults, err, o.settleRequestValues(), o.checkFiles())
	return errors.Join(faults...)
}

// settleRequestValues reads --request-values.
func (o *trainOptions) settleRequestValues() error {
	if len(o.RequestValues) == 0 {
		return nil
	}
	if o.schemaFile() == "" {
		return errors.New("--request-values goes with --schema FILE")
	}
	var err error
	o.Contract.RequestValues, err = parseRequestValues(o.RequestValues)
	return err
}

// schemaFile is the file that --schema names, "" for a word.
func (o *trainOptions) schemaFile() string {
	if o.Schema == "auto" || o.Schema == "none" {
		return ""
	}
	return o.Schema
}

// checkFiles refuses files that are not there.
func (o *trainOptions) checkFiles() error {
	var faults []error
	for _, f := range []struct{ flag, path string }{{"--data", o.Data}, {"--test-file", o.TestFile}, {"--prompt-file", o.PromptFile}, {"--schema", o.schemaFile()}, {"--comparators", o.ComparatorsFile}} {
		faults = append(faults, named(f.flag, checkInput(f.path)))
	}
	return errors.Join(faults...)
}

// checkInput refuses a path, unless it is "", that is not there or a directory.
func checkInput(path string) error {
	if path == "" {
		return nil
	}
	info, err := os.Stat(path)
	if isModelDir(path) {
		return fmt.Errorf("%s is a model directory, want a file of examples: --model names models", path)
	}
	if err == nil && info.IsDir() {
		err = fmt.Errorf("%s is a directory, want a file; impulse prepare --input-dir makes one of IMPULSE's batches", path)
	}
	return err
}
