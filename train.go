package finetune

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/impulse-salamandra/finetune/evalx"
	"github.com/impulse-salamandra/finetune/internal/hub"
	"github.com/impulse-salamandra/finetune/internal/runlog"
	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/lora/train"
	"github.com/impulse-salamandra/finetune/salamandra"
	"github.com/impulse-salamandra/finetune/salamandra/device"
	"github.com/impulse-salamandra/finetune/salamandra/tokenizer"
)

// TrainResult is what a run gave. The adapter in OutputDir is Mean if that is not
// nil, else Status.Best if there was an evaluation, else the last.
type TrainResult struct {
	// Plan is what was to be done; all that there is after a dry run, and after
	// [train.ErrMemory], when it says nothing of memory.
	Plan *TrainPlan
	// Status is where the run ended. After an error a run can be resumed from
	// Status.Saved, if that is not empty.
	train.Status
	// Last is the directory of the adapter after the last step, if OutputDir holds
	// another one.
	Last string
	// Mean describes a result that is the mean of checkpoints.
	Mean *Mean
}

// Mean is a mean of checkpoints.
type Mean struct {
	Checkpoints []string // their names, the oldest first
	Rank        int
	lora.AverageReport
	Loss float64 // on the held-out examples, 0 without
}

// Train fine-tunes a model with LoRA: examples in, a complete adapter directory
// out, which [Open] opens and lora.Merge merges. It holds PEFT's files,
// prompt.json, training_args.json, the checkpoints, and what docs/metrics.md lists.
//
// Everything is checked and planned before a weight is loaded: a run that could
// not end well is refused with all that is wrong. One that ends early, with ctx
// or by an error, leaves a checkpoint that it can be resumed from, with the same
// bytes as a run that nothing disturbed.
func Train(ctx context.Context, opts TrainOptions) (TrainResult, error) {
	if opts.follows() {
		opts.leaveToRank0()
	}
	r := &run{o: opts}
	defer r.close()
	err := r.makePlan(ctx)
	if errors.Is(err, train.ErrMemory) {
		return TrainResult{Plan: r.plan}, err
	}
	if err != nil {
		return TrainResult{}, err
	}
	r.result.Plan = r.plan
	if hook := opts.Hooks.Plan; hook != nil {
		err = hook(r.plan)
	}
	if err == nil && !opts.DryRun {
		err = r.train(ctx)
	}
	if r.trainer != nil {
		r.result.Status = r.trainer.Status()
	}
	return r.result, err
}

// run is a training under way.
type run struct {
	o         TrainOptions
	plan      *TrainPlan
	questions []heldOut
	task      evalx.Task // that their answers are scored by
	tokenizer *tokenizer.Tokenizer
	device    *device.Device
	memory    func() int64 // the most used so far
	model     *salamandra.Model
	replicas  []*salamandra.Model // on the other devices
	layers    *lora.Layers
	initial   string // hash of the adapter to start from
	trainer   *train.Trainer
	log       *runlog.Log
	settings  []byte // for training_args.json
	result    TrainResult
}

// close frees what the run has, the adapter too, unless a device hangs.
func (r *run) close() {
	if r.trainer != nil {
		r.trainer.Close()
	}
	if r.hung() {
		return
	}
	if r.layers != nil {
		_ = r.layers.Params().FinalizeAll()
	}
	for _, m := range r.replicas {
		_ = m.Close()
	}
	if r.model != nil {
		_ = r.model.Close()
	}
	if r.device != nil && r.o.Device == nil {
		r.device.Close()
	}
}

// hung reports whether a device does not answer, of which nothing can be freed.
func (r *run) hung() bool { return r.trainer != nil && r.trainer.Hung() }

// train loads the model, trains and writes the adapter.
func (r *run) train(ctx context.Context) (err error) {
	o, base := &r.o, r.plan.Base
	watching, stop := context.WithCancel(ctx)
	defer stop()
	r.memory = r.device.WatchMemory(watching)
	opts := o.open()
	b := &sharedBase{opts: opts, dir: base, device: r.device, quantized: r.plan.Contract.BaseQuantization}
	if r.plan.Contract.BaseSHA256, err = b.hash(ctx); err != nil {
		return err
	}
	if r.model, err = b.load(ctx); err != nil {
		return err
	}
	if r.replicas, err = replicate(ctx, r.model, r.plan.Devices, opts.progress); err != nil {
		return err
	}
	if r.layers, err = r.adapter(ctx); err != nil {
		return err
	}
	if r.trainer, err = train.New(r.model, r.layers, r.plan.Train, r.plan.Eval, r.config()); err != nil {
		return err
	}
	if o.follows() {
		return r.follow(ctx)
	}
	if err := r.fit(ctx); err != nil {
		return err
	}
	return r.finish(ctx)
}

