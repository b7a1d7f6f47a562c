package train

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/internal/atomicfile"
	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/salamandra"
	"github.com/impulse-salamandra/finetune/salamandra/salamandratest"
)

// run is a run on a tiny model, and what its hooks told.
type run struct {
	*Trainer
	layers      *lora.Layers
	steps       []Step // without durations
	evaluations []Evaluation
	epochs      []Epoch
	kept        []string
	hooks       Hooks
}

// newRun makes a run of 21 steps, 7 epochs of 3, with everything that has a
// state: dropout, noise, shuffled batches, accumulation, evaluation.
func newRun(t *testing.T, m *salamandra.Model, dir string, change func(*Config, *lora.Config, *dataset.PlanOptions)) *run {
	t.Helper()
	config := DefaultConfig()
	config.Epochs, config.GradientAccumulationSteps, config.LearningRate, config.WarmupSteps = 7, 2, 1e-2, 2
	config.LoRAPlusRatio, config.NEFTuneAlpha = 2, 1
	config.Checkpoints = Checkpoints{Dir: dir, Identity: map[string]string{"base": "b"}}
	adapter := lora.DefaultConfig()
	adapter.Rank, adapter.Dropout = 2, 0.1
	opts := dataset.DefaultPlanOptions()
	opts.BatchSize = 1
	if change != nil {
		change(&config, &adapter, &opts)
	}
	layers, err := lora.Inject(m, adapter, 1)
	require.NoError(t, err)
	examples := goldenExamples(t, salamandratest.Reference(t, "models", "tiny-gqa"))
	for _, e := range examples[:2] {
		e.ID += "2"
		e.IDs = append([]int32{4, 557}, e.IDs...)
		e.Train = append([]bool{false, false}, e.Train...)
		examples = append(examples, e)
	}
	plan, _, err := dataset.NewPlan(examples, nil, opts)
	require.NoError(t, err)
	require.Equal(t, 3, (plan.Batches+1)/2, "optimiser steps of an epoch")
	held, _, err := dataset.NewPlan(examples[:1], nil, opts)
	require.NoError(t, err)
	r := &run{layers: layers}
	r.Trainer, err = New(m, layers, plan, held, config)
	require.NoError(t, err)
	t.Cleanup(r.Close)
	r.hooks = Hooks{
		Step: func(s Step) error {
			s.Duration, s.Compiling, s.Busy = 0, 0, nil
			r.steps = append(r.steps, s)
			return nil
		},
		Evaluation: func(e Evaluation) error { r.evaluations = append(r.evaluations, e); return nil },
		Epoch:      func(e Epoch) error { e.Duration, e.Compiling = 0, 0; r.epochs = append(r.epochs, e); return nil },
		Checkpoint: func(c Checkpoint) error { r.kept = append(r.kept, filepath.Base(c.Dir)); return nil },
	}
	return r
}

// cancelAfter returns a context that ends when the hooks tell of a step.
func (r *run) cancelAfter(t *testing.T, step int) (context.Context, Hooks) {
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	return ctx, Join(r.hooks, Hooks{Step: func(s Step) error {
		if s.Step == step {
			cancel()
		}
		return nil
	}})
}

// numbers are the adapter and the moments.
func (r *run) numbers(t *testing.T) [][]float32 {
	t.Helper()
	var all [][]float32
	for _, tensor := range []*tensors.Tensor{r.layers.Params(), r.state.m1, r.state.m2} {
		if !tensor.Ok() {
			continue // the run is closed: the adapter stays
		}
		values, err := tensors.CopyFlatData[float32](tensor)
		require.NoError(t, err)
		all = append(all, values)
	}
	return all
}

func tinyModel(t *testing.T, b compute.Backend) *salamandra.Model {
	return salamandratest.Load(t, b, salamandratest.Reference(t, "models", "tiny-gqa"))
}

// A run that was stopped anywhere and resumed is the run that never stopped:
// adapter, moments, every figure.
func TestResumeIsExact(t *testing.T) {
	salamandratest.OnEach(t, func(t *testing.T, b compute.Backend) {
		m := tinyModel(t, b)
		whole := newRun(t, m, "", nil)
		require.NoError(t, whole.Run(t.Context(), whole.hooks))
		require.Len(t, whole.steps, 21)
		require.Len(t, whole.evaluations, 7)
		for _, stop := range []int{1, 7, 9, 20} { // 9 ends an epoch, but for its evaluation
			dir := t.TempDir()
			first := newRun(t, m, dir, nil)
			ctx, hooks := first.cancelAfter(t, stop)
			require.ErrorIs(t, first.Run(ctx, hooks), context.Canceled)
			first.Close()

			second := newRun(t, m, dir, nil)
			resumed, err := second.Resume(false)
			require.NoError(t, err)
			require.Equal(t, stop, resumed.Step)
			require.Empty(t, resumed.Notes)
			require.NoError(t, second.Run(t.Context(), second.hooks))
			require.Equal(t, whole.steps, append(first.steps, second.steps...), "stopped after %d", stop)
			require.Equal(t, whole.evaluations, append(first.evaluations, second.evaluations...))
			require.Equal(t, whole.epochs, append(first.epochs, second.epochs...), "the mean loss goes on within an epoch")
			require.Equal(t, whole.numbers(t), second.numbers(t))
			require.Equal(t, whole.Status().Best, second.Status().Best)
		}
	})
}

