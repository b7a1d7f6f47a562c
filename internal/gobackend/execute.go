package gobackend

import (
	"fmt"
	"reflect"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
)

// Inputs implements [compute.Executable].
func (p *program) Inputs() ([]string, []shapes.Shape) { return p.names, p.inputs }

// Outputs implements [compute.Executable].
func (p *program) Outputs() []shapes.Shape { return p.outputs }

// Finalize implements [compute.Executable].
func (p *program) Finalize() { p.steps = nil }

// Execute implements [compute.Executable]. Donated inputs are only read.
func (p *program) Execute(inputs []compute.Buffer, _ []bool, _ compute.DeviceNum) ([]compute.Buffer, error) {
	if len(inputs) != len(p.inputs) {
		return nil, fmt.Errorf("gobackend: %d inputs, want %d", len(inputs), len(p.inputs))
	}
	in, out := make([][]byte, len(inputs)), make([][]byte, len(p.results))
	for i, b := range inputs {
		flat, err := b.Data()
		if err != nil {
			return nil, err
		}
		shape, err := b.Shape()
		if err != nil {
			return nil, err
		}
		if !shape.Equal(p.inputs[i]) {
			return nil, fmt.Errorf("gobackend: input %s is %s, want %s", p.names[i], shape, p.inputs[i])
		}
		in[i] = dtypes.UnsafeByteSliceFromAny(flat)
	}
	results := make([]compute.Buffer, len(out))
	for i, shape := range p.outputs {
		b, flat, err := p.backend.NewSharedBuffer(0, shape)
		if err != nil {
			return nil, err
		}
		results[i], out[i] = b, dtypes.UnsafeByteSliceFromAny(flat)
	}
	arena := p.backend.arenas.get(p.arena)
	defer p.backend.arenas.put(arena)
	at := func(pl *place) []byte {
		switch pl.kind {
		case isInput:
			return in[pl.index]
		case isOutput:
			return out[pl.index]
		case isConstant:
			return pl.bytes
		}
		return arena[pl.offset : pl.offset+pl.size : pl.offset+pl.size]
	}
	for _, s := range p.steps {
		if err := s.execute(at); err != nil {
			return nil, err
		}
	}
	return results, nil
}

// execute runs a step where its places are.
func (s *step) execute(at func(p *place) []byte) error {
	var room [8][]byte
	all := room[:0]
	for _, o := range s.out {
		all = append(all, at(o))
	}
	for _, v := range s.in {
		all = append(all, at(v.place)[v.offset*v.width():])
	}
	return s.run(all[:len(s.out)], all[len(s.out):])
}

// copyOf clones a slice of any type.
func copyOf(flat any) any {
	from := reflect.ValueOf(flat)
	to := reflect.MakeSlice(from.Type(), from.Len(), from.Len())
	reflect.Copy(to, from)
	return to.Interface()
}
