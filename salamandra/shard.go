package salamandra

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/distributed"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/impulse-salamandra/finetune/internal/quantize"
	"github.com/impulse-salamandra/finetune/salamandra/llama"
)

// A sharded model has its matrices divided among devices, each with some heads of
// attention and some numbers of the feed-forward layers and of the vocabulary. The
// programs are built as for one device; from where the weights lie XLA derives which
// part each device computes and what they exchange.
// Source: Shoeybi et al. 2019, arXiv:1909.08053, section 3; Shardy propagates it.

// shards are the devices of a sharded model beside the first, which its arrays,
// what its programs take and what they return are on.
type shards struct {
	n    int // with the first
	mesh *distributed.DeviceMesh
	// others are the arrays of the weights on each of the other devices.
	others [][]*tensors.Tensor
	specs  []*distributed.ShardingSpec // of the arrays

	// The devices wait for each other within a program, so that two must not be
	// begun in different orders.
	mu sync.Mutex
	// copies are what the other devices have of tensors that lie on the first, until
	// these are freed.
	copies map[*tensors.Tensor][]*tensors.Tensor
}

// axis is the name of the devices' axis, in which they are a row.
const axis = "devices"

// newShards divides a model of this configuration among the first n devices, nil for
// one.
func newShards(backend compute.Backend, config llama.Config, n int, quantized string) (*shards, error) {
	if n == 0 || n == 1 {
		return nil, nil
	}
	if err := CheckShards(config, n, quantized); err != nil {
		return nil, err
	}
	if have := backend.NumDevices(); n > have {
		return nil, fmt.Errorf("a model in %d shards wants as many devices, and %s has %d", n, backend.Name(), have)
	}
	mesh, err := distributed.NewDeviceMesh([]int{n}, []string{axis})
	if err != nil {
		return nil, err
	}
	return &shards{n: n, mesh: mesh, others: make([][]*tensors.Tensor, n-1), copies: map[*tensors.Tensor][]*tensors.Tensor{}}, nil
}

// CheckShards reports all that keeps a model of this configuration from being divided
// among n devices, quantised as in [Options].
func CheckShards(config llama.Config, n int, quantized string) error {
	var faults []error
	if n < 1 {
		faults = append(faults, fmt.Errorf("%d shards, want 1 or more", n))
	}
	if n > 1 && quantized != "" {
		faults = append(faults, fmt.Errorf("a base quantised to %s is not divided: use the 16-bit weights in shards, or the quantised ones on one device", quantized))
	}
	for _, part := range []struct {
		name   string
		number int
	}{
		{"key and value heads", config.NumKeyValueHeads}, {"numbers of the feed-forward layers", config.IntermediateSize},
		{"numbers of a token", config.HiddenSize}, {"tokens of the vocabulary", config.VocabSize},
	} {
		if n > 1 && part.number%n != 0 {
			faults = append(faults, fmt.Errorf("the model's %d %s are not divisible by %d shards", part.number, part.name, n))
		}
	}
	return errors.Join(faults...)
}

// shardAxis is the axis along which a tensor is divided, -1 for one that every device
// has: what a layer's first product divides, its second one takes as it is, so that
// each of attention and the feed-forward layer is summed over the devices once.
func shardAxis(tensor llama.Tensor) int {
	switch {
	case len(tensor.Shape) < 2:
		return -1
	case strings.HasSuffix(tensor.Name, "o_proj.weight"), strings.HasSuffix(tensor.Name, "down_proj.weight"):
		return 1
	}
	return 0
}

