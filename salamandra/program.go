package salamandra

import (
	"fmt"
	"sync/atomic"

	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
)

// Adapter changes the linear layers of a model without the model knowing how;
// *lora.Layers is one. Its tensors are arguments of the compiled programs, so
// that another adapter can take its place without a new compilation, if both
// have a method Structure() string that returns the same: what the graph
// depends on beside the tensors, such as names of layers, ranks and scales.
type Adapter interface {
	// Tensors returns the adapter's tensors.
	Tensors() []*tensors.Tensor
	// Linear returns what replaces [Dense] in a graph where params are the
	// nodes of Tensors.
	Linear(params []*Node) LinearFunc
}

// Program is a graph function over the weights of a model and of an adapter.
// It is compiled at the first call for each combination of argument shapes.
type Program struct {
	model   *Model
	adapter Adapter
	exec    *Exec

	compiled atomic.Int32
}

// NewProgram makes a program of build, which gets the forward pass and the
// nodes of the arguments of [Program.Call]. A nil adapter gives the base model.
func (m *Model) NewProgram(name string, adapter Adapter, build func(t Transformer, args []*Node) []*Node) (*Program, error) {
	p := &Program{model: m, adapter: adapter}
	exec, err := NewExec(m.backend, func(inputs []*Node) []*Node {
		p.compiled.Add(1)
		weights, rest := inputs[:len(m.weights)], inputs[len(m.weights):]
		t := Transformer{Config: m.Config, Linear: Dense, PlainAttention: m.options.PlainAttention, Weight: func(name string) *Node {
			i, ok := m.index[name]
			if !ok {
				panic(fmt.Errorf("salamandra: no tensor %s", name))
			}
			return weights[i]
		}}
		if adapter != nil {
			n := len(adapter.Tensors())
			t.Linear = adapter.Linear(rest[:n])
			rest = rest[n:]
		}
		return build(t, rest)
	})
	if err != nil {
		return nil, fmt.Errorf("salamandra: program %s: %w", name, err)
	}
	exec.WithName(name).SetMaxCache(-1)
	p.exec = exec
	return p, nil
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
	inputs := make([]any, 0, len(p.model.weights)+len(args)+1)
	for _, w := range p.model.weights {
		inputs = append(inputs, w)
	}
	if adapter != nil {
		for _, t := range adapter.Tensors() {
			inputs = append(inputs, t)
		}
	}
	inputs = append(inputs, args...)
	if err := p.compile(inputs); err != nil {
		return nil, fmt.Errorf("salamandra: %w", err)
	}
	for i, a := range inputs {
		if d, ok := a.(donated); ok {
			buffer, err := DonateTensorBuffer(d.Tensor, p.model.backend, 0)
			if err != nil {
				return nil, fmt.Errorf("salamandra: %w", err)
			}
			inputs[i] = buffer
		}
	}
	out, err := p.exec.Call(inputs...)
	if err != nil {
		return nil, fmt.Errorf("salamandra: %w", err)
	}
	return out, nil
}

// compile compiles the program for these arguments, if it is not, where somebody
// wants to know of it before it runs.
func (p *Program) compile(inputs []any) error {
	told := p.model.options.Compiled
	if told == nil {
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
	before := p.compiled.Load()
	if _, err := p.exec.Compile(of...); err != nil {
		return err
	}
	if p.compiled.Load() > before {
		told()
	}
	return nil
}

// Close frees the compiled programs.
func (p *Program) Close() { p.exec.Finalize() }

type donated struct{ *tensors.Tensor }

// Donate marks an argument of [Program.Call] whose memory the program may reuse
// for a result. The tensor must not be used after the call.
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
		if err := m.checkIDs(row); err != nil {
			return nil, fmt.Errorf("salamandra: row %d: %w", i, err)
		}
		flat = append(flat, row...)
	}
	p, err := m.NewProgram("logits", adapter, func(t Transformer, args []*Node) []*Node {
		x := t.Blocks(t.Embed(args[0]), layout.Positions(args[0].Graph()), layout)
		return []*Node{t.Logits(x)}
	})
	if err != nil {
		return nil, err
	}
	defer p.Close()
	out, err := p.Call(flat)
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

// checkIDs refuses ids outside the vocabulary, which a device would clamp in
// silence.
func (m *Model) checkIDs(ids []int32) error {
	for i, id := range ids {
		if id < 0 || int(id) >= m.Config.VocabSize {
			return fmt.Errorf("token %d is id %d, want 0 to %d", i, id, m.Config.VocabSize-1)
		}
	}
	return nil
}
