package salamandra

import (
	"errors"
	"fmt"

	"github.com/gomlx/compute"
	"github.com/gomlx/gomlx/core/tensors"
)

// Replica copies the model to another device of its backend, from 0 to below
// NumDevices of the backend. Programs of the replica run on that device; those of
// the model do so by [Program.On]. The replica is closed by itself, before the model.
func (m *Model) Replica(device int) (*Model, error) {
	if n := m.backend.NumDevices(); device < 0 || device >= n {
		return nil, fmt.Errorf("salamandra: device %d of %s, which has %d", device, m.backend.Name(), n)
	}
	if m.weights.shards != nil {
		return nil, fmt.Errorf("salamandra: a model in %d shards has no replicas", m.Shards())
	}
	r := *m
	r.device, r.replica, r.weights.arrays = compute.DeviceNum(device), true, nil
	for _, a := range m.weights.arrays {
		c, err := r.Copy(a)
		if err != nil {
			return nil, errors.Join(err, r.Close())
		}
		r.weights.arrays = append(r.weights.arrays, c)
	}
	return &r, nil
}

// Device is the number of the backend's device that has the weights: 0, but of a
// replica.
func (m *Model) Device() int { return int(m.device) }

// Copy copies a tensor to the model's device, from another one of its backend
// without the host where the backend can.
func (m *Model) Copy(t *tensors.Tensor) (*tensors.Tensor, error) { return m.copyTo(t, m.device) }

func (m *Model) copyTo(t *tensors.Tensor, device compute.DeviceNum) (*tensors.Tensor, error) {
	from, err := t.Device()
	if err != nil {
		from = 0 // it is on the host only
	}
	var b compute.Buffer
	if b, err = t.Buffer(m.backend, from); err == nil {
		b, err = b.CopyToDevice(device)
	}
	var c *tensors.Tensor
	if err == nil {
		c, err = tensors.FromBuffer(b)
	}
	if err != nil {
		return nil, fmt.Errorf("salamandra: copying to device %d: %w", device, err)
	}
	return c, nil
}

// On returns the program as it runs on a replica of its model: the same compiled
// code, so that a shape is compiled once for all devices. It is closed with p.
func (p *Program) On(replica *Model) *Program {
	q := *p
	q.model = replica
	return &q
}
