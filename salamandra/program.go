package salamandra

import (
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/distributed"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/impulse-salamandra/finetune/internal/donation"
)

// Adapter changes the linear layers of a model without the model knowing how;
// *lora.Layers is one. Its tensors are arguments of the compiled programs, so
// that an adapter of the same Structure can take its place without a new
// compilation.
type Adapter interface {
	// Tensors returns the adapter's tensors.
	Tensors() []*tensors.Tensor
	// Linear returns what replaces x·Wᵀ in a graph where params are the
	// nodes of Tensors.
	Linear(params []*Node) LinearFunc
	// Structure returns what the graph depends on beside the tensors, such as
	// names of layers, ranks and scales.
	Structure() string
	// Uniform reports whether the blocks differ in the values of the tensors only.
	Uniform() bool
	// BlockLinear is Linear of a uniform adapter for n blocks, of which the first has
	// the number in the node block, a scalar int32 and a multiple of n: the layers have
	// the names that they have in the first n. Of all blocks, n is a divisor.
	BlockLinear(params []*Node, block *Node, n int) LinearFunc
}

// Program is a graph function over the weights of a model and of an adapter. It is
// compiled at the first call for each combination of argument shapes, or ahead of
// time by [Program.Compile].
type Program struct {
	model   *Model
	adapter Adapter
	part    part
	blocks  int // of a program of some
	// adapterShapes are those of the adapter's tensors, which may be freed while
	// adapters of the same structure go on with the program.
	adapterShapes []shapes.Shape
	exec          *Exec
	compiled      *atomic.Int32
}

// NewProgram makes a program of build, which gets the forward pass and the
// nodes of the arguments of [Program.Call]. A nil adapter gives the base model.
func (m *Model) NewProgram(name string, adapter Adapter, build func(t Transformer, args []*Node) []*Node) (*Program, error) {
	return m.newProgram(name, adapter, whole, 0, build)
}

// NewBlockProgram makes a program of one block, which [Program.CallBlock] runs as
// any of the model's: compiled once, it takes the place of as many programs as there
// are blocks. The Transformer that build gets is a model of one block, and can do
// nothing else. Model and adapter are to be uniform: see [Model.Uniform].
func (m *Model) NewBlockProgram(name string, adapter Adapter, build func(t Transformer, args []*Node) []*Node) (*Program, error) {
	return m.NewBlocksProgram(name, adapter, 1, build)
}

// NewBlocksProgram is NewBlockProgram of n blocks, one after the other: a model of n
// blocks, which [Program.CallBlock] runs as those from the given one on, a multiple of n,
// which is a divisor of the number of all.
func (m *Model) NewBlocksProgram(name string, adapter Adapter, n int, build func(t Transformer, args []*Node) []*Node) (*Program, error) {
	return m.newProgram(name, adapter, someBlocks, n, build)
}

// NewLastProgram makes a program of the last block and of what comes before and after
// the blocks, which [Program.CallBlock] runs as the last block. The Transformer that
// build gets is a model of one block.
func (m *Model) NewLastProgram(name string, build func(t Transformer, args []*Node) []*Node) (*Program, error) {
	return m.newProgram(name, nil, lastBlock, 1, build)
}

// NewEndsProgram makes a program without blocks: of what comes before and after them.
func (m *Model) NewEndsProgram(name string, build func(t Transformer, args []*Node) []*Node) (*Program, error) {
	return m.newProgram(name, nil, ends, 0, build)
}