// upload puts each device's part of a tensor on it, and returns the first's.
func (s *shards) upload(backend compute.Backend, tensor llama.Tensor, a quantize.Array) (*tensors.Tensor, error) {
	along := shardAxis(tensor)
	spec, shape := distributed.NewReplicatedShardingSpec(s.mesh), a.Shape
	if along >= 0 {
		axes := make([]distributed.AxisSpec, shape.Rank())
		axes[along] = distributed.AxisSpec{axis}
		var err error
		if spec, err = distributed.NewShardingSpec(s.mesh, axes...); err != nil {
			return nil, err
		}
		shape = spec.ShardShape(shape)
	}
	s.specs = append(s.specs, spec)
	var first *tensors.Tensor
	for d := range s.n {
		t, err := tensors.FromRaw(backend, compute.DeviceNum(d), shape, s.part(a, along, d))
		if err != nil {
			return first, err
		}
		if d == 0 {
			first = t
		} else {
			s.others[d-1] = append(s.others[d-1], t)
		}
	}
	return first, nil
}

// part returns the bytes of a device's part of an array.
func (s *shards) part(a quantize.Array, along, device int) []byte {
	switch n := len(a.Data) / s.n; along {
	case -1:
		return a.Data
	case 0:
		return a.Data[device*n : (device+1)*n]
	}
	row := len(a.Data) / a.Shape.Dim(0)
	n := row / s.n
	data := make([]byte, 0, len(a.Data)/s.n)
	for at := device * n; at < len(a.Data); at += row {
		data = append(data, a.Data[at:at+n]...)
	}
	return data
}

// shapes are those of a program's arguments on all devices, of those on one.
func (s *shards) shapes(first []shapes.Shape) []shapes.Shape {
	return slices.Repeat(first, s.n)
}

// arguments are those of a program on all devices: the arrays of each and, after
// them, what the first is given.
func (s *shards) arguments(m *Model, given []any) ([]any, error) {
	s.sweep()
	all := make([]any, 0, s.n*(len(m.weights.arrays)+len(given)))
	for _, a := range m.weights.arrays {
		all = append(all, a)
	}
	all = append(all, given...)
	for d := 1; d < s.n; d++ {
		for _, a := range s.others[d-1] {
			all = append(all, a)
		}
		for _, x := range given {
			switch x := x.(type) {
			case donated:
				t, err := s.copy(m, x.Tensor, d)
				if err != nil {
					return nil, err
				}
				all = append(all, donated{t})
			case *tensors.Tensor:
				t, err := s.copy(m, x, d)
				if err != nil {
					return nil, err
				}
				all = append(all, t)
			default:
				all = append(all, x)
			}
		}
	}
	return all, nil
}

// copy returns what a device has of a tensor on the first.
func (s *shards) copy(m *Model, t *tensors.Tensor, device int) (*tensors.Tensor, error) {
	known := s.copies[t]
	for d := len(known) + 1; d <= device; d++ {
		c, err := m.copyTo(t, compute.DeviceNum(d))
		if err != nil {
			return nil, err
		}
		known = append(known, c)
		s.copies[t] = known
	}
	return known[device-1], nil
}

// results keeps what the other devices have of the results, and returns the first's.
func (s *shards) results(all []*tensors.Tensor) []*tensors.Tensor {
	n := len(all) / s.n
	for i, t := range all[:n] {
		for d := 1; d < s.n; d++ {
			s.copies[t] = append(s.copies[t], all[d*n+i])
		}
	}
	return all[:n]
}

// sweep frees the copies of tensors that have been freed or given up.
func (s *shards) sweep() {
	for t, copies := range s.copies {
		if !t.Ok() {
			finalizeAll(copies)
			delete(s.copies, t)
		}
	}
}

// close frees what the other devices hold.
func (s *shards) close() (errs []error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, arrays := range s.others {
		errs = append(errs, finalizeAll(arrays)...)
	}
	for _, copies := range s.copies {
		errs = append(errs, finalizeAll(copies)...)
	}
	s.others, s.copies = make([][]*tensors.Tensor, s.n-1), map[*tensors.Tensor][]*tensors.Tensor{}
	return errs
}

func finalizeAll(list []*tensors.Tensor) (errs []error) {
	for _, t := range list {
		if t.Ok() {
			errs = append(errs, t.FinalizeAll())
		}
	}
	return errs
}
