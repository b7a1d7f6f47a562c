package train

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/gomlx/gomlx/core/tensors"

	"github.com/impulse-salamandra/finetune/dataset"
)

// The batches of a step, or of an evaluation, are dealt to the devices in turn, and
// what they give is taken in the order of the batches: sums, and with them every
// byte of a run, do not depend on how many devices there are.

// result is what a batch gave.
type result struct {
	batch    dataset.Batch
	device   int             // its place among those of its process
	took     time.Duration   // with what it waited for programs
	loss     float64         // the sum
	gradient *tensors.Tensor // the vector, on the first device; nil in an evaluation
}

func (r result) free() {
	if r.gradient != nil {
		_ = r.gradient.FinalizeAll()
	}
}

// deviceError says that a batch could not be computed. The adapter and its moments
// are those of the last finished step.
type deviceError struct {
	device string // "" for the only one
	err    error
}

func (e *deviceError) Error() string {
	if e.device == "" {
		return e.err.Error()
	}
	return e.device + ": " + e.err.Error()
}

func (e *deviceError) Unwrap() error { return e.err }

// batchFunc computes a batch with the adapter as it lies on its device.
type batchFunc func(in *input, adapter *tensors.Tensor) (result, error)

// computeHere runs batch on the next n batches of this process, and calls take with
// the result of each in their order. It ends at the first error.
func (t *Trainer) computeHere(f feeds, n int, batch batchFunc, take func(result) error) error {
	adapters, err := t.copyAdapter(n)
	defer func() {
		for d, a := range adapters {
			if d > 0 {
				_ = t.free(d, a)
			}
		}
	}()
	if err != nil {
		return err
	}
	one := func(d int) (result, error) {
		in, err := ask(t, d, t.deadline(), func() (*input, error) { return <-f[d].inputs, nil })
		if err != nil {
			return result{}, t.failed(d, err)
		}
		if in.err != nil {
			return result{}, in.err
		}
		start := time.Now()
		r, err := batch(in, adapters[d])
		r.batch, r.device, r.took = in.Batch, d, time.Since(start)
		if err != nil {
			r.free()
			return result{}, t.failed(d, err)
		}
		return r, nil
	}
	if len(adapters) == 1 {
		for range n {
			r, err := one(0)
			if err == nil {
				err = take(r)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	return dealt(len(adapters), n, one, take)
}

// wasBusy notes how long a device of a process took for a batch.
func (t *Trainer) wasBusy(rank int, r result) {
	for len(t.busy) <= rank {
		t.busy = append(t.busy, nil)
	}
	for len(t.busy[rank]) <= r.device {
		t.busy[rank] = append(t.busy[rank], 0)
	}
	t.busy[rank][r.device] += r.took
}

// dealt calls one for each of n batches on a goroutine per device, and take with the
// results in the order of the batches. Of a device one result at a time waits to be
// taken.
func dealt(devices, n int, one func(device int) (result, error), take func(result) error) error {
	type outcome struct {
		result
		err error
	}
	outcomes, stop := make([]chan outcome, devices), make(chan struct{})
	var running sync.WaitGroup
	defer running.Wait()
	defer close(stop)
	for d := range outcomes {
		outcomes[d] = make(chan outcome)
		running.Go(func() {
			for i := d; i < n; i += devices {
				r, err := one(d)
				select {
				case outcomes[d] <- outcome{r, err}:
				case <-stop:
					r.free()
					return
				}
			}
		})
	}
	for i := range n {
		o := <-outcomes[i%devices]
		if o.err == nil {
			o.err = take(o.result)
		}
		if o.err != nil {
			return o.err
		}
	}
	return nil
}

// copyAdapter brings the adapter to as many devices as n batches use.
func (t *Trainer) copyAdapter(n int) ([]*tensors.Tensor, error) {
	adapters := []*tensors.Tensor{t.layers.Params()}
	for d := 1; d < min(n, len(t.models)); d++ {
		a, err := ask(t, d, t.deadline(), func() (*tensors.Tensor, error) { return t.models[d].Copy(adapters[0]) })
		if err != nil {
			return adapters, t.failed(d, err)
		}
		adapters = append(adapters, a)
	}
	return adapters, nil
}

// failed is the error of a device. One that had no room says what would take less.
func (t *Trainer) failed(device int, err error) error {
	if outOfMemory(err) {
		j := t.job()
		planned := planMemory(j, t.config.GradientCheckpointing).Total()
		err = fmt.Errorf("%w: %s were planned; %s: %w", ErrMemory, gigabytes(planned), j.remedy(planned-1), err)
	}
	if len(t.models) == 1 && !errors.Is(err, errHangs) {
		return &deviceError{err: err}
	}
	return &deviceError{t.deviceName(device), err}
}

// call runs the programs of a shape on a batch and the adapter of its device. The
// gradient, if there is one, comes to the first device, where sums are formed.
func (t *Trainer) call(p *passes, in *input, adapter *tensors.Tensor, scale ...any) (result, error) {
	return ask(t, in.device, t.deadline(), func() (result, error) {
		defer in.free()
		args := append([]any{adapter}, anyOf(in.tensors)...)
		out, err := p.run(t.models[in.device], append(args, scale...))
		if err != nil {
			return result{}, err
		}
		r := result{loss: float64(tensors.ToScalar[float32](out[0]))}
		if err = out[0].FinalizeAll(); err != nil || len(out) == 1 {
			return r, err
		}
		if r.gradient = out[1]; in.device > 0 {
			r.gradient, err = t.model.Copy(out[1])
			err = errors.Join(err, out[1].FinalizeAll())
		}
		return r, err
	})
}

// outOfMemory reports whether an executor had no room; the word is XLA's.
func outOfMemory(err error) bool { return strings.Contains(err.Error(), "RESOURCE_EXHAUSTED") }

// job is what the trainer does, to plan its memory.
func (t *Trainer) job() Job {
	return Job{
		Model: t.model.Config, Dtype: t.model.DType(), AdapterSize: t.layers.NumParameters(), HeadChunk: t.config.HeadChunk,
		GradientAccumulationSteps: t.config.GradientAccumulationSteps, Name: t.config.Name,
		Devices: len(t.models), Processes: t.ranks.Size(), Shards: t.model.Shards(), OnHost: t.model.Backend().HasSharedBuffers(), ByBlocks: t.byBlocks, Plans: []*dataset.Plan{t.train, t.eval},
	}
}
