package train

import (
	"context"
	"errors"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gomlx/gomlx/core/tensors"

	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/salamandra"
	"github.com/impulse-salamandra/finetune/salamandra/salamandratest"
)

// replicas are a model on the first n devices but the first.
func replicas(t *testing.T, m *salamandra.Model, n int) []*salamandra.Model {
	t.Helper()
	var list []*salamandra.Model
	for d := 1; d < n; d++ {
		r, err := m.Replica(d)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = r.Close() })
		list = append(list, r)
	}
	return list
}

// several is a tiny model on XLA's virtual devices, of which it makes four.
func several(t *testing.T) *salamandra.Model {
	t.Helper()
	b := salamandratest.XLA(t)
	if b == nil || b.NumDevices() < 4 {
		t.Skip("needs four devices: XLA on a CPU has as many (GOMLX_BACKEND=xla:cpu)")
	}
	return salamandratest.Load(t, b, salamandratest.Random(t, salamandratest.Shape{Vocabulary: 2048, Hidden: 32, Intermediate: 64, Layers: 2, Heads: 2, KVHeads: 1, OwnHead: true}))
}

// A run gives the same bytes and figures on one, two and four devices, and one that
// is stopped on four goes on with one, and then two. A shape is compiled once.
func TestDevicesDoNotMatter(t *testing.T) {
	m := several(t)
	on := func(n int, dir string) *run {
		return newRun(t, m, dir, func(c *Config, _ *lora.Config, o *dataset.PlanOptions) {
			c.MaxSteps, c.GradientAccumulationSteps, c.Replicas, o.MaxShapes = 3, 5, replicas(t, m, n), 1
		})
	}
	one := on(1, "")
	if err := one.Run(t.Context(), one.hooks); err != nil {
		t.Fatal(err)
	}
	same := func(name string, got *run, before ...*run) {
		t.Helper()
		var steps []Step
		for _, r := range before {
			steps = append(steps, r.steps...)
		}
		if got := append(steps, got.steps...); !reflect.DeepEqual(one.steps, got) {
			t.Errorf("%s: steps %+v, want %+v", name, got, one.steps)
		}
		if !reflect.DeepEqual(one.numbers(t), got.numbers(t)) {
			t.Errorf("%s: other numbers", name)
		}
	}
	for _, n := range []int{2, 4} {
		r := on(n, "")
		hooks := Join(r.hooks, Hooks{Step: func(s Step) error {
			if len(s.Busy) != 1 || len(s.Busy[0]) != n || slices.Min(s.Busy[0]) <= 0 || slices.Max(s.Busy[0]) > s.Duration {
				t.Errorf("%d devices computed for %v of %v", n, s.Busy, s.Duration)
			}
			return nil
		}})
		if err := r.Run(t.Context(), hooks); err != nil {
			t.Fatal(err)
		}
		same("uninterrupted", r)
		if !reflect.DeepEqual(one.evaluations, r.evaluations) {
			t.Errorf("%d devices: evaluations %+v, want %+v", n, r.evaluations, one.evaluations)
		}
		for shape, p := range r.gradients {
			compiledOnce(t, shape, p)
		}
	}
	dir := t.TempDir()
	var before []*run
	for i, n := range []int{4, 1, 2} {
		r := on(n, dir)
		if i > 0 {
			if _, err := r.Resume(false); err != nil {
				t.Fatal(err)
			}
		}
		ctx, hooks := r.cancelAfter(t, []int{1, 2, 9}[i])
		if err := r.Run(ctx, hooks); i < 2 && !errors.Is(err, context.Canceled) || i == 2 && err != nil {
			t.Fatalf("on %d devices: %v", n, err)
		}
		if i == 2 {
			same("interrupted", r, before...)
		}
		r.Close()
		before = append(before, r)
	}
}

// What fails on one device ends the run with a checkpoint, and is named.
func TestDeviceFails(t *testing.T) {
	m := several(t)
	others := replicas(t, m, 2)
	r := newRun(t, m, t.TempDir(), func(c *Config, _ *lora.Config, o *dataset.PlanOptions) { c.Replicas, o.MaxShapes = others, 1 })
	hooks := Join(r.hooks, Hooks{Step: func(Step) error { return others[0].Close() }})
	err := r.Run(t.Context(), hooks)
	if err == nil || !strings.Contains(err.Error(), "step 2: device 1 (") {
		t.Errorf("%v, want the device's name", err)
	}
	if !slices.Equal(r.kept, []string{"checkpoint-1"}) {
		t.Errorf("kept %q", r.kept)
	}
}

// Results are taken in the order of the batches, however long each takes, and each
// device has the batches that are its own.
func TestDealtInOrder(t *testing.T) {
	for devices := 1; devices <= 4; devices++ {
		next := make([]int, devices)
		one := func(d int) (result, error) {
			i := d + devices*next[d]
			next[d]++
			time.Sleep(time.Duration(rand.IntN(200)) * time.Microsecond)
			return result{loss: float64(i)}, nil
		}
		var got []float64
		err := dealt(devices, 11, one, func(r result) error { got = append(got, r.loss); return nil })
		if want := []float64{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}; err != nil || !slices.Equal(got, want) {
			t.Errorf("%d devices: %v, %v", devices, got, err)
		}
	}
}

// The first error in the order of the batches is the one that is reported, nothing
// is taken after it, and what the others have by then is freed.
func TestDealtEndsAtAnError(t *testing.T) {
	wrong, next, made := errors.New("out of memory"), make([]int, 3), make(chan *tensors.Tensor, 100)
	one := func(d int) (result, error) {
		i := d + 3*next[d]
		next[d]++
		if i >= 4 {
			return result{}, wrong
		}
		x := tensors.FromValue(float32(i))
		made <- x
		return result{gradient: x}, nil
	}
	var taken []*tensors.Tensor
	err := dealt(3, 30, one, func(r result) error { taken = append(taken, r.gradient); return nil })
	if !errors.Is(err, wrong) || len(taken) != 4 {
		t.Errorf("%v after %d results", err, len(taken))
	}
	for len(made) > 0 {
		if x := <-made; x.Ok() && !slices.Contains(taken, x) {
			t.Error("a result that nobody takes is not freed")
		}
	}
}
