package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/spf13/cobra"

	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/lora/train"
	"github.com/impulse-salamandra/finetune/salamandra/safetensors"
)

// checkOutput refuses an output directory with work in it, unless told to go on
// with it or to write over it, and says how.
func (o *trainOptions) checkOutput() error {
	switch {
	case o.Resume && o.Overwrite:
		return errors.New("--resume and --overwrite exclude each other")
	case o.ResumeAnyway && !o.Resume:
		return errors.New("--resume-anyway goes with --resume")
	case o.OutputDir == "" || o.Overwrite || o.DryRun:
		return nil
	}
	entries, err := os.ReadDir(o.OutputDir)
	entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return unfinished.MatchString(e.Name()) })
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 {
		return nil
	}
	if err != nil {
		return fmt.Errorf("--output-dir: %w", err)
	}
	started := exists(filepath.Join(o.OutputDir, trainingArgsFile))
	switch {
	case o.Resume && started:
		return nil
	case o.Resume:
		return fmt.Errorf("--output-dir %s holds other files and no run to resume; choose another or say --overwrite", o.OutputDir)
	case started && !exists(filepath.Join(o.OutputDir, lora.ConfigFile)):
		return fmt.Errorf("--output-dir %s holds a run that was not finished: go on with --resume, or start anew with --overwrite", o.OutputDir)
	}
	return fmt.Errorf("--output-dir %s is not empty; choose another or say --overwrite", o.OutputDir)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// readFlags completes the flags from the file of --config or, where a run is
// resumed, from that run.
func readFlags(cmd *cobra.Command, config string, o *trainOptions) error {
	if saved := filepath.Join(o.OutputDir, trainingArgsFile); config == "" && o.Resume && exists(saved) {
		config = saved
	}
	if config == "" {
		return nil
	}
	return applyConfig(cmd, config)
}

// runFile is where a checkpoint says what else belongs to its step.
const runFile = "run.json"

// runPosition is the content of runFile.
type runPosition struct {
	MetricsBytes int64 `json:"metrics_bytes"` // length of metrics.jsonl
}

// begin puts the run where it goes on, at its start or after a checkpoint, and
// opens its metrics there.
func (r *trainRun) begin() error {
	var position runPosition
	if r.o.Overwrite {
		if err := r.trainer.Discard(); err != nil {
			return err
		}
	}
	if r.o.Resume {
		resumed, err := r.trainer.Resume(r.o.ResumeAnyway)
		if err := r.report(resumed, err); err != nil {
			return err
		}
		if err == nil {
			if position, err = readPosition(filepath.Join(resumed.Dir, runFile)); err != nil {
				return err
			}
		}
	}
	if err := removeUnfinished(r.o.OutputDir); err != nil {
		return err
	}
	if err := safetensors.WriteFile(filepath.Join(r.o.OutputDir, trainingArgsFile), r.o.args); err != nil {
		return err
	}
	var err error
	r.metrics, err = openMetrics(filepath.Join(r.o.OutputDir, metricsFile), position.MetricsBytes, r.o.Metric, r.memory)
	if errors.Is(err, errShortMetrics) {
		if r.o.ResumeAnyway {
			fmt.Fprintf(r.out, "warning: %v\n", err)
			return nil
		}
		err = errors.Join(err, r.metrics.close(), errors.New("--resume-anyway goes on without them; --overwrite starts anew"))
	}
	return err
}

// report says what came of resuming; no checkpoint is no error.
func (r *trainRun) report(resumed train.Resumed, err error) error {
	for _, note := range resumed.Notes {
		fmt.Fprintf(r.out, "note: %s\n", note)
	}
	var changed *train.ChangedError
	switch {
	case errors.As(err, &changed):
		return fmt.Errorf("%w\n--resume-anyway goes on all the same; --overwrite starts anew", err)
	case errors.Is(err, train.ErrNoCheckpoint):
		fmt.Fprintf(r.out, "%s has no checkpoint yet: starting from the beginning\n", r.o.OutputDir)
		return nil
	case err != nil:
		return err
	}
	for _, d := range resumed.Differences {
		fmt.Fprintf(r.out, "warning: changed since: %s\n", d)
	}
	fmt.Fprintf(r.out, "going on after step %d of %d, from %s\n", resumed.Step, r.trainer.TotalSteps(), resumed.Dir)
	return nil
}

func readPosition(path string) (runPosition, error) {
	var p runPosition
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, &p)
	}
	if err != nil {
		return p, fmt.Errorf("%s: %w", path, err)
	}
	return p, nil
}

// unfinished are the names under which files and directories are written.
var unfinished = regexp.MustCompile(`\.tmp-?[0-9a-f]{1,10}$`)

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

// addFiles puts into a checkpoint what belongs to its step.
func (r *trainRun) addFiles(dir string) error {
	n, err := r.metrics.sync()
	if err != nil {
		return err
	}
	text, err := json.Marshal(runPosition{n})
	if err != nil {
		return err
	}
	if err := safetensors.WriteFile(filepath.Join(dir, runFile), append(text, '\n')); err != nil {
		return err
	}
	return r.addPrompt(dir)
}

// stoppedAt turns an error of the run into one that says what is left and how
// to go on.
func (r *trainRun) stoppedAt(err error, canceled bool) error {
	kept := r.trainer.Saved()
	switch {
	case canceled && kept == "":
		return errors.New("stopped before the first step was finished")
	case canceled:
		return fmt.Errorf("stopped; %s is complete: go on with --resume", kept)
	case kept == "":
		return err
	case errors.Is(err, train.ErrNotFinite), errors.Is(err, train.ErrNoGradient):
		return fmt.Errorf("%w\nthe adapter before that step is in %s", err, kept)
	}
	return fmt.Errorf("%w\n%s is complete: go on with --resume", err, kept)
}