// adapter makes or reads the adapter to train.
func (r *run) adapter(ctx context.Context) (*lora.Layers, error) {
	config := r.o.LoRA
	var err error
	if config.BaseModelNameOrPath, err = portable(r.o.Model, r.plan.Base); err != nil {
		return nil, err
	}
	if r.o.InitAdapter == "" {
		return lora.Inject(r.model, config, r.o.Train.Seed)
	}
	a, err := lora.ReadAdapter(r.o.InitAdapter)
	if err != nil {
		return nil, err
	}
	if r.initial, err = hashWeights(ctx, r.o.InitAdapter); err != nil {
		return nil, err
	}
	a.Config = config
	return lora.Attach(r.model, a)
}

// portable is the name by which a base is found again from anywhere: its hub id,
// or where its directory is.
func portable(name, dir string) (string, error) {
	if hub.IsID(name) && !isDir(name) {
		return name, nil
	}
	return filepath.Abs(dir)
}

// config is the trainer's, with what belongs to a run of this kind.
func (r *run) config() train.Config {
	o := &r.o
	config := o.Train
	config.Replicas, config.Ranks = r.replicas, o.Ranks
	c := &config.Checkpoints
	c.Dir, c.AddFiles, c.Overwrite = o.OutputDir, r.addFiles, o.Overwrite
	if c.Limit > 0 {
		c.Limit = max(c.Limit, o.Average.Checkpoints)
	}
	c.Identity = map[string]string{
		"base weights": r.plan.Contract.BaseSHA256, "tokenizer": r.plan.Contract.TokenizerSHA256,
		"backend": r.device.Backend.Name(), "dtype": r.model.DType().String(),
		"base quantization": r.plan.Contract.BaseQuantization,
		"metric":            o.Metric,
	}
	if o.sharded() {
		c.Identity["shards of the base"] = fmt.Sprint(o.Shards)
	}
	if o.InitAdapter != "" {
		c.Identity["adapter to start from"] = r.initial
	}
	if o.Metric != "loss" {
		c.Identity["unconstrained"] = fmt.Sprint(o.Unconstrained)
	}
	if o.Comparators != nil {
		c.Identity["comparators"] = hash(o.Comparators)
	}
	return config
}

// fit runs the trainer.
func (r *run) fit(ctx context.Context) error {
	asker, err := r.newAsker()
	if err != nil {
		return err
	}
	defer asker.close()
	start, err := r.begin(asker)
	if err != nil {
		return err
	}
	hooks := train.Join(r.log.Hooks(ctx), r.o.Hooks.Hooks, train.Hooks{Progress: r.o.Progress})
	if r.o.asks() {
		hooks.Score = asker.score
	}
	if hook := r.o.Hooks.Start; hook != nil {
		err = hook(start)
	}
	if err == nil {
		err = r.trainer.Run(ctx, hooks)
	}
	return errors.Join(err, r.log.Close())
}

// begin puts the run where it goes on, at its start or after a checkpoint, and
// opens its log there.
func (r *run) begin(a *asker) (TrainStart, error) {
	o := &r.o
	start := TrainStart{
		Parameters: r.layers.NumParameters(), Layers: len(r.layers.Names()), ModelParameters: r.model.Config.NumParameters(), Memory: r.memory,
	}
	checkpoint := ""
	if o.Resume {
		resumed, err := r.trainer.Resume(o.ResumeAnyway)
		for _, note := range resumed.Notes {
			o.warn(note)
		}
		if err != nil && !errors.Is(err, train.ErrNoCheckpoint) {
			return start, err
		}
		if err == nil {
			checkpoint, start.Resumed = resumed.Dir, &resumed
		}
	}
	if err := removeUnfinished(o.OutputDir); err != nil {
		return start, err
	}
	if err := r.writeSettings(o.OutputDir); err != nil {
		return start, err
	}
	var err error
	r.log, err = runlog.Open(o.OutputDir, checkpoint, r.logged(a))
	if errors.Is(err, runlog.ErrShort) && o.ResumeAnyway {
		o.warn(err.Error())
		err = nil
	}
	if err != nil {
		if r.log != nil {
			err = errors.Join(err, r.log.Close())
		}
		return start, err
	}
	start.Status, start.Losses, start.WandBDir = r.trainer.Status(), r.log.Losses(), r.log.WandBDir()
	return start, nil
}