// What a killed process leaves is reported and cleaned up, and what was damaged
// since is reported and put aside.
func TestResumeChooses(t *testing.T) {
	m := tinyModel(t, salamandratest.Go(t))
	dir := t.TempDir()
	first := newRun(t, m, dir, func(c *Config, _ *lora.Config, _ *dataset.PlanOptions) { c.Checkpoints.Steps, c.MaxSteps = 2, 8 })
	require.NoError(t, first.Run(t.Context(), first.hooks))
	require.Equal(t, []string{"checkpoint-2", "checkpoint-3", "checkpoint-4", "checkpoint-6", "checkpoint-8"}, first.kept)
	first.Close()

	half := filepath.Join(dir, "checkpoint-9.tmp-0123abcd")
	require.NoError(t, os.Mkdir(half, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(half, "x"), nil, 0o644))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "checkpoint-last"), 0o755))
	require.NoError(t, os.Remove(filepath.Join(dir, "checkpoint-8", momentsFile)))
	weights := filepath.Join(dir, "checkpoint-6", lora.WeightsFile)
	data, err := os.ReadFile(weights)
	require.NoError(t, err)
	data[len(data)-1] ^= 1
	require.NoError(t, os.WriteFile(weights, data, 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "checkpoint-4", stateFile), []byte("{"), 0o644))

	second := newRun(t, m, dir, func(c *Config, _ *lora.Config, _ *dataset.PlanOptions) { c.Checkpoints.Steps, c.MaxSteps = 2, 8 })
	require.ErrorIs(t, second.Run(t.Context(), second.hooks), errCheckpoint, "a new run does not mix with an old one")
	resumed, err := second.Resume(false)
	require.NoError(t, err)
	require.Equal(t, 3, resumed.Step)
	require.Len(t, resumed.Notes, 4)
	for i, part := range []string{"removed checkpoint-9.tmp-0123abcd", "has no optimizer.safetensors", "adapter_model.safetensors is not as it was written", "trainer_state.json: unexpected end"} {
		require.Contains(t, resumed.Notes[i], part)
	}
	require.NoDirExists(t, half)
	require.DirExists(t, filepath.Join(dir, "checkpoint-last"))
	require.NoError(t, second.Run(t.Context(), second.hooks))
	require.Equal(t, first.steps[3:], second.steps)
	second.Close()

	anew := newRun(t, m, dir, func(c *Config, _ *lora.Config, _ *dataset.PlanOptions) { c.Checkpoints.Overwrite, c.MaxSteps = true, 1 })
	require.NoError(t, anew.Run(t.Context(), anew.hooks))
	left, err := listCheckpoints(dir)
	require.NoError(t, err)
	require.Equal(t, []int{1}, left, "those of the other run are gone")
	anew.Close()
	require.NoError(t, discard(dir))

	third := newRun(t, m, dir, nil)
	_, err = third.Resume(false)
	require.ErrorIs(t, err, ErrNoCheckpoint)
	_, err = New(third.model, third.layers, third.train, nil, third.config)
	require.ErrorIs(t, err, atomicfile.ErrBusy, "a directory is for one trainer")
}

// No setting hides behind another of the same name.
func TestIdentityHasEverySetting(t *testing.T) {
	r := newRun(t, tinyModel(t, salamandratest.Go(t)), "", nil)
	fields := 0
	for _, options := range []any{r.config, r.layers.Config, r.train.Options()} {
		own := map[string]string{}
		addFields(own, "", options)
		fields += len(own)
	}
	all := map[string]string{}
	for _, options := range []any{r.config, r.layers.Config, r.train.Options()} {
		addFields(all, "", options)
	}
	require.Len(t, all, fields)
}

