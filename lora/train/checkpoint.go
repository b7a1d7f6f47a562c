package train

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/gomlx/gomlx/core/tensors"

	"github.com/impulse-salamandra/finetune/internal/atomicfile"
	"github.com/impulse-salamandra/finetune/internal/safetensors"
	"github.com/impulse-salamandra/finetune/internal/weights"
)

// Names of a checkpoint's files beside the adapter's.
const (
	// stateFile holds where the run stands and what it is a run of.
	stateFile = "trainer_state.json"
	// momentsFile holds AdamW's two moments, "exp_avg" and "exp_avg_sq", float32
	// vectors in the order of [lora.Layers].
	momentsFile = "optimizer.safetensors"
)

// Checkpoints says where a run is kept, and how often. The zero value keeps
// nothing.
//
// A checkpoint is a directory, checkpoint-7 after 7 optimiser steps, from which
// a run goes on as if it had never stopped: PEFT's adapter files,
// optimizer.safetensors with AdamW's moments and trainer_state.json. It is filled under a temporary name, put on disk and
// renamed, so that one with its proper name is complete. One is written at the
// end of each epoch, before its evaluation, at the end of the run, and where a
// run is interrupted.
type Checkpoints struct {
	// Dir holds the checkpoints, "" for none. It is made if need be, and no other
	// trainer can use it meanwhile.
	Dir string
	// Steps writes one after each so many optimiser steps as well; 0 does not.
	Steps int
	// Limit is how many are kept, the newest, and beside them the one with the
	// best evaluation; 0 keeps all. One that an interruption wrote is kept until
	// the next and does not count, so that a run which was interrupted ends with
	// the same checkpoints as one that was not.
	Limit int
	// Identity is what must be the same for a run to be continued, by name,
	// beside what the trainer sees itself, such as a hash of the base weights.
	Identity map[string]string
	// Overwrite removes the checkpoints of another run when a new one begins;
	// without it they are an error.
	Overwrite bool
	// AddFiles, if not nil, puts more files into the directory of a checkpoint
	// before it is complete.
	AddFiles func(dir string) error
}

// Checkpoint is a checkpoint on disk.
type Checkpoint struct {
	Dir      string
	Step     int // optimiser steps done
	Epoch    float64
	Duration time.Duration // of writing it
}

// checkpointName is the name of the checkpoint after a number of steps.
func checkpointName(step int) string { return fmt.Sprintf("checkpoint-%d", step) }

// stateVersion rises when a field changes its meaning.
const stateVersion = 2

// stateJSON is the content of stateFile.
type stateJSON struct {
	Version int `json:"version"`
	position
	// Epochs, LearningRate and TotalSteps are for readers; they follow from the
	// others.
	Epochs       float64 `json:"epochs"`
	LearningRate float64 `json:"learning_rate"`
	TotalSteps   int     `json:"total_steps"`
	// Seed and the position give the order of the examples and the dropout.
	Seed     uint64            `json:"seed"`
	Identity map[string]string `json:"identity"`
	Files    map[string]string `json:"files"` // SHA-256 by name
}

// openCheckpoints makes and locks the directory of checkpoints, and tries it.
func (t *Trainer) openCheckpoints() error {
	dir := t.config.Checkpoints.Dir
	if dir == "" {
		return nil
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return fmt.Errorf("train: %w", err)
	}
	release, err := atomicfile.Lock(dir)
	if err != nil {
		return fmt.Errorf("train: %w", err)
	}
	trial, err := atomicfile.NewStage(filepath.Join(dir, checkpointName(0)), 2*t.checkpointSize())
	if err != nil {
		release()
		return fmt.Errorf("train: %w: %w", errCheckpoint, err)
	}
	trial.Close()
	t.unlock = release
	return nil
}

// begin makes room for a new run, which is never written among the checkpoints of
// another.
func (t *Trainer) begin() error {
	dir := t.config.Checkpoints.Dir
	if dir == "" || t.saved > 0 || t.state.Step > 0 {
		return nil
	}
	if t.config.Checkpoints.Overwrite {
		return discard(dir)
	}
	steps, err := listCheckpoints(dir)
	if err == nil && len(steps) > 0 {
		err = fmt.Errorf("train: %s: %w: it holds %s; resume it or remove it", dir, errCheckpoint, checkpointName(steps[0]))
	}
	return err
}

// discard removes the checkpoints in dir, which are of another run.
func discard(dir string) error {
	if _, err := removeHalves(dir); err != nil {
		return fmt.Errorf("train: %w", err)
	}
	steps, err := listCheckpoints(dir)
	if err != nil {
		return err
	}
	for _, step := range steps {
		if err := removeDir(filepath.Join(dir, checkpointName(step))); err != nil {
			return fmt.Errorf("train: %w", err)
		}
	}
	return nil
}

// checkpointDir is the directory of the checkpoint after a step, "" for step 0.
func (t *Trainer) checkpointDir(step int) string {
	if step == 0 {
		return ""
	}
	return filepath.Join(t.config.Checkpoints.Dir, checkpointName(step))
}

