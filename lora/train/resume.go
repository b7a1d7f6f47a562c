package train

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"

	"github.com/gomlx/gomlx/core/tensors"

	"github.com/impulse-salamandra/finetune/internal/atomicfile"
	"github.com/impulse-salamandra/finetune/internal/safetensors"
	"github.com/impulse-salamandra/finetune/internal/weights"
	"github.com/impulse-salamandra/finetune/lora"
)

// ErrNoCheckpoint: there is no complete checkpoint to go on from.
var ErrNoCheckpoint = errors.New("no checkpoint")

// errBroken: a checkpoint lacks a file, or one was changed.
var errBroken = errors.New("broken")

// Resumed is what [Trainer.Resume] found.
type Resumed struct {
	Checkpoint // that the run goes on from
	// Notes say what was left aside and what was cleaned, a sentence each.
	Notes []string
	// Differences are those that were accepted.
	Differences []Difference
}

// Resume puts the trainer where the newest complete checkpoint in
// Checkpoints.Dir was written. What a killed run left half-written is removed; a
// checkpoint that lacks a file, or whose files do not have the content they
// were written with, is renamed to checkpoint-N.broken-…, and an older one
// taken.
//
// It fails with [ErrNoCheckpoint] if there is none, and with a [*ChangedError] if
// the configuration, the examples or Checkpoints.Identity differ from those of
// the checkpoint, unless anyway is true. A run that is continued unchanged, on
// the same backend, gives the same bytes as one that never stopped.
func (t *Trainer) Resume(anyway bool) (Resumed, error) {
	var r Resumed
	dir := t.config.Checkpoints.Dir
	notes, err := removeHalves(dir)
	if err != nil {
		return r, fmt.Errorf("train: %w", err)
	}
	r.Notes = notes
	steps, err := listCheckpoints(dir)
	if err != nil {
		return r, err
	}
	for _, step := range steps {
		r.Dir = filepath.Join(dir, checkpointName(step))
		state, err := readState(r.Dir, step)
		if errors.Is(err, errBroken) {
			aside := fmt.Sprintf("%s.broken-%08x", r.Dir, rand.Uint32())
			if e := atomicfile.Rename(r.Dir, aside); e != nil {
				return r, errors.Join(err, e)
			}
			r.Notes = append(r.Notes, fmt.Sprintf("%v; it is now %s", err, filepath.Base(aside)))
			continue
		}
		if err != nil {
			return r, err
		}
		r.Differences = differences(state.Identity, t.identity())
		if len(r.Differences) > 0 && !anyway {
			return r, &ChangedError{Dir: r.Dir, Differences: r.Differences}
		}
		if err := t.restore(r.Dir, state); err != nil {
			return r, err
		}
		r.Step, r.Epoch = t.state.Step, t.epochs()
		return r, nil
	}
	return r, fmt.Errorf("train: %s: %w", dir, ErrNoCheckpoint)
}

// Difference is something that a checkpoint was written with and that is not so
// now. Setting is a key as in adapter_config.json, a field of [Config] in that
// style ("learning_rate"), or a description in words ("training data"). Then and
// Now are JSON or text, empty where there was none.
type Difference struct{ Setting, Then, Now string }

// String shows both values.
func (d Difference) String() string {
	return fmt.Sprintf("%s: %s then, %s now", d.Setting, cmp.Or(d.Then, "nothing"), cmp.Or(d.Now, "nothing"))
}

// ChangedError lists what differs between a checkpoint and the run that should
// go on from it.
type ChangedError struct {
	Dir         string // of the checkpoint
	Differences []Difference
}

// Error gives one line per difference.
func (e *ChangedError) Error() string {
	text := fmt.Sprintf("train: the run has changed since %s:", e.Dir)
	for _, d := range e.Differences {
		text += "\n  " + d.String()
	}
	return text
}

var (
	checkpointPattern = regexp.MustCompile(`^checkpoint-([1-9][0-9]{0,17})$`)
	halfPattern       = regexp.MustCompile(`^checkpoint-[0-9]+\.tmp-[0-9a-f]{8}$`)
)