// Whatever changes an outcome is refused and listed, and accepted if told so.
func TestResumeRefusesChanges(t *testing.T) {
	m := tinyModel(t, salamandratest.Go(t))
	dir := t.TempDir()
	first := newRun(t, m, dir, nil)
	ctx, hooks := first.cancelAfter(t, 1)
	require.ErrorIs(t, first.Run(ctx, hooks), context.Canceled)
	first.Close()
	for _, row := range []struct {
		name, reason string
		change       func(*Config, *lora.Config, *dataset.PlanOptions)
		want         []Difference
	}{
		{
			"settings", "named as in files", func(c *Config, _ *lora.Config, _ *dataset.PlanOptions) { c.LearningRate, c.Epochs = 0.02, 8 },
			[]Difference{{"epochs", "7", "8"}, {"learning_rate", "0.01", "0.02"}},
		},
		{
			"adapter", "dropout is part of the run", func(_ *Config, l *lora.Config, _ *dataset.PlanOptions) { l.Dropout = 0.2 },
			[]Difference{{"lora_dropout", "0.1", "0.2"}},
		},
		{
			"plan", "other batches", func(_ *Config, _ *lora.Config, p *dataset.PlanOptions) { p.MaxShapes = 2 },
			[]Difference{{"max_shapes", "4", "2"}},
		},
		{
			"what the caller adds", "such as another base", func(c *Config, _ *lora.Config, _ *dataset.PlanOptions) {
				c.Checkpoints.Identity = map[string]string{"base": "c", "more": "d"}
			},
			[]Difference{{"base", "b", "c"}, {"more", "", "d"}},
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := newRun(t, m, dir, row.change)
			defer r.Close()
			_, err := r.Resume(false)
			var changed *ChangedError
			require.ErrorAs(t, err, &changed)
			require.Equal(t, row.want, changed.Differences, row.reason)
			require.ErrorContains(t, err, row.want[0].String())
			resumed, err := r.Resume(true)
			require.NoError(t, err)
			require.Equal(t, row.want, resumed.Differences)
		})
	}
	r := newRun(t, m, dir, func(c *Config, _ *lora.Config, _ *dataset.PlanOptions) {
		c.Checkpoints.Limit, c.Checkpoints.Steps = 9, 9
	})
	_, err := r.Resume(false)
	require.NoError(t, err, "how often a run is kept does not change it")
}

// The newest are kept, and the best.
func TestCheckpointLimit(t *testing.T) {
	m := tinyModel(t, salamandratest.Go(t))
	dir := t.TempDir()
	r := newRun(t, m, dir, func(c *Config, _ *lora.Config, _ *dataset.PlanOptions) { c.Checkpoints.Limit = 2 })
	scores := []float64{0.1, 0.5, 0.5, 0.2, 0.1, 0.1, 0.3}
	hooks := r.hooks
	hooks.Score = func(context.Context) (float64, error) { return scores[len(r.evaluations)], nil }
	require.NoError(t, r.Run(t.Context(), hooks))
	kept, err := listCheckpoints(dir)
	require.NoError(t, err)
	require.Equal(t, []int{21, 18, 6}, kept)
	best := r.Status().Best
	require.Equal(t, 6, best.Step, "the first of equals")
	require.Equal(t, 0.5, *best.Score)
	require.True(t, r.evaluations[1].Best)
	require.False(t, r.evaluations[2].Best)
	require.False(t, r.Status().StoppedEarly)
}

// An interruption leaves no trace among the checkpoints of a finished run.
func TestInterruptedCheckpointGoes(t *testing.T) {
	m := tinyModel(t, salamandratest.Go(t))
	dir := t.TempDir()
	limit := func(c *Config, _ *lora.Config, _ *dataset.PlanOptions) {
		c.Checkpoints.Limit, c.Checkpoints.Steps, c.Epochs = 2, 4, 3
	}
	first := newRun(t, m, dir, limit)
	require.Equal(t, 5, first.config.PlannedCheckpoints(first.train), "3, 4, 6, 8, 9")
	ctx, hooks := first.cancelAfter(t, 7)
	require.ErrorIs(t, first.Run(ctx, hooks), context.Canceled)
	kept, err := listCheckpoints(dir)
	require.NoError(t, err)
	require.Subset(t, kept, []int{7, 6, 4}, "7 does not count")
	first.Close()
	second := newRun(t, m, dir, limit)
	_, err = second.Resume(false)
	require.NoError(t, err)
	require.NoError(t, second.Run(t.Context(), second.hooks))
	newest, err := second.Newest(2)
	require.NoError(t, err)
	require.Equal(t, []string{filepath.Join(dir, "checkpoint-9"), filepath.Join(dir, "checkpoint-8")}, newest)
	kept, err = listCheckpoints(dir)
	require.NoError(t, err)
	require.NotContains(t, kept, 7)
}

