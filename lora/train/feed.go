package train

import (
	"fmt"

	"github.com/gomlx/gomlx/core/tensors"

	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/salamandra"
)

// A program returns when its results are there, so that what the host has to do
// for a batch is done beside the program of the one before. The loss is read at
// once: that waits for nothing, and a step is refused before it moves anything.

// input is a batch on the device.
type input struct {
	dataset.Batch
	tensors []*tensors.Tensor // what the batch's program takes after the adapter
	err     error
}

// feed prepares inputs in their order, one ahead of the one in use.
type feed struct {
	inputs chan *input
	stop   chan struct{}
}

// feed begins to prepare the batches of order. The programs take draw(i), if it is
// not nil, before the arguments of batch i.
func (t *Trainer) feed(plan *dataset.Plan, order [][]int, draw func(i int) []uint64) *feed {
	f := &feed{make(chan *input), make(chan struct{})}
	go func() {
		defer close(f.inputs)
		for i, indices := range order {
			select {
			case <-f.stop: // close may have taken the last one
				return
			default:
			}
			var first []any
			if draw != nil {
				first = append(first, draw(i))
			}
			in := t.prepare(plan, indices, first)
			select {
			case f.inputs <- in:
			case <-f.stop:
				in.free()
				return
			}
		}
	}()
	return f
}

// close ends the preparation and frees what was prepared in vain.
func (f *feed) close() {
	close(f.stop)
	for in := range f.inputs {
		in.free()
	}
}

// prepare lays out a batch and brings it to the device.
func (t *Trainer) prepare(plan *dataset.Plan, indices []int, first []any) *input {
	in := &input{}
	if in.Batch, in.err = plan.Batch(indices); in.err != nil {
		return in
	}
	for _, value := range append(first, arguments(in.Batch)...) {
		x, err := tensors.FromAnyValue(value)
		if err == nil {
			in.tensors = append(in.tensors, x)
			err = x.MaterializeOnDevice(t.model.Backend(), false, 0)
		}
		if err != nil {
			in.err = fmt.Errorf("train: %w", err)
			in.free()
			return in
		}
	}
	return in
}

// arguments are first and then the batch, of which the program takes the memory.
func (in *input) arguments(first ...any) []any {
	for _, x := range in.tensors {
		first = append(first, salamandra.Donate(x))
	}
	return first
}

func (in *input) free() {
	for _, x := range in.tensors {
		_ = x.FinalizeAll()
	}
}
