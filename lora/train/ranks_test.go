package train

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/salamandra"
	"github.com/impulse-salamandra/finetune/salamandra/salamandratest"
)

// channels are the ranks of one process, for tests.
type channels struct {
	rank  int
	lines [][]chan []byte // from, to
	ended context.Context
}

// connect makes n ranks. When end is called all calls fail with its error.
func connect(n int) (list []channels, end context.CancelCauseFunc) {
	lines := make([][]chan []byte, n)
	for from := range lines {
		for range n {
			lines[from] = append(lines[from], make(chan []byte, 1))
		}
	}
	ended, cancel := context.WithCancelCause(context.Background())
	for rank := range n {
		list = append(list, channels{rank, lines, ended})
	}
	return list, cancel
}

func (c channels) Rank() int            { return c.rank }
func (c channels) Size() int            { return len(c.lines) }
func (c channels) Host(rank int) string { return fmt.Sprint("host", rank) }

func (c channels) Send(ctx context.Context, to int, message []byte) error {
	select {
	case c.lines[c.rank][to] <- slices.Clone(message):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-c.ended.Done():
		return context.Cause(c.ended)
	}
}

func (c channels) Receive(ctx context.Context, from int) ([]byte, error) {
	select {
	case m := <-c.lines[from][c.rank]:
		return m, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-c.ended.Done():
		return nil, context.Cause(c.ended)
	}
}

// runRanks runs n trainers side by side: prepare makes and may resume each, start
// runs it. It returns rank 0's and the errors.
func runRanks(t *testing.T, n int, prepare func(Ranks) *run, start func(*run) error) (*run, []error) {
	t.Helper()
	ranks, end := connect(n)
	runs, errs := make([]*run, n), make([]error, n)
	for i := range ranks {
		runs[i] = prepare(ranks[i])
	}
	var running sync.WaitGroup
	for i, r := range runs {
		running.Go(func() {
			if errs[i] = start(r); errs[i] != nil {
				end(fmt.Errorf("rank %d: %w", i, errs[i]))
			}
		})
	}
	running.Wait()
	return runs[0], errs
}

// Two and three processes give the bytes and figures of one, and a run that is
// stopped on three goes on with two.
func TestRanksDoNotMatter(t *testing.T) {
	m := salamandratest.Load(t, salamandratest.Go(t), salamandratest.Random(t, salamandratest.Shape{Vocabulary: 2048, Hidden: 32, Intermediate: 64, Layers: 1, Heads: 2, KVHeads: 1}))
	with := func(dir string) func(Ranks) *run {
		return func(ranks Ranks) *run {
			if ranks.Rank() > 0 {
				dir = "" // only rank 0 writes
			}
			return newRun(t, m, dir, func(c *Config, _ *lora.Config, o *dataset.PlanOptions) {
				c.Epochs, c.GradientAccumulationSteps, c.Ranks, o.MaxShapes = 3, 4, ranks, 1
				c.EarlyStoppingPatience = 1
			})
		}
	}
	whole := func(r *run) error { return r.Run(t.Context(), r.hooks) }
	one, errs := runRanks(t, 1, with(""), whole)
	if errs[0] != nil || len(one.steps) < 3 {
		t.Fatal(errs, one.steps)
	}
	same := func(name string, got *run, steps []Step) {
		t.Helper()
		if !reflect.DeepEqual(one.steps, steps) || !reflect.DeepEqual(one.numbers(t), got.numbers(t)) {
			t.Errorf("%s: steps %+v, want %+v", name, steps, one.steps)
		}
	}
	for _, n := range []int{2, 3} {
		r, errs := runRanks(t, n, with(""), whole)
		if err := errors.Join(errs...); err != nil {
			t.Fatal(n, err)
		}
		same(fmt.Sprint(n, " ranks"), r, r.steps)
		if !reflect.DeepEqual(one.evaluations, r.evaluations) || !reflect.DeepEqual(one.epochs, r.epochs) {
			t.Errorf("%d ranks: evaluations %+v, want %+v", n, r.evaluations, one.evaluations)
		}
	}

	dir := t.TempDir()
	first, errs := runRanks(t, 3, with(dir), func(r *run) error {
		ctx, hooks := r.cancelAfter(t, 2)
		return r.Run(ctx, hooks)
	})
	if !errors.Is(errs[0], context.Canceled) || errs[1] == nil || !strings.Contains(errs[1].Error(), "rank 0: ") {
		t.Fatal(errs)
	}
	first.Close()
	second, errs := runRanks(t, 2, with(dir), func(r *run) error {
		if r.config.Ranks.Rank() == 0 {
			if _, err := r.Resume(false); err != nil {
				return err
			}
		}
		return r.Run(t.Context(), r.hooks)
	})
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	same("resumed", second, append(first.steps, second.steps...))
}