func (m *Model) newProgram(name string, adapter Adapter, of part, blocks int, build func(t Transformer, args []*Node) []*Node) (*Program, error) {
	p := &Program{model: m, adapter: adapter, part: of, blocks: blocks, compiled: new(atomic.Int32)}
	if adapter != nil {
		for _, t := range adapter.Tensors() {
			p.adapterShapes = append(p.adapterShapes, t.Shape())
		}
	}
	exec, err := NewExec(m.backend, func(inputs []*Node) []*Node {
		p.compiled.Add(1)
		n := len(m.weights.of(of, 0, blocks))
		weights, rest := inputs[:n], inputs[n:]
		view := m.weights.view(of, blocks)
		// A GPU with bfloat16 reads the weights that products of one x are joined of where
		// they lie; one without, in float16, copies them. Shards exchange x once for all.
		view.apart = m.dtype == dtypes.Float16 && m.weights.shards == nil
		t := Transformer{
			Config: m.Config, Linear: dense, PlainAttention: m.options.PlainAttention || m.weights.shards != nil,
			Weight:       func(name string) *Node { return view.node(weights, name) },
			LinearWeight: func(name string) Weight { return view.linear(weights, name) },
		}
		n = len(p.adapterShapes)
		params, rest := rest[:n], rest[n:]
		if of.blockwise() {
			t.Config.NumHiddenLayers = blocks
			t.Block, rest = rest[0], rest[1:]
		}
		switch {
		case adapter == nil:
		case of == someBlocks:
			t.Linear = adapter.BlockLinear(params, t.Block, blocks)
		default:
			t.Linear = adapter.Linear(params)
		}
		return build(t, rest)
	})
	if err != nil {
		return nil, fmt.Errorf("salamandra: program %s: %w", name, err)
	}
	exec.WithName(name).SetMaxCache(-1)
	if s := m.weights.shards; s != nil {
		everywhere := distributed.NewReplicatedShardingSpec(s.mesh)
		exec.AutoSharding(s.mesh).WithInputShardingSpecs(append(slices.Clone(s.specs), everywhere)...).WithOutputShardingSpecs(everywhere)
	}
	p.exec = exec
	return p, nil
}

// Gives says that every call gives up n arguments, from number first of those of
// [Program.Call] on, by [Donate], or all from there on if n is 0: where package
// xlaplugin is at work, each lies in the same memory as a result of its shape. It is
// called before the program is compiled, and returns the program. A call that does not
// give them up costs a copy of each.
func (p *Program) Gives(first, n int) *Program {
	first += len(p.model.weights.of(p.part, 0, p.blocks)) + len(p.adapterShapes)
	if p.part.blockwise() {
		first++
	}
	p.exec.WithName(donation.Name(p.exec.Name(), first, n))
	return p
}

// Compiled returns how many times the program was compiled.
func (p *Program) Compiled() int { return int(p.compiled.Load()) }

// Call runs the program. Arguments are tensors, or Go values that gomlx takes
// for tensors; those wrapped by [Donate] are consumed.
func (p *Program) Call(args ...any) ([]*tensors.Tensor, error) {
	return p.CallWith(p.adapter, args...)
}

// CallWith is Call with another adapter, one that builds the same graph as the
// program's; see [Adapter].
func (p *Program) CallWith(adapter Adapter, args ...any) ([]*tensors.Tensor, error) {
	return p.call(adapter, 0, args)
}

// CallBlock runs a program of blocks as the given one, from 0 on, and those after it,
// with an adapter as [Program.CallWith] takes it.
func (p *Program) CallBlock(adapter Adapter, block int, args ...any) ([]*tensors.Tensor, error) {
	return p.call(adapter, block, append([]any{int32(block)}, args...))
}

func (p *Program) call(adapter Adapter, block int, args []any) ([]*tensors.Tensor, error) {
	var given []any
	if adapter != nil {
		for _, t := range adapter.Tensors() {
			given = append(given, t)
		}
	}
	out, err := p.callWeights(block, append(given, args...))
	if err != nil {
		return nil, fmt.Errorf("salamandra: %w", err)
	}
	return out, nil
}

