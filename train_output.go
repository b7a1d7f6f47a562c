package finetune

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/internal/atomicfile"
	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/lora/train"
)

// lastDir is where the last adapter is if another one is the result.
const lastDir = "checkpoint-last"

// finish writes what the run gave, and beside it the last adapter if it is not
// that one by plan.
func (r *run) finish(ctx context.Context) error {
	last, err := r.layers.Adapter()
	if err != nil {
		return err
	}
	lastPath := filepath.Join(r.o.OutputDir, lastDir)
	if r.trainer.Status().Best != nil || r.o.Average.Checkpoints > 0 {
		if err := r.writeAdapter(last, lastPath); err != nil {
			return err
		}
		r.result.Last = lastPath
	}
	result, err := r.chooseResult(ctx, last)
	if err != nil {
		return fmt.Errorf("%w\nthe last adapter is in %s", err, lastPath)
	}
	return r.writeAdapter(result, r.o.OutputDir)
}

// chooseResult is the mean of checkpoints if it was asked for, the best adapter if
// there were evaluations, or the last one.
func (r *run) chooseResult(ctx context.Context, last *lora.Adapter) (*lora.Adapter, error) {
	s := r.trainer.Status()
	switch {
	case r.o.Average.Checkpoints > 0:
		return r.average(ctx)
	case s.Best == nil || s.Best.Step == s.Step:
		return last, nil
	}
	return lora.ReadAdapter(filepath.Join(r.o.OutputDir, fmt.Sprintf("checkpoint-%d", s.Best.Step)))
}

// average returns the mean of the newest checkpoints, and describes it in the
// result.
func (r *run) average(ctx context.Context) (*lora.Adapter, error) {
	dirs, err := r.trainer.Newest(r.o.Average.Checkpoints)
	if err != nil {
		return nil, err
	}
	slices.Reverse(dirs)
	a, report, err := lora.Average(ctx, lora.AverageOptions{Dirs: dirs, Method: r.o.Average.Method, Rank: r.o.Average.Rank})
	if err != nil {
		return nil, err
	}
	mean := &Mean{Rank: a.Config.Rank, AverageReport: report}
	for _, dir := range dirs {
		mean.Checkpoints = append(mean.Checkpoints, filepath.Base(dir))
	}
	if r.plan.Eval != nil {
		if mean.Loss, err = r.lossOf(ctx, a); err != nil {
			return nil, err
		}
	}
	r.result.Mean = mean
	return a, nil
}

// lossOf evaluates an adapter that is not the one in training.
func (r *run) lossOf(ctx context.Context, a *lora.Adapter) (float64, error) {
	layers, err := lora.Attach(r.model, a)
	if err != nil {
		return 0, err
	}
	defer func() { _ = layers.Params().FinalizeAll() }()
	config := r.o.Train
	config.Checkpoints = train.Checkpoints{}
	judge, err := train.New(r.model, layers, r.plan.Train, r.plan.Eval, config)
	if err != nil {
		return 0, err
	}
	defer judge.Close()
	e, err := judge.Evaluate(ctx)
	return e.Loss, err
}

// writeAdapter puts an adapter and how it is prompted into a directory.
func (r *run) writeAdapter(a *lora.Adapter, dir string) error {
	if err := a.Write(dir); err != nil {
		return err
	}
	return r.addPrompt(dir)
}

// addPrompt writes what belongs beside an adapter.
func (r *run) addPrompt(dir string) error {
	return errors.Join(r.plan.Contract.Write(filepath.Join(dir, chatml.ContractFile)), r.writeSettings(dir))
}

// addFiles puts into a checkpoint what belongs to its step.
func (r *run) addFiles(dir string) error {
	return errors.Join(r.log.AddFiles(dir), r.addPrompt(dir))
}

// settings makes what training_args.json keeps.
func (o *TrainOptions) settings(p *TrainPlan) ([]byte, error) {
	if o.Settings != nil {
		return o.Settings(p)
	}
	text, err := json.MarshalIndent(struct {
		Model       string               `json:"model"`
		Data        string               `json:"data"`
		OutputDir   string               `json:"output_dir"`
		InitAdapter string               `json:"init_adapter,omitempty"`
		MaxLength   int                  `json:"max_length"`
		Metric      string               `json:"metric"`
		Train       train.Config         `json:"train"`
		LoRA        lora.Config          `json:"lora"`
		Plan        dataset.PlanOptions  `json:"plan"`
		Split       dataset.SplitOptions `json:"split"`
		Average     Averaging            `json:"average"`
		Backend     string               `json:"backend"`
		Dtype       string               `json:"dtype"`
		Quantize    string               `json:"quantize"`
		Shards      int                  `json:"shards"`
	}{o.Model, o.Data, o.OutputDir, o.InitAdapter, o.MaxLength, o.Metric, o.Train, o.LoRA, o.Plan, o.Split, o.Average, o.Backend, o.Dtype, quantizeOption(o.Quantize), max(1, o.Shards)}, "", "  ")
	return append(text, '\n'), err
}

func (r *run) writeSettings(dir string) error {
	return atomicfile.Write(filepath.Join(dir, settingsFile), r.settings)
}

// removeUnfinished removes files that were being written to the directory of a
// run, which is locked, when a process was killed.
func removeUnfinished(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || !unfinished.MatchString(path) {
			return err
		}
		return os.Remove(path)
	})
}
