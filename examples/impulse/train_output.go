package main

import (
	"fmt"
	"path/filepath"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/lora/train"
	"github.com/impulse-salamandra/finetune/salamandra/safetensors"
)

// lastDir is where the last adapter is if the best one is the result.
const lastDir = "checkpoint-last"

// finish writes what the run gave: the best adapter, if there were evaluations,
// and the last one beside it, or the last one alone.
func (r *trainRun) finish() error {
	last, err := r.layers.Adapter()
	if err != nil {
		return err
	}
	best, judged := r.trainer.Best()
	if !judged {
		if err := r.writeAdapter(last, r.o.OutputDir); err != nil {
			return err
		}
		fmt.Fprintf(r.out, "adapter written to %s: the last, after %d steps\n", r.o.OutputDir, r.trainer.Step())
		return nil
	}
	if err := r.writeAdapter(last, filepath.Join(r.o.OutputDir, lastDir)); err != nil {
		return err
	}
	chosen := last
	if best.Step != r.trainer.Step() {
		if chosen, err = lora.ReadAdapter(filepath.Join(r.o.OutputDir, fmt.Sprintf("checkpoint-%d", best.Step))); err != nil {
			return fmt.Errorf("the best adapter cannot be read; the last is in %s: %w", filepath.Join(r.o.OutputDir, lastDir), err)
		}
	}
	if err := r.writeAdapter(chosen, r.o.OutputDir); err != nil {
		return err
	}
	if r.trainer.StoppedEarly() {
		fmt.Fprintf(r.out, "stopped early, after %d of %d steps: %d evaluations in a row were not better\n", r.trainer.Step(), r.trainer.TotalSteps(), r.o.Train.EarlyStoppingPatience)
	}
	fmt.Fprintf(r.out, "adapter written to %s: the best, after %d steps (%s)\n", r.o.OutputDir, best.Step, r.o.describe(best))
	fmt.Fprintf(r.out, "the last, after %d steps, is in %s\n", r.trainer.Step(), filepath.Join(r.o.OutputDir, lastDir))
	return nil
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