// A run ends when evaluations get no better, also if it was stopped in between.
func TestEarlyStopping(t *testing.T) {
	m := tinyModel(t, salamandratest.Go(t))
	patience := func(c *Config, _ *lora.Config, _ *dataset.PlanOptions) { c.EarlyStoppingPatience = 2 }
	// By the number of epochs done: the best is the second.
	score := func(r *run) func(context.Context) (float64, error) {
		return func(context.Context) (float64, error) { return -math.Abs(r.Trainer.epochs() - 2), nil }
	}
	whole := newRun(t, m, "", patience)
	whole.hooks.Score = score(whole)
	require.NoError(t, whole.Run(t.Context(), whole.hooks))
	require.True(t, whole.Status().StoppedEarly)
	require.Equal(t, 12, whole.Status().Step, "two epochs after the best")
	require.NoError(t, whole.Run(t.Context(), whole.hooks), "it stays stopped")
	require.Len(t, whole.evaluations, 4)

	dir := t.TempDir()
	first := newRun(t, m, dir, patience)
	first.hooks.Score = score(first)
	ctx, hooks := first.cancelAfter(t, 10)
	require.ErrorIs(t, first.Run(ctx, hooks), context.Canceled)
	first.Close()
	second := newRun(t, m, dir, patience)
	second.hooks.Score = score(second)
	_, err := second.Resume(false)
	require.NoError(t, err)
	require.NoError(t, second.Run(t.Context(), second.hooks))
	require.True(t, second.Status().StoppedEarly)
	require.Equal(t, whole.numbers(t), second.numbers(t))

	byLoss := newRun(t, m, "", func(c *Config, _ *lora.Config, _ *dataset.PlanOptions) {
		c.EarlyStoppingPatience, c.LearningRate, c.Scheduler = 1, 0.5, constant // makes it worse at once
	})
	require.NoError(t, byLoss.Run(t.Context(), byLoss.hooks))
	require.True(t, byLoss.Status().StoppedEarly, "%v", byLoss.evaluations)
}

// A checkpoint that cannot be written is an error; those before it stay, and
// the run goes on from there.
func TestCheckpointFails(t *testing.T) {
	m := tinyModel(t, salamandratest.Go(t))
	dir := t.TempDir()
	cause := errors.New("no space")
	r := newRun(t, m, dir, func(c *Config, _ *lora.Config, _ *dataset.PlanOptions) {
		c.Checkpoints.AddFiles = func(dir string) error {
			if err := atomicfile.Write(filepath.Join(dir, "mine"), []byte("mine")); err != nil {
				return err
			}
			if filepath.Base(dir)[:12] == "checkpoint-6" {
				return cause
			}
			return nil
		}
	})
	err := r.Run(t.Context(), r.hooks)
	require.ErrorIs(t, err, errCheckpoint)
	require.ErrorIs(t, err, cause)
	require.Equal(t, filepath.Join(dir, "checkpoint-3"), r.Status().Saved)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1, "nothing half-written stays: %v", entries)
	mine, err := os.ReadFile(filepath.Join(r.Status().Saved, "mine"))
	require.NoError(t, err)
	require.Equal(t, "mine", string(mine))
	r.Close()
	again := newRun(t, m, dir, nil)
	resumed, err := again.Resume(false)
	require.NoError(t, err)
	require.Equal(t, 3, resumed.Step)
}

// A step that fails names the records and leaves the adapter of the step
// before, which is kept.
func TestLastGoodStepIsKept(t *testing.T) {
	m := tinyModel(t, salamandratest.Go(t))
	for _, row := range []struct {
		name string
		lr   float64
		want error
		step int
		hook func(*run) func(Step) error
	}{
		{"diverged", 1e20, ErrNotFinite, 2, func(*run) func(Step) error { return nil }},
		{"nothing to learn", 1e-2, ErrNoGradient, 3, func(r *run) func(Step) error {
			return func(s Step) error {
				if s.Step < 2 {
					return nil
				}
				return r.layers.SetParams(tensors.FromFlatDataAndDimensions(make([]float32, r.layers.NumParameters()), r.layers.NumParameters()))
			}
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := t.TempDir()
			r := newRun(t, m, dir, func(c *Config, _ *lora.Config, _ *dataset.PlanOptions) {
				c.LearningRate, c.Scheduler, c.WarmupSteps = row.lr, constant, 0
			})
			err := r.Run(t.Context(), Join(r.hooks, Hooks{Step: row.hook(r)}))
			require.ErrorIs(t, err, row.want)
			order := r.train.Epoch(0, r.config.Seed)
			for _, indices := range order[2*(row.step-1) : min(2*row.step, len(order))] {
				batch, e := r.train.Batch(indices)
				require.NoError(t, e)
				require.ErrorContains(t, err, batch.IDs[0])
			}
			r.Close()
			again := newRun(t, m, dir, func(c *Config, _ *lora.Config, _ *dataset.PlanOptions) {
				c.LearningRate, c.Scheduler, c.WarmupSteps = row.lr, constant, 0
			})
			resumed, err := again.Resume(false)
			require.NoError(t, err)
			require.Equal(t, row.step-1, resumed.Step)
			require.Equal(t, r.numbers(t)[0], again.numbers(t)[0])
		})
	}
}
