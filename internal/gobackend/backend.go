package gobackend

import (
	"errors"
	"fmt"
	"maps"
	"runtime"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/notimplemented"
	"github.com/gomlx/compute/shapes"
)

// Backend is the Go backend with faster programs.
type Backend struct {
	compute.Backend
	arenas arenas
}

// buffer is one of the backend inside that says whose it is.
type buffer struct {
	compute.Buffer
	backend *Backend
}

// Backend implements [compute.Buffer].
func (b buffer) Backend() compute.Backend { return b.backend }

// New wraps compute's Go backend.
func New(inside compute.Backend) *Backend { return &Backend{Backend: inside} }

// Description implements [compute.Backend].
func (b *Backend) Description() string {
	return fmt.Sprintf("%s, with vector instructions, %d threads", b.Backend.Description(), runtime.GOMAXPROCS(0))
}

// Capabilities implements [compute.Backend]: those of the backend inside, without
// what the package's documentation leaves out. What they say of dynamic shapes stays:
// callers see by it that a program of another shape costs next to nothing.
func (b *Backend) Capabilities() compute.Capabilities {
	c := b.Backend.Capabilities()
	c.Functions = false
	c.Operations = maps.Clone(c.Operations)
	maps.DeleteFunc(c.Operations, func(op compute.OpType, _ bool) bool { return !recorded(op) })
	return c
}

// BufferFromFlatData implements [compute.DataInterface].
func (b *Backend) BufferFromFlatData(device compute.DeviceNum, flat any, shape shapes.Shape) (compute.Buffer, error) {
	r, err := b.Backend.BufferFromFlatData(device, flat, shape)
	if err != nil {
		return nil, err
	}
	return buffer{r, b}, nil
}

// NewSharedBuffer implements [compute.DataInterface].
func (b *Backend) NewSharedBuffer(device compute.DeviceNum, shape shapes.Shape) (compute.Buffer, any, error) {
	r, flat, err := b.Backend.NewSharedBuffer(device, shape)
	if err != nil {
		return nil, nil, err
	}
	return buffer{r, b}, flat, nil
}

// Finalize implements [compute.Backend].
func (b *Backend) Finalize() {
	b.arenas.clear()
	b.Backend.Finalize()
}

// Builder implements [compute.Backend].
func (b *Backend) Builder(name string) compute.Builder {
	inside := b.Backend.Builder(name)
	r := &builder{Builder: inside, backend: b}
	r.main = &function{Function: notimplemented.Function{ErrFn: refuse}, builder: r, inside: inside.Main(), known: map[compute.Value]*node{}}
	return r
}

func refuse(op compute.OpType) error {
	return fmt.Errorf("gobackend: %s: %w", op, compute.ErrNotImplemented)
}

var errForeign = errors.New("gobackend: a value of another graph")

// builder records one function.
type builder struct {
	compute.Builder
	backend *Backend
	main    *function
}

// Main implements [compute.Builder].
func (b *builder) Main() compute.Function { return b.main }

// NewFunction implements [compute.Builder].
func (b *builder) NewFunction(string) (compute.Function, error) {
	return nil, refuse(compute.OpTypeCall)
}

// OpShape implements [compute.Builder].
func (b *builder) OpShape(v compute.Value) (shapes.Shape, error) { return b.main.Shape(v) }

// Compile implements [compute.Builder].
func (b *builder) Compile() (compute.Executable, error) {
	p, err := compile(b.backend, b.main)
	if err != nil {
		return nil, fmt.Errorf("gobackend: program %s: %w", b.Name(), err)
	}
	return p, nil
}

// node is a value of the graph: the result of a call.
type node struct {
	call   *call
	shape  shapes.Shape
	inside compute.Value // in the backend inside, while the graph is built
}

// call is one operation. Its arguments are those of the [compute.Function]'s
// method that are not values, in their order.
type call struct {
	op      compute.OpType
	inputs  []*node
	args    []any
	results []*node
	replay  func(g compute.Function, v []compute.Value) ([]compute.Value, error)
}

// function records operations.
type function struct {
	notimplemented.Function
	builder *builder
	inside  compute.Function
	known   map[compute.Value]*node
	calls   []*call
	inputs  []*node
	names   []string
	outputs []*node
}

// Name implements [compute.Function].
func (f *function) Name() string { return f.inside.Name() }

// Builder implements [compute.Function].
func (f *function) Builder() compute.Builder { return f.builder }

// Shape implements [compute.Function].
func (f *function) Shape(v compute.Value) (shapes.Shape, error) {
	n, ok := v.(*node)
	if !ok {
		return shapes.Shape{}, errForeign
	}
	return n.shape, nil
}

// record adds an operation, which the backend inside checks. What that knows to be
// the same as an earlier value is that value.
func (f *function) record(op compute.OpType, values []compute.Value, args []any, replay func(g compute.Function, v []compute.Value) ([]compute.Value, error)) ([]compute.Value, error) {
	c := &call{op: op, args: args, replay: replay}
	inside := make([]compute.Value, len(values))
	for i, v := range values {
		n, ok := v.(*node)
		if !ok {
			return nil, errForeign
		}
		c.inputs = append(c.inputs, n)
		inside[i] = n.inside
	}
	results, err := replay(f.inside, inside)
	if err != nil {
		return nil, err
	}
	out := make([]compute.Value, len(results))
	fresh := false
	for i, r := range results {
		n, ok := f.known[r]
		if !ok {
			shape, err := f.inside.Shape(r)
			if err != nil {
				return nil, err
			}
			n, fresh = &node{call: c, shape: shape, inside: r}, true
			f.known[r] = n
		}
		c.results = append(c.results, n)
		out[i] = n
	}
	if fresh {
		f.calls = append(f.calls, c)
	}
	return out, nil
}

// Parameter implements [compute.Function].
func (f *function) Parameter(name string, shape shapes.Shape, sharding *compute.ShardingSpec) (compute.Value, error) {
	r, err := f.record(compute.OpTypeParameter, nil, nil, func(g compute.Function, _ []compute.Value) ([]compute.Value, error) {
		v, err := g.Parameter(name, shape, sharding)
		return []compute.Value{v}, err
	})
	if err != nil {
		return nil, err
	}
	f.inputs, f.names = append(f.inputs, r[0].(*node)), append(f.names, name)
	return r[0], nil
}

// Constant implements [compute.Function].
func (f *function) Constant(flat any, dims ...int) (compute.Value, error) {
	r, err := f.record(compute.OpTypeConstant, nil, []any{copyOf(flat)}, func(g compute.Function, _ []compute.Value) ([]compute.Value, error) {
		v, err := g.Constant(flat, dims...)
		return []compute.Value{v}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// Return implements [compute.Function].
func (f *function) Return(outputs []compute.Value, shardings []*compute.ShardingSpec) error {
	for _, v := range outputs {
		n, ok := v.(*node)
		if !ok {
			return errForeign
		}
		f.outputs = append(f.outputs, n)
	}
	return nil
}
