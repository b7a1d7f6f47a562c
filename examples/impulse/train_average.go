package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/lora/train"
)

// averageOptions are the flags for a result that is the mean of checkpoints.
type averageOptions struct {
	Checkpoints int // 0 for none
	Method      string
	Rank        int
}

// check reports flags that do not go together.
func (o averageOptions) check(dora bool) error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	method := lora.AverageMethod(o.Method)
	switch {
	case o.Checkpoints < 0 || o.Checkpoints == 1:
		fault("--average-checkpoints %d, want 2 or more, or 0 for none", o.Checkpoints)
	case o.Checkpoints == 0 && o.Rank != 0:
		fault("--average-rank goes with --average-checkpoints")
	case o.Checkpoints > 0 && dora && method == lora.AverageDelta:
		fault("--average-method delta: the update of a DoRA adapter depends on the base; want factors")
	}
	if method != lora.AverageDelta && method != lora.AverageFactors {
		fault("--average-method %q, want %s or %s", o.Method, lora.AverageDelta, lora.AverageFactors)
	}
	if o.Rank < 0 || o.Rank > 0 && method == lora.AverageFactors {
		fault("--average-rank %d, want 0 or, with --average-method delta, more", o.Rank)
	}
	return errors.Join(faults...)
}

// checkAverage refuses to average more checkpoints than the run will write.
func (r *trainRun) checkAverage() error {
	if n, planned := r.o.Average.Checkpoints, r.trainer.PlannedCheckpoints(); n > planned {
		return fmt.Errorf("--average-checkpoints %d: this run writes %d; more epochs or smaller --save-steps write more", n, planned)
	}
	return nil
}

// average returns the mean of the newest checkpoints, and says what it is.
func (r *trainRun) average(ctx context.Context) (*lora.Adapter, error) {
	o := r.o.Average
	dirs, err := r.trainer.Newest(o.Checkpoints)
	if err != nil {
		return nil, err
	}
	slices.Reverse(dirs)
	a, report, err := lora.Average(ctx, lora.AverageOptions{Dirs: dirs, Method: lora.AverageMethod(o.Method), Rank: o.Rank})
	if err != nil {
		return nil, err
	}
	names := make([]string, len(dirs))
	for i, dir := range dirs {
		names[i] = filepath.Base(dir)
	}
	fmt.Fprintf(r.out, "mean of %s, method %s, rank %d: ", strings.Join(names, ", "), o.Method, a.Config.Rank)
	fmt.Fprintf(r.out, "%.2g %% from the mean of the updates, where averaging the factors A and B is %.2g %% off\n", 100*report.Result, 100*report.Factors)
	if r.data.eval == nil {
		return a, nil
	}
	loss, err := r.lossOf(ctx, a)
	if err == nil {
		fmt.Fprintf(r.out, "the mean has loss %.4f on held-out examples\n", loss)
	}
	return a, err
}

// lossOf evaluates an adapter that is not the one in training.
func (r *trainRun) lossOf(ctx context.Context, a *lora.Adapter) (float64, error) {
	layers, err := lora.Attach(r.model, a)
	if err != nil {
		return 0, err
	}
	config := r.o.Train
	config.Checkpoints = train.Checkpoints{}
	judge, err := train.New(r.model, layers, r.data.train, r.data.eval, config)
	if err != nil {
		return 0, err
	}
	defer judge.Close()
	e, err := judge.Evaluate(ctx)
	return e.Loss, err
}
