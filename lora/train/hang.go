package train

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/gomlx/compute"
	"github.com/gomlx/gomlx/core/tensors"
)

// A device can stop answering without an error: a driver that hangs, devices that
// wait for one another. The calls of its library then never return, so each has a
// goroutine of its own, which is given up at a deadline; from then on nothing that
// lies on the device is touched.

// gpuDeadline is Config.DeviceDeadline where that is 0.
const gpuDeadline = 10 * time.Minute

// readDeadline is how long the first device may take for the last finished step,
// once a device hangs.
const readDeadline = 30 * time.Second

// hungDevices are the places of those that do not answer.
type hungDevices []atomic.Bool

func (h hungDevices) any() bool {
	for d := range h {
		if h[d].Load() {
			return true
		}
	}
	return false
}

// Hung reports whether a device does not answer. Nothing that lies on a device can be
// freed then: the process is to be ended.
func (t *Trainer) Hung() bool { return t.hung.any() }

// deadline is how long a device may take, 0 for ever.
func (t *Trainer) deadline() time.Duration {
	switch limit := t.config.DeviceDeadline; {
	case limit != 0:
		return max(0, limit)
	case t.model.Backend().HasSharedBuffers():
		return 0 // the host's processor takes as long as the model is large
	}
	return gpuDeadline
}

// ask has a device do something. One that does not within the deadline is given up,
// with what it was to do.
func ask[T any](t *Trainer, device int, limit time.Duration, do func() (T, error)) (T, error) {
	if limit == 0 {
		return do()
	}
	type outcome struct {
		value T
		err   error
	}
	done := make(chan outcome, 1)
	go func() {
		value, err := do()
		done <- outcome{value, err}
	}()
	select {
	case o := <-done:
		return o.value, o.err
	case <-t.after(device, limit):
		t.hung[device].Store(true)
		var none T
		return none, fmt.Errorf("%w for %s (%s)", errHangs, limit, t.setting("Train.DeviceDeadline"))
	}
}

// errHangs marks a device that does not answer.
var errHangs = errors.New("does not answer")

// setting is what users know a field by.
func (t *Trainer) setting(field string) string {
	if t.config.Name == nil {
		return field
	}
	return t.config.Name(field)
}

// deviceName names one of the devices, or those that compute together.
func (t *Trainer) deviceName(device int) string {
	first := t.models[device].Device()
	name := fmt.Sprint("device ", first)
	if n := t.models[device].Shards(); n > 1 {
		name = fmt.Sprintf("one of devices %d to %d", first, first+n-1)
	}
	return fmt.Sprintf("%s (%s)", name, t.model.Backend().DeviceDescription(compute.DeviceNum(first)))
}

// closeFeeds closes feeds, without waiting for devices that hang.
func (t *Trainer) closeFeeds(f feeds) {
	for d, p := range f {
		if t.hung[d].Load() {
			go p.close()
		} else {
			p.close()
		}
	}
}

// free frees tensors of a device, unless it hangs.
func (t *Trainer) free(device int, list ...*tensors.Tensor) error {
	var errs []error
	for _, x := range list {
		if !t.hung[device].Load() {
			errs = append(errs, x.FinalizeAll())
		}
	}
	return errors.Join(errs...)
}

// fetch brings the adapter and its moments to the host, where a checkpoint is made of
// them: the first device may be the one that hangs.
func (t *Trainer) fetch() error {
	state := []*tensors.Tensor{t.layers.Params(), t.state.m1, t.state.m2}
	_, err := ask(t, 0, min(readDeadline, t.deadline()), func() (struct{}, error) {
		var err error
		for _, x := range state {
			err = errors.Join(err, x.ConstBytes(func([]byte) {}))
		}
		return struct{}{}, err
	})
	if err != nil {
		return fmt.Errorf("train: step %d cannot be read from %s: %w", t.state.Step, t.deviceName(0), err)
	}
	return nil
}
