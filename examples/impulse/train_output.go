package main

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/lora/train"
	"github.com/impulse-salamandra/finetune/salamandra/safetensors"
)

// lastDir is where the last adapter is if the best one is the result.
const lastDir = "checkpoint-last"

// finish writes what the run gave, and beside it the last adapter if it is not
// that one by plan.
func (r *trainRun) finish(ctx context.Context) error {
	last, err := r.layers.Adapter()
	if err != nil {
		return err
	}
	if r.trainer.StoppedEarly() {
		fmt.Fprintf(r.out, "stopped early, after %d of %d steps: %d evaluations in a row were not better\n", r.trainer.Step(), r.trainer.TotalSteps(), r.o.Train.EarlyStoppingPatience)
	}
	best, judged := r.trainer.Best()
	averaged, lastPath := r.o.Average.Checkpoints > 0, filepath.Join(r.o.OutputDir, lastDir)
	if judged || averaged {
		if err := r.writeAdapter(last, lastPath); err != nil {
			return err
		}
	}
	result, said, err := r.result(ctx, last)
	if err != nil {
		return fmt.Errorf("the last adapter is in %s: %w", lastPath, err)
	}
	if err := r.writeAdapter(result, r.o.OutputDir); err != nil {
		return err
	}
	fmt.Fprintf(r.out, "adapter written to %s: %s\n", r.o.OutputDir, said)
	if judged && averaged {
		fmt.Fprintf(r.out, "%s, is in %s\n", r.describeBest(best), r.checkpoint(best.Step))
	}
	if judged || averaged {
		fmt.Fprintf(r.out, "the last, after %d steps, is in %s\n", r.trainer.Step(), lastPath)
	}
	return nil
}

// result is the mean of checkpoints if it was asked for, the best adapter if
// there were evaluations, or the last one.
func (r *trainRun) result(ctx context.Context, last *lora.Adapter) (a *lora.Adapter, said string, err error) {
	best, judged := r.trainer.Best()
	switch {
	case r.o.Average.Checkpoints > 0:
		a, err = r.average(ctx)
		return a, "the mean of checkpoints", err
	case !judged:
		return last, fmt.Sprintf("the last, after %d steps", r.trainer.Step()), nil
	case best.Step != r.trainer.Step():
		last, err = lora.ReadAdapter(r.checkpoint(best.Step))
	}
	return last, r.describeBest(best), err
}

// checkpoint is the directory of the checkpoint after a step.
func (r *trainRun) checkpoint(step int) string {
	return filepath.Join(r.o.OutputDir, fmt.Sprintf("checkpoint-%d", step))
}

func (r *trainRun) describeBest(e train.Evaluation) string {
	return fmt.Sprintf("the best, after %d steps (%s)", e.Step, r.o.describe(e))
}

// describe gives the figure that an evaluation is judged by.
func (o *trainOptions) describe(e train.Evaluation) string {
	text := fmt.Sprintf("loss %.4f on held-out examples", e.Loss)
	if e.Score != nil {
		text += fmt.Sprintf(", %s %.1f %%", o.Metric, 100**e.Score)
	}
	return text
}

// writeAdapter puts an adapter and how it is prompted into a directory.
func (r *trainRun) writeAdapter(a *lora.Adapter, dir string) error {
	if err := a.Write(dir); err != nil {
		return err
	}
	return r.addPrompt(dir)
}

// addPrompt writes what belongs beside an adapter.
func (r *trainRun) addPrompt(dir string) error {
	if err := r.data.contract.Write(filepath.Join(dir, chatml.ContractFile)); err != nil {
		return err
	}
	return safetensors.WriteFile(filepath.Join(dir, trainingArgsFile), r.o.args)
}