// In float16 the scale of the loss, which rank 0 adapts, is that of all.
func TestRanksScaleTheLossAlike(t *testing.T) {
	b := salamandratest.XLA(t)
	if b == nil {
		t.Skip("the Go backend has no gradient of an embedding in float16")
	}
	dir := salamandratest.Random(t, salamandratest.Shape{Vocabulary: 2048, Hidden: 32, Intermediate: 64, Layers: 1, Heads: 2, KVHeads: 1})
	m, err := salamandra.Load(t.Context(), b, dir, salamandra.Options{Dtype: "float16"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	var runs []*run
	for n := 1; n <= 2; n++ {
		r, errs := runRanks(t, n, func(ranks Ranks) *run {
			r := newRun(t, m, "", func(c *Config, _ *lora.Config, o *dataset.PlanOptions) {
				c.MaxSteps, c.GradientAccumulationSteps, c.Ranks, o.MaxShapes = 9, 2, ranks, 1
			})
			r.state.LossScale.Scale = 1 << 18
			return r
		}, func(r *run) error { return r.Run(t.Context(), r.hooks) })
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
		runs = append(runs, r)
	}
	one, two := runs[0], runs[1]
	if !one.steps[0].Skipped || one.steps[8].Skipped {
		t.Fatalf("steps %+v: the scale does not overflow at first and fit later", one.steps)
	}
	if !reflect.DeepEqual(one.steps, two.steps) || !reflect.DeepEqual(one.numbers(t), two.numbers(t)) || *one.state.LossScale != *two.state.LossScale {
		t.Errorf("steps %+v, want %+v", two.steps, one.steps)
	}
}

// A process whose run is another is refused, with both sides; one that fails ends
// the run with a checkpoint.
func TestRanksFail(t *testing.T) {
	m := salamandratest.Load(t, salamandratest.Go(t), salamandratest.Random(t, salamandratest.Shape{Vocabulary: 2048, Hidden: 16, Intermediate: 16, Layers: 1, Heads: 1, KVHeads: 1}))
	with := func(dir string, rate float64) func(Ranks) *run {
		return func(ranks Ranks) *run {
			return newRun(t, m, dir, func(c *Config, _ *lora.Config, o *dataset.PlanOptions) {
				c.Ranks, o.MaxShapes = ranks, 1
				if ranks.Rank() == 1 {
					c.LearningRate, c.Checkpoints.Dir = rate, ""
				}
			})
		}
	}
	r, errs := runRanks(t, 2, with("", 0.5), func(r *run) error { return r.Run(t.Context(), r.hooks) })
	var mismatch *MismatchError
	want := "rank 1 (host1) does not do the same run as rank 0 (host0):\n  learning_rate: 0.01 on rank 0, 0.5 on rank 1"
	if !errors.As(errs[0], &mismatch) || !strings.Contains(errs[0].Error(), want) || len(r.steps) > 0 {
		t.Errorf("%v, want %s", errs, want)
	}
	r, errs = runRanks(t, 2, with(t.TempDir(), 0.01), func(r *run) error {
		if r.config.Ranks.Rank() == 1 {
			r.config.Ranks = failing{r.config.Ranks, new(int)}
		}
		return r.Run(t.Context(), r.hooks)
	})
	if errs[0] == nil || !strings.Contains(errs[0].Error(), "step 2: rank 1: ") || !slices.Equal(r.kept, []string{"checkpoint-1"}) {
		t.Errorf("%v, kept %q", errs, r.kept)
	}
}

// failing is a rank whose device fails in the second step.
type failing struct {
	Ranks
	sent *int
}

func (f failing) Send(ctx context.Context, to int, message []byte) error {
	if *f.sent++; *f.sent > 3 { // its run, and a batch with its gradient
		return errors.New("out of memory")
	}
	return f.Ranks.Send(ctx, to, message)
}