// Newest returns the directories of the newest n checkpoints, or all if there are
// fewer, the newest first, without those that interruptions wrote.
func (t *Trainer) Newest(n int) ([]string, error) {
	steps, err := listCheckpoints(t.config.Checkpoints.Dir)
	var dirs []string
	for _, step := range steps {
		if len(dirs) < n && t.planned(step) {
			dirs = append(dirs, t.checkpointDir(step))
		}
	}
	return dirs, err
}

// planned reports whether a checkpoint is due after a step whatever happens.
func (t *Trainer) planned(step int) bool { return t.config.planned(t.train, step) }

// save writes the checkpoint of the present step, unless it is there, and
// removes those that are too many.
func (t *Trainer) save(hooks Hooks) error {
	if t.config.Checkpoints.Dir == "" {
		return nil
	}
	if t.saved == t.state.Step {
		return t.prune()
	}
	start := time.Now()
	c := Checkpoint{Dir: t.checkpointDir(t.state.Step), Step: t.state.Step, Epoch: t.epochs()}
	if err := t.write(c.Dir); err != nil {
		return fmt.Errorf("train: %s: %w: %w", c.Dir, errCheckpoint, err)
	}
	t.saved = c.Step
	if err := t.prune(); err != nil {
		return err
	}
	c.Duration = time.Since(start)
	return hooks.Checkpoint(c)
}

// CheckpointSize is about how many bytes a checkpoint takes on disk of an adapter
// with so many numbers: these and two moments, and small files. A run needs room
// for two, since a new checkpoint is there before an old one goes.
func CheckpointSize(parameters int) int64 { return 3*4*int64(parameters) + 1<<20 }

func (t *Trainer) checkpointSize() int64 { return CheckpointSize(t.layers.NumParameters()) }

// write puts the present state into a directory.
func (t *Trainer) write(dir string) error {
	stage, err := atomicfile.NewStage(dir, t.checkpointSize())
	if err != nil {
		return err
	}
	defer stage.Close()
	adapter, err := t.layers.Adapter()
	if err != nil {
		return err
	}
	if err := adapter.Write(stage.Dir); err != nil {
		return err
	}
	if err := writeMoments(filepath.Join(stage.Dir, momentsFile), t.state.m1, t.state.m2); err != nil {
		return err
	}
	if add := t.config.Checkpoints.AddFiles; add != nil {
		if err := add(stage.Dir); err != nil {
			return err
		}
	}
	if err := t.writeState(stage.Dir); err != nil {
		return err
	}
	return stage.Publish()
}

// writeState writes stateFile, with the hashes of all other files in dir.
func (t *Trainer) writeState(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	files := map[string]string{}
	for _, e := range entries {
		if files[e.Name()], err = weights.HashFile(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	text, err := json.MarshalIndent(stateJSON{
		Version: stateVersion, position: t.state.position,
		Epochs: t.epochs(), LearningRate: t.schedule.at(t.state.Step), TotalSteps: t.totalSteps(),
		Seed: t.config.Seed, Identity: t.identity(), Files: files,
	}, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(dir, stateFile), append(text, '\n'))
}

// momentNames are the tensors of momentsFile, as torch.optim.AdamW calls them.
var momentNames = [2]string{"exp_avg", "exp_avg_sq"}

func writeMoments(path string, moments ...*tensors.Tensor) error {
	var infos []safetensors.Info
	for _, name := range momentNames {
		infos = append(infos, safetensors.Info{Name: name, Dtype: safetensors.F32, Shape: []int{moments[0].Size()}})
	}
	w, err := safetensors.Create(path, infos, nil)
	if err != nil {
		return err
	}
	defer w.Abort()
	for i, info := range infos {
		values, err := tensors.CopyFlatData[float32](moments[i])
		if err != nil {
			return err
		}
		if err := w.WriteFloats(info.Name, values); err != nil {
			return err
		}
	}
	return w.Commit()
}

// prune removes all checkpoints but the newest Limit, the best and the present
// one.
func (t *Trainer) prune() error {
	if t.config.Checkpoints.Dir == "" {
		return nil
	}
	steps, err := listCheckpoints(t.config.Checkpoints.Dir)
	if err != nil {
		return err
	}
	limit, planned := t.config.Checkpoints.Limit, 0
	for _, step := range steps {
		if t.planned(step) {
			planned++
			if limit == 0 || planned <= limit {
				continue
			}
		}
		if step == t.saved || t.state.Best != nil && t.state.Best.Step == step {
			continue
		}
		if err := removeDir(t.checkpointDir(step)); err != nil {
			return fmt.Errorf("train: %w", err)
		}
	}
	return nil
}

// removeDir removes a checkpoint such that one that is half removed does not
// have its name.
func removeDir(dir string) error {
	doomed := fmt.Sprintf("%s.tmp-%08x", dir, rand.Uint32())
	if err := os.Rename(dir, doomed); err != nil {
		return err
	}
	return os.RemoveAll(doomed)
}

// errCheckpoint marks a checkpoint that could not be written. Those before it
// are as they were.
var errCheckpoint = errors.New("checkpoint not written")
