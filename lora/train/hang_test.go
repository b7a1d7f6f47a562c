package train

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/shapes"

	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/salamandra"
	"github.com/impulse-salamandra/finetune/salamandra/salamandratest"
)

// hanging is a backend of two devices, computed by the Go backend. Once it is armed,
// one of them never answers when it is asked for one of some programs.
type hanging struct {
	compute.Backend
	device  compute.DeviceNum
	program func(name string) bool
	armed   atomic.Bool
	hangs   chan time.Time // closed when it does
	once    sync.Once
	release chan struct{} // ends its calls
}

type hangingBuilder struct {
	compute.Builder
	owner *hanging
}

type hangingExecutable struct {
	compute.Executable
	owner *hanging
	name  string
}

// hangingBuffer is memory that is said to be a device's.
type hangingBuffer struct {
	compute.Buffer
	owner  *hanging
	device compute.DeviceNum
}

func (b *hanging) NumDevices() int                              { return 2 }
func (b *hanging) DeviceDescription(d compute.DeviceNum) string { return fmt.Sprint("card ", d) }
func (b *hanging) HasSharedBuffers() bool                       { return false }
func (b hangingBuffer) Backend() compute.Backend                { return b.owner }
func (b hangingBuffer) DeviceNum() (compute.DeviceNum, error)   { return b.device, nil }
func (b hangingBuilder) Compile() (compute.Executable, error) {
	e, err := b.Builder.Compile()
	return hangingExecutable{e, b.owner, b.Name()}, err
}

func (b *hanging) Builder(name string) compute.Builder {
	return hangingBuilder{b.Backend.Builder(name), b}
}

func (b *hanging) BufferFromFlatData(d compute.DeviceNum, flat any, shape shapes.Shape) (compute.Buffer, error) {
	x, err := b.Backend.BufferFromFlatData(0, flat, shape)
	return hangingBuffer{x, b, d}, err
}

func (b hangingBuffer) CopyToDevice(d compute.DeviceNum) (compute.Buffer, error) {
	shape, err := b.Shape()
	if err != nil {
		return nil, err
	}
	flat, err := b.Data()
	if err != nil {
		return nil, err
	}
	return b.owner.BufferFromFlatData(d, flat, shape)
}

func (e hangingExecutable) Execute(inputs []compute.Buffer, donate []bool, d compute.DeviceNum) ([]compute.Buffer, error) {
	o := e.owner
	if o.armed.Load() && d == o.device && o.program(e.name) {
		o.once.Do(func() { close(o.hangs) })
		<-o.release
		return nil, errors.New("released")
	}
	inside := make([]compute.Buffer, len(inputs))
	for i, x := range inputs {
		inside[i] = x.(hangingBuffer).Buffer
	}
	results, err := e.Executable.Execute(inside, donate, 0)
	for i, x := range results {
		results[i] = hangingBuffer{x, o, d}
	}
	return results, err
}

// hangs makes a run on n devices, of which one hangs after the first step.
func hangs(t *testing.T, n int, device compute.DeviceNum, accumulated int, program func(string) bool) (*run, Hooks) {
	h := &hanging{Backend: salamandratest.Go(t), device: device, program: program, hangs: make(chan time.Time), release: make(chan struct{})}
	m := salamandratest.Load(t, h, salamandratest.Random(t, salamandratest.Shape{Vocabulary: 2048, Hidden: 32, Intermediate: 64, Layers: 1, Heads: 2, KVHeads: 1}))
	r := hungRun(t, m, t.TempDir(), n, accumulated)
	t.Cleanup(func() { close(h.release) })
	r.after = func(d int, limit time.Duration) <-chan time.Time {
		if compute.DeviceNum(d) == device && limit == gpuDeadline {
			return h.hangs
		}
		return nil
	}
	return r, Join(r.hooks, Hooks{Step: func(Step) error { h.armed.Store(true); return nil }})
}

func hungRun(t *testing.T, m *salamandra.Model, dir string, n, accumulated int) *run {
	return newRun(t, m, dir, func(c *Config, _ *lora.Config, o *dataset.PlanOptions) {
		c.MaxSteps, c.GradientAccumulationSteps, c.HeadChunk, o.MaxShapes = 3, accumulated, 64, 1
		c.Replicas = replicas(t, m, n)
		c.Name = func(field string) string { return "--" + field }
	})
}

func gradients(name string) bool { return strings.HasPrefix(name, "gradients") }

// A device that hangs in a batch ends the run at the deadline, by its name, with a
// checkpoint of the last finished step, from which the run goes on to the bytes of one
// that nothing disturbed. Nothing waits for the device.
func TestHungDevice(t *testing.T) {
	for n, device := range map[int]compute.DeviceNum{1: 0, 2: 1} {
		r, hooks := hangs(t, n, device, 2, gradients)
		err := r.Run(t.Context(), hooks)
		want := fmt.Sprintf("step 2: device %d (card %[1]d): does not answer for 10m0s (--Train.DeviceDeadline)", device)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Fatalf("%v, want %s", err, want)
		}
		if !slices.Equal(r.kept, []string{"checkpoint-1"}) || !r.Hung() {
			t.Errorf("kept %q, hung %v", r.kept, r.Hung())
		}
		r.Close() // others may have the directory
		m := salamandratest.Load(t, salamandratest.Go(t), r.model.Dir)
		whole, rest := hungRun(t, m, "", 1, 2), hungRun(t, m, r.config.Checkpoints.Dir, 1, 2)
		if _, err := rest.Resume(false); err != nil {
			t.Fatal(err)
		}
		for _, r := range []*run{whole, rest} {
			if err := r.Run(t.Context(), r.hooks); err != nil {
				t.Fatal(err)
			}
		}
		if !reflect.DeepEqual(whole.numbers(t), rest.numbers(t)) {
			t.Errorf("%d devices: other numbers than those of a run without interruption", n)
		}
	}
}

// One that hangs while it moves the adapter has given up what it was: the run ends all
// the same, and says that the step cannot be read.
func TestHungUpdate(t *testing.T) {
	r, hooks := hangs(t, 1, 0, 1, func(name string) bool { return !gradients(name) })
	err := r.Run(t.Context(), hooks)
	if err == nil || !strings.Contains(err.Error(), "step 2: device 0 (") || !strings.Contains(err.Error(), "step 1 cannot be read from device 0 (") || r.kept != nil {
		t.Errorf("%v, kept %q", err, r.kept)
	}
}

// The host's processor may take as long as it likes, unless a deadline is set.
func TestDeviceDeadline(t *testing.T) {
	m := salamandratest.Load(t, salamandratest.Go(t), salamandratest.Reference(t, "models", "tiny-gqa"))
	tr := &Trainer{model: m}
	for set, want := range map[time.Duration]time.Duration{0: 0, time.Hour: time.Hour, -1: 0} {
		if tr.config.DeviceDeadline = set; tr.deadline() != want {
			t.Errorf("%s: %s, want %s", set, tr.deadline(), want)
		}
	}
}
