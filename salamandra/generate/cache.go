package generate

import (
	"errors"
	"fmt"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/impulse-salamandra/finetune/salamandra"
)

// kvCache holds the keys and values of requests' own tokens, after the prefix: W
// rows, one for each slot, of M places. They are 2·L tensors, keys and values of
// each layer in turn, [K, W, M, D] in the model's dtype.
type kvCache struct {
	model   *salamandra.Model
	w, m    int
	tensors []*tensors.Tensor
}

// grow makes the cache one of w rows of m places, no fewer than it has, and keeps
// its contents.
func (c *kvCache) grow(w, m int) error {
	if w == c.w && m == c.m {
		return nil
	}
	config := &c.model.Config
	shape := shapes.Make(c.model.DType(), config.NumKeyValueHeads, w, m, config.HeadDim)
	old := c.tensors
	defer finalize(old)
	c.tensors = nil
	for i := range 2 * config.NumHiddenLayers {
		t, err := tensors.FromShapeForBackend(c.model.Backend(), compute.DeviceNum(c.model.Device()), shape)
		if err != nil {
			c.free()
			return fmt.Errorf("generate: cache of %d rows of %d tokens: %w", w, m, err)
		}
		c.tensors = append(c.tensors, t)
		if old != nil {
			if err := c.copyRows(t, w, m, old[i]); err != nil {
				c.free()
				return err
			}
		}
	}
	c.w, c.m = w, m
	return nil
}

// copyRows copies what the tensor from holds, [K, c.w, c.m, D], to one of w rows
// of m places.
func (c *kvCache) copyRows(to *tensors.Tensor, w, m int, from *tensors.Tensor) error {
	bytes := c.model.Config.HeadDim * c.model.DType().Size()
	var inner error
	err := to.MutableBytes(func(dst []byte) {
		inner = from.ConstBytes(func(src []byte) {
			for k := range c.model.Config.NumKeyValueHeads {
				for r := range c.w {
					copy(dst[(k*w+r)*m*bytes:], src[(k*c.w+r)*c.m*bytes:][:c.m*bytes])
				}
			}
		})
	})
	return errors.Join(err, inner)
}

// place is where a token of a step goes.
type place struct{ row, at int }

// write stores the keys and values of the first tokens of a step, as
// [stepResult] has them.
//
// Where the host can write to the device's memory, that copies only the new
// places; elsewhere a program makes new tensors.
func (c *kvCache) write(ps *programs, kv []*tensors.Tensor, places []place) error {
	if !hostWrites(c.model) {
		return c.writeOnDevice(ps, kv, places)
	}
	config, n := &c.model.Config, kv[0].Shape().Dim(1)
	heads, bytes := config.NumKeyValueHeads, config.HeadDim*c.model.DType().Size()
	var inner error
	copyTo := func(src []byte, i int) func(dst []byte) {
		return func(dst []byte) {
			for j, p := range places {
				for k := range heads {
					from := ((i*n+j)*heads + k) * bytes
					copy(dst[((k*c.w+p.row)*c.m+p.at)*bytes:], src[from:from+bytes])
				}
			}
		}
	}
	to := c.tensors
	for _, some := range kv {
		err := some.ConstBytes(func(src []byte) {
			for i := range some.Shape().Dim(0) {
				inner = errors.Join(inner, to[i].MutableBytes(copyTo(src, i)))
			}
		})
		inner, to = errors.Join(inner, err), to[some.Shape().Dim(0):]
	}
	return inner
}

// hostWrites reports whether the host can write to what a model's device holds, which
// no other device has a copy of.
func hostWrites(m *salamandra.Model) bool { return m.Backend().HasSharedBuffers() && m.Shards() == 1 }

// writeOnDevice is write where the host cannot reach the device's memory.
func (c *kvCache) writeOnDevice(ps *programs, kv []*tensors.Tensor, places []place) error {
	n := kv[0].Shape().Dim(1)
	// source is the token that goes to each place, -1 for none.
	source := make([]int32, c.w*c.m)
	for i := range source {
		source[i] = -1
	}
	for j, p := range places {
		source[p.row*c.m+p.at] = int32(j)
	}
	p, err := ps.writeProgram(c.w, c.m, n)
	if err != nil {
		return err
	}
	at := 0
	for _, some := range kv {
		own := c.tensors[at : at+some.Shape().Dim(0)]
		args := []any{source, some}
		for _, t := range own {
			args = append(args, salamandra.Donate(t))
		}
		written, err := p.Call(args...)
		if err != nil {
			return err
		}
		at += copy(own, written)
	}
	return nil
}

func (c *kvCache) free() {
	finalize(c.tensors)
	c.tensors, c.w, c.m = nil, 0, 0
}

// finalize frees tensors. An error here means only that they are freed already.
func finalize(list []*tensors.Tensor) {
	for _, t := range list {
		_ = t.FinalizeAll()
	}
}

// list makes tensors arguments of [salamandra.Program.Call].
func list(ts []*tensors.Tensor) []any {
	args := make([]any, len(ts))
	for i, t := range ts {
		args[i] = t
	}
	return args
}
