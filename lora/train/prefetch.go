package train

import (
	"github.com/gomlx/compute"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/impulse-salamandra/finetune/dataset"
)

// Program calls block, so a device's next batch is prepared on another goroutine.
// The loss is read at once: that waits for nothing, and a step is refused before it
// moves anything.

// input is a batch on a device.
type input struct {
	dataset.Batch
	device  int               // its place in Trainer.models
	tensors []*tensors.Tensor // what the batch's program takes after the adapter
	err     error
	early   bool // nobody waits for its program yet
}

// prefetch prepares inputs in their order, one ahead of the one in use.
type prefetch struct {
	inputs chan *input
	stop   chan struct{}
}

// feeds are the prefetches of the devices.
type feeds []*prefetch

// feed begins to prepare those of the batches of order, k of which make a step, that
// are dealt to this process, for its devices. The programs take draw(i), if it is not nil, before
// the arguments of batch i.
func (t *Trainer) feed(plan *dataset.Plan, order [][]int, k int, draw func(i int) []uint64) feeds {
	f, rank, size := make(feeds, len(t.models)), t.ranks.Rank(), t.ranks.Size()
	for d := range f {
		f[d] = &prefetch{make(chan *input), make(chan struct{})}
		go f[d].run(len(order), func(i int) *input {
			if of := i % k; of%size != rank || of/size%len(f) != d {
				return nil
			}
			var first []any
			if draw != nil {
				first = append(first, draw(i))
			}
			return t.prepare(plan, order[i], first, d)
		})
	}
	return f
}

// run prepares the first n batches but those that prepare has nothing for.
func (f *prefetch) run(n int, prepare func(i int) *input) {
	defer close(f.inputs)
	for i := range n {
		select {
		case <-f.stop: // close may have taken the last one
			return
		default:
		}
		if in := prepare(i); in != nil {
			select {
			case f.inputs <- in:
			case <-f.stop:
				in.free()
				return
			}
		}
	}
}

// close ends the preparation and frees what was prepared in vain.
func (f *prefetch) close() {
	close(f.stop)
	for in := range f.inputs {
		in.free()
	}
}

// prepare lays out a batch and brings it to a device.
func (t *Trainer) prepare(plan *dataset.Plan, indices []int, first []any, device int) *input {
	in := &input{device: device}
	if in.Batch, in.err = plan.Batch(indices); in.err != nil {
		return in
	}
	args, err := arguments(t.models[device], in.Batch)
	if err != nil {
		in.err = t.failed(device, err)
		return in
	}
	for _, value := range append(first, args...) {
		x, isTensor := value.(*tensors.Tensor)
		if !isTensor {
			x, err = tensors.FromAnyValue(value)
		}
		if err == nil {
			in.tensors = append(in.tensors, x)
			err = x.MaterializeOnDevice(t.model.Backend(), false, compute.DeviceNum(t.models[device].Device()))
		}
		if err != nil {
			in.err = t.failed(device, err)
			in.free()
			return in
		}
	}
	return in
}

// shapes are those of the batch as a program takes it.
func (in *input) shapes() []shapes.Shape {
	list := make([]shapes.Shape, len(in.tensors))
	for i, x := range in.tensors {
		list[i] = x.Shape()
	}
	return list
}

func (in *input) free() {
	for _, x := range in.tensors {
		_ = x.FinalizeAll()
	}
}