// listCheckpoints returns the steps of the checkpoints in dir, newest first.
func listCheckpoints(dir string) ([]int, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("train: %w", err)
	}
	var steps []int
	for _, e := range entries {
		if m := checkpointPattern.FindStringSubmatch(e.Name()); m != nil && e.IsDir() {
			step, err := strconv.Atoi(m[1])
			if err != nil {
				return nil, fmt.Errorf("train: %s: %w", e.Name(), err)
			}
			steps = append(steps, step)
		}
	}
	slices.Sort(steps)
	slices.Reverse(steps)
	return steps, nil
}

// removeHalves removes checkpoints that were being written, or removed, when
// their process ended: dir is locked, so no other works on them.
func removeHalves(dir string) (notes []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if !e.IsDir() || !halfPattern.MatchString(e.Name()) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return nil, err
		}
		notes = append(notes, fmt.Sprintf("removed %s, which was not finished", e.Name()))
	}
	return notes, nil
}

// readState reads the state of a checkpoint and checks its files. It fails with
// errBroken if the checkpoint is not what was written.
func readState(dir string, step int) (stateJSON, error) {
	var s stateJSON
	broken := func(format string, args ...any) (stateJSON, error) {
		return s, fmt.Errorf("train: %s: %w: %s", dir, errBroken, fmt.Sprintf(format, args...))
	}
	text, err := os.ReadFile(filepath.Join(dir, stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return broken("it has no %s", stateFile)
	}
	if err != nil {
		return s, fmt.Errorf("train: %w", err)
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return broken("%s: %v", stateFile, err)
	}
	if s.Version != stateVersion {
		return s, fmt.Errorf("train: %s: it is of version %d, and this program goes on from version %d; the program that began the run can finish it",
			filepath.Join(dir, stateFile), s.Version, stateVersion)
	}
	if s.Step != step {
		return broken("%s is of step %d", stateFile, s.Step)
	}
	for _, name := range []string{lora.ConfigFile, lora.WeightsFile, momentsFile} {
		if s.Files[name] == "" {
			return broken("%s does not list %s", stateFile, name)
		}
	}
	for name, want := range s.Files {
		if filepath.Base(name) != name {
			return broken("%q in %s is no file name", name, stateFile)
		}
		got, err := weights.HashFile(filepath.Join(dir, name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return broken("it has no %s", name)
		case err != nil:
			return s, fmt.Errorf("train: %w", err)
		case got != want:
			return broken("%s is not as it was written", name)
		}
	}
	return s, nil
}

// restore makes a checkpoint the trainer's state.
func (t *Trainer) restore(dir string, s stateJSON) error {
	adapter, err := lora.ReadAdapter(dir)
	if err != nil {
		return err
	}
	layers, err := lora.Attach(t.model, adapter)
	if err != nil {
		return err
	}
	moments, err := readMoments(filepath.Join(dir, momentsFile), t.layers.NumParameters())
	if err != nil {
		return err
	}
	old := []*tensors.Tensor{t.layers.Params(), t.state.m1, t.state.m2}
	if err := t.layers.SetParams(layers.Params()); err != nil {
		return err
	}
	scale := t.state.LossScale
	t.state = state{position: s.position, m1: moments[0], m2: moments[1]}
	t.state.LossScale = cmp.Or(s.LossScale, scale)
	t.saved = s.Step
	var errs []error
	for _, o := range old {
		errs = append(errs, o.FinalizeAll())
	}
	return errors.Join(errs...)
}

// readMoments reads vectors of n numbers.
func readMoments(path string, n int) (moments [2]*tensors.Tensor, err error) {
	f, err := safetensors.Open(path)
	if err != nil {
		return moments, err
	}
	defer f.Close()
	for i, name := range momentNames {
		info, ok := f.Info(name)
		if !ok || info.Dtype != safetensors.F32 || !slices.Equal(info.Shape, []int{n}) {
			return moments, fmt.Errorf("train: %s: %s is %s %v, want F32 [%d]", path, name, info.Dtype, info.Shape, n)
		}
		data, err := f.Bytes(name)
		if err != nil {
			return moments, err
		}
		values := make([]float32, n)
		if err := safetensors.DecodeFloat32(values, data, info.Dtype); err != nil {
			return moments, err
		}
		moments[i] = tensors.FromFlatDataAndDimensions(values, n)
	}
	return moments, nil
}
