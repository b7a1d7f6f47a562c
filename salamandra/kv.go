package salamandra

import (
	"errors"
	"fmt"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
)

// kvCache holds the keys and values of what requests have of their own, after a
// prefix: W rows, one for each request, of M places. They are 2·L tensors, keys
// and values of each layer in turn, [K, W, M, D] in the model's dtype.
type kvCache struct {
	model   *Model
	w, m    int
	tensors []*tensors.Tensor
}

// Few lengths of rows mean few programs.
const (
	minRoom   = 512
	minRoomGo = 64
)

// interprets tells that a program costs nothing to make and gains by every place
// that it leaves out, as on the Go backend; compilers take seconds for each.
func (m *Model) interprets() bool { return m.backend.Name() == "Go Backend" }

// room returns how many places a row of m tokens gets.
func (c *kvCache) room(m int) int {
	if c.model.interprets() {
		return (m + minRoomGo - 1) / minRoomGo * minRoomGo
	}
	return roundTo(m, minRoom, 2)
}

// grow makes room for w rows of m places at least. What is held stays.
func (c *kvCache) grow(w, m int) error {
	room := c.room(max(c.m, m))
	if w = max(w, c.w); w == c.w && room == c.m {
		return nil
	}
	config := &c.model.Config
	shape := shapes.Make(c.model.dtype, config.NumKeyValueHeads, w, room, config.HeadDim)
	old := c.tensors
	defer finalize(old)
	c.tensors = nil
	for i := range 2 * config.NumHiddenLayers {
		t, err := tensors.FromShapeForBackend(c.model.backend, 0, shape)
		if err != nil {
			c.free()
			return fmt.Errorf("salamandra: cache of %d rows of %d tokens: %w", w, room, err)
		}
		c.tensors = append(c.tensors, t)
		if old != nil {
			if err := c.copyRows(t, w, room, old[i]); err != nil {
				c.free()
				return err
			}
		}
	}
	c.w, c.m = w, room
	return nil
}

// copyRows copies what the tensor from holds, [K, c.w, c.m, D], to one of w rows
// of m places.
func (c *kvCache) copyRows(to *tensors.Tensor, w, m int, from *tensors.Tensor) error {
	bytes := c.model.Config.HeadDim * c.model.dtype.Size()
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

// write stores the keys and values [2·L, N, K, D] of the first tokens of a step.
//
// Where the host can write to the device's memory, that costs a copy of the new
// places alone; else a program makes new tensors.
func (c *kvCache) write(ps *programs, kv *tensors.Tensor, places []place) error {
	if !c.model.backend.HasSharedBuffers() {
		return c.writeOnDevice(ps, kv, places)
	}
	config, n := &c.model.Config, kv.Shape().Dim(1)
	heads, bytes := config.NumKeyValueHeads, config.HeadDim*c.model.dtype.Size()
	var inner error
	err := kv.ConstBytes(func(src []byte) {
		for i, t := range c.tensors {
			inner = errors.Join(inner, t.MutableBytes(func(dst []byte) {
				for j, p := range places {
					for k := range heads {
						from := ((i*n+j)*heads + k) * bytes
						copy(dst[((k*c.w+p.row)*c.m+p.at)*bytes:], src[from:from+bytes])
					}
				}
			}))
		}
	})
	return errors.Join(err, inner)
}

// writeOnDevice is write where the host cannot reach the device's memory.
func (c *kvCache) writeOnDevice(ps *programs, kv *tensors.Tensor, places []place) error {
	n := kv.Shape().Dim(1)
	// source is the token that goes to each place, -1 for none.
	source := make([]int32, c.w*c.m)
	for i := range source {
		source[i] = -1
	}
	for j, p := range places {
		source[p.row*c.m+p.at] = int32(j)
	}
	p, err := ps.get(&variant{}, fmt.Sprintf("write W=%d M=%d N=%d", c.w, c.m, n), func(_ Transformer, args []*Node) []*Node {
		source, kv, old := args[0], args[1], args[2:]
		from := ExpandAxes(MaxScalar(source, 0), -1)
		isNew := Reshape(GreaterOrEqual(source, ZerosLike(source)), 1, c.w, c.m, 1)
		for i, x := range old {
			y := Gather(Squeeze(SliceAxis(kv, 0, AxisElem(i)), 0), from) // [W*M, K, D]
			y = splitRows(y, c.w)                                        // [K, W, M, D]
			old[i] = Where(BroadcastToShape(isNew, shapes.Make(dtypes.Bool, x.Shape().Dimensions...)), y, x)
		}
		return old
	})
	if err != nil {
		return err
	}
	args := []any{source, kv}
	for _, t := range c.tensors {
		args = append(args, Donate(t))
	}
	c.tensors, err = p.Call(args...)
	return err
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

// list makes tensors arguments of [Program.Call].
func list(ts []*tensors.Tensor) []any {
	args := make([]any, len(ts))
	for i, t := range ts {
		args[i] = t
	}
	return args
}
