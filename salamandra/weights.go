package salamandra

import (
	"fmt"
	"slices"
	"strings"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/impulse-salamandra/finetune/internal/modelfiles"
	"github.com/impulse-salamandra/finetune/internal/products"
	"github.com/impulse-salamandra/finetune/internal/quantize"
	"github.com/impulse-salamandra/finetune/internal/safetensors"
	"github.com/impulse-salamandra/finetune/salamandra/llama"
)

// onDevice holds the weights of a model on a device.
type onDevice struct {
	layers int               // blocks
	arrays []*tensors.Tensor // in the order of the forward pass
	places map[string]place  // by the name of the tensor in the checkpoint
	shards *shards           // nil on one device; arrays are then the first's parts
	apart  bool              // products with weights are not to be joined, in a view
}

// place says which arrays a weight is.
type place struct {
	first     int
	shape     []int
	quantized string // as in Options.Quantize; then there are quantize.NumArrays
}

// part is what of a model a program computes.
type part int

const (
	whole      part = iota
	someBlocks      // as many as Program.blocks, one after the other
	ends            // what is before and after the blocks
	lastBlock       // the last one and the ends
)

// blockwise reports whether programs of the part are told which block is their first.
func (p part) blockwise() bool { return p == someBlocks || p == lastBlock }

// blocks returns where the arrays of the blocks begin and end, and how many each
// has. Arrays are in the order of the forward pass.
func (d *onDevice) blocks() (from, to, each int) {
	from, to = d.places[llama.LayerName(0, "input_layernorm.weight")].first, d.places["model.norm.weight"].first
	return from, to, (to - from) / d.layers
}

// of returns the arrays that a program of a part takes, of n blocks from the given one
// on; none of a model that is closed.
func (d *onDevice) of(p part, block, n int) []*tensors.Tensor {
	if d.arrays == nil {
		return nil
	}
	from, to, each := d.blocks()
	switch p {
	case someBlocks:
		return d.arrays[from+block*each : from+(block+n)*each]
	case ends:
		return slices.Concat(d.arrays[:from], d.arrays[to:])
	case lastBlock:
		return slices.Concat(d.arrays[:from], d.arrays[to-each:])
	}
	return d.arrays
}

// view is where the weights of a part, of n blocks, are among the arrays that its
// programs take.
func (d *onDevice) view(p part, n int) onDevice {
	from, to, each := d.blocks()
	places := map[string]place{}
	for name, at := range d.places {
		switch in := at.first >= from && at.first < to; {
		case p == whole:
		case p == someBlocks && in && at.first < from+n*each:
			at.first -= from
		case p == lastBlock && in && at.first < from+each:
		case p == lastBlock && !in && at.first >= to:
			at.first -= to - from - each
		case p != someBlocks && at.first < from:
		case p == ends && !in:
			at.first -= to - from
		default:
			continue
		}
		places[name] = at
	}
	return onDevice{places: places}
}

// Uniform reports whether all blocks have weights of the same shapes and forms, so
// that a program of one block or of several can be any of them.
func (m *Model) Uniform() bool {
	d := &m.weights
	from, to, each := d.blocks()
	if from+each*d.layers != to {
		return false
	}
	for name, at := range d.places {
		if at.first < from || at.first >= from+each {
			continue
		}
		module := strings.TrimPrefix(name, llama.LayerName(0, ""))
		for i := range d.layers {
			other := d.places[llama.LayerName(i, module)]
			if other.quantized != at.quantized || other.first != at.first+i*each || !slices.Equal(other.shape, at.shape) {
				return false
			}
		}
	}
	return true
}

// node returns the node of a weight as it is, of all nodes of the arrays.
func (d *onDevice) node(nodes []*Node, name string) *Node {
	p, ok := d.places[name]
	if !ok || p.quantized != "" {
		panic(fmt.Errorf("salamandra: no tensor %s on the device that is not quantised (Embed takes what Model.Tokens returns)", name))
	}
	return nodes[p.first]
}

// linear returns the weight of the linear layer with this name.
func (d *onDevice) linear(nodes []*Node, name string) Weight {
	p, ok := d.places[name+".weight"]
	if !ok {
		panic(fmt.Errorf("salamandra: no tensor %s.weight", name))
	}
	switch {
	case d.apart && p.quantized == "":
		return products.Full{Node: nodes[p.first], Apart: true}
	case p.quantized == "":
		return products.Of(nodes[p.first])
	}
	return quantize.InGraph(p.quantized, p.shape[0], p.shape[1], nodes[p.first:p.first+quantize.NumArrays])
}

// upload puts one stored tensor of a shape, that of a linear layer or another, on the
// device, as dtype or quantised.
func (d *onDevice) upload(backend compute.Backend, files *modelfiles.Files, tensor llama.Tensor, linear bool, dtype dtypes.DType, quantized string) error {
	arrays, err := arraysOf(files, tensor, dtype, quantized)
	if err != nil {
		return err
	}
	d.places[tensor.Name] = place{len(d.arrays), tensor.Shape, quantized}
	for _, a := range arrays {
		var t *tensors.Tensor
		if linear && d.shards == nil && quantize.OnGo(backend) {
			a = a.InPanels()
		}
		if d.shards == nil {
			t, err = tensors.FromRaw(backend, 0, a.Shape, a.Data)
		} else {
			t, err = d.shards.upload(backend, tensor, a)
		}
		if err != nil {
			return err
		}
		d.arrays = append(d.arrays, t)
	}
	return nil
}

// arraysOf returns what lies on the device for a stored tensor, of finite numbers.
func arraysOf(files *modelfiles.Files, tensor llama.Tensor, dtype dtypes.DType, quantized string) ([]quantize.Array, error) {
	info, _ := files.Info(tensor.Name)
	if info.Dtype == safetensors.U8 {
		out, in := tensor.Shape[0], tensor.Shape[1]
		q, err := quantize.ReadNF4(files.Reader, tensor.Name, out, in)
		if err != nil {
			return nil, err
		}
		return q.Arrays(in), nil
	}
	data, err := files.Bytes(info.Name)
	if err != nil {
		return nil, err
	}
	if quantized == "" {
		data, err = convert(data, info.Dtype, dtype)
		return []quantize.Array{{Shape: shapes.Make(dtype, info.Shape...), Data: data}}, err
	}
	values, in := make([]float32, info.NumElements()), info.Shape[1]
	if err := safetensors.DecodeFloat32(values, data, info.Dtype); err != nil {
		return nil, err
	}
	return quantize.Quantize(quantized, values, in).Arrays(in), nil
}

// close frees the weights.
func (d *onDevice) close() (errs []error) {
	errs = finalizeAll(d.arrays)
	if d.arrays = nil; d.shards != nil {
		errs = append(errs, d.shards.close()...)
	}
	return errs
}