// callWeights runs the program on the weights and what else it is given.
func (p *Program) callWeights(block int, given []any) ([]*tensors.Tensor, error) {
	m, s := p.model, p.model.weights.shards
	if s == nil {
		weights := m.weights.of(p.part, block, p.blocks)
		inputs := make([]any, 0, len(weights)+len(given))
		for _, w := range weights {
			inputs = append(inputs, w)
		}
		return p.execute(append(inputs, given...))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	inputs, err := s.arguments(m, given)
	if err != nil {
		return nil, err
	}
	out, err := p.execute(inputs)
	if err != nil {
		return nil, err
	}
	return s.results(out), nil
}

// execute runs the program on its inputs, those of all devices.
func (p *Program) execute(inputs []any) ([]*tensors.Tensor, error) {
	if err := p.compile(inputs); err != nil {
		return nil, err
	}
	each := len(inputs) / p.model.Shards()
	for i, a := range inputs {
		if d, ok := a.(donated); ok {
			buffer, err := DonateTensorBuffer(d.Tensor, p.model.backend, p.model.device+compute.DeviceNum(i/each))
			if err != nil {
				return nil, err
			}
			inputs[i] = buffer
		}
	}
	out, _, err := p.exec.CallWithGraphOnDevice(p.model.device, inputs...)
	return out, err
}

// Compile compiles the program ahead of time for arguments of these shapes.
func (p *Program) Compile(args ...shapes.Shape) error {
	var all []shapes.Shape
	for _, w := range p.model.weights.of(p.part, 0, p.blocks) {
		all = append(all, w.Shape())
	}
	all = append(all, p.adapterShapes...)
	if p.part.blockwise() {
		all = append(all, shapes.Make(dtypes.Int32))
	}
	all = append(all, args...)
	if s := p.model.weights.shards; s != nil {
		all = s.shapes(all)
	}
	if err := p.compileFor(all); err != nil {
		return fmt.Errorf("salamandra: %w", err)
	}
	return nil
}

// compile compiles the program for these arguments ahead of the call, so that
// Options.Compiled can be called between the two.
func (p *Program) compile(inputs []any) error {
	if p.model.options.Compiled == nil {
		return nil
	}
	of := make([]shapes.Shape, len(inputs))
	for i, x := range inputs {
		if shaped, ok := x.(shapes.HasShape); ok {
			of[i] = shaped.Shape()
			continue
		}
		var err error
		if of[i], err = shapes.FromAnyValue(x); err != nil {
			return err
		}
	}
	return p.compileFor(of)
}

func (p *Program) compileFor(all []shapes.Shape) error {
	before := p.compiled.Load()
	if _, err := p.exec.Compile(all...); err != nil {
		return err
	}
	if told := p.model.options.Compiled; told != nil && p.compiled.Load() > before {
		told()
	}
	return nil
}

// Close frees the compiled programs.
func (p *Program) Close() { p.exec.Finalize() }

type donated struct{ *tensors.Tensor }

// Donate marks an argument of [Program.Call] that is given up: it is freed, or a result
// lies in its memory if [Program.Gives] says so. The tensor must not be used after the
// call.
func Donate(t *tensors.Tensor) any { return donated{t} }

// Logits computes the logits [N, V] of one or more sequences given as rows of
// equal length, ids[row][place]; N counts all places, row after row. It is for
// checks and small jobs: training and generation never hold all logits.
func (m *Model) Logits(adapter Adapter, ids [][]int32) ([][][]float32, error) {
	if len(ids) == 0 || len(ids[0]) == 0 {
		return nil, fmt.Errorf("salamandra: no tokens")
	}
	layout := SharedPrefix{B: len(ids), S: len(ids[0])}
	var flat []int32
	for i, row := range ids {
		if len(row) != layout.S {
			return nil, fmt.Errorf("salamandra: row %d has %d tokens, want %d as row 0", i, len(row), layout.S)
		}
		if err := m.Config.CheckIDs(row); err != nil {
			return nil, fmt.Errorf("salamandra: row %d: %w", i, err)
		}
		flat = append(flat, row...)
	}
	tokens, err := m.Tokens(flat)
	if err != nil {
		return nil, err
	}
	p, err := m.NewProgram("logits", adapter, func(t Transformer, args []*Node) []*Node {
		x := t.Blocks(t.Embed(args[0]), layout.Positions(args[0].Graph()), layout)
		return []*Node{t.Logits(x)}
	})
	if err != nil {
		return nil, err
	}
	defer p.Close()
	out, err := p.Call(Donate(tokens))
	if err != nil {
		return nil, err
	}
	logits, err := tensors.CopyFlatData[float32](out[0])
	if err != nil {
		return nil, fmt.Errorf("salamandra: %w", err)
	}
	v := m.Config.VocabSize
	rows := make([][][]float32, layout.B)
	for b := range rows {
		for s := range layout.S {
			at := (b*layout.S + s) * v
			rows[b] = append(rows[b], logits[at:at+v])
		}
	}
	return rows, out[0].FinalizeAll()
}
