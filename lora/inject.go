package lora

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/impulse-salamandra/finetune/internal/faults"
	"github.com/impulse-salamandra/finetune/internal/products"
	"github.com/impulse-salamandra/finetune/salamandra/llama"
)

// errTarget marks an adapter that does not fit the model it is put on.
var errTarget = errors.New("adapter does not fit the model")

// Target is a model whose linear layers can carry an adapter;
// *salamandra.Model is one.
type Target interface {
	Architecture
	// RowNorms returns, for each layer named, the Euclidean norm of each row of
	// its weight, [out].
	RowNorms(names []string) ([][]float32, error)
}

// Architecture is what an adapter needs to know of a model to have a size;
// llama.Config is one.
type Architecture interface {
	// Linears lists the linear layers by name, in the order of the forward pass.
	Linears() []string
	// LinearShape returns the sizes of a layer's weight [out, in].
	LinearShape(name string) (out, in int)
}

// Layers is an adapter on a model: its factors on the device, in one flat
// float32 vector, and what it adds to each linear layer of a graph. The base
// weights stay as they are.
//
// One vector, not hundreds of small tensors, is what the optimiser, the
// checkpoints and an exchange of adapters work on. It holds for each layer, in
// the order of the forward pass, A [R, in], B [out, R] and, with DoRA, the
// magnitude [out].
type Layers struct {
	// Config is the configuration the layers were made from.
	Config Config

	layers []layer
	place  map[string]int // layer name to place in layers
	blocks int            // of the model
	params *tensors.Tensor
}

// firstBlock begins the names of the layers of the first block.
var firstBlock = llama.LayerName(0, "")

// layer is one adapted linear layer; a, b and mag are offsets in the vector.
type layer struct {
	name          string
	rank, in, out int
	scale         float64
	a, b, mag     int
}

// Inject puts a new adapter on the linear layers that config selects: A is
// uniform within ±1/√in, as PEFT initialises it, and B is zero, so that the
// model computes what it did. The draws depend only on seed and on the layer's
// name. A DoRA magnitude starts as the norm of the base weight's rows.
func Inject(target Target, config Config, seed uint64) (*Layers, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	l, err := newLayers(target, config)
	if err != nil {
		return nil, err
	}
	flat := make([]float32, l.size())
	for _, y := range l.layers {
		draw := rand.New(rand.NewPCG(seed, nameSeed(y.name)))
		bound := 1 / math.Sqrt(float64(y.in))
		for i := range y.rank * y.in {
			flat[y.a+i] = float32((2*draw.Float64() - 1) * bound)
		}
	}
	if config.UseDoRA {
		norms, err := target.RowNorms(l.Names())
		if err != nil {
			return nil, fmt.Errorf("lora: %w", err)
		}
		for i, y := range l.layers {
			copy(flat[y.mag:y.mag+y.out], norms[i])
		}
	}
	l.params = tensors.FromFlatDataAndDimensions(flat, len(flat))
	return l, nil
}

// CountParameters returns how many numbers an adapter of this configuration
// has on a model of this architecture.
func CountParameters(target Architecture, config Config) (int, error) {
	if err := config.Validate(); err != nil {
		return 0, err
	}
	l, err := newLayers(target, config)
	if err != nil {
		return 0, err
	}
	return l.size(), nil
}

// Uniform reports whether an adapter of this configuration would be the same in all
// blocks of a model of this architecture: see [Layers.Uniform].
func Uniform(target Architecture, config Config) (bool, error) {
	if err := config.Validate(); err != nil {
		return false, err
	}
	l, err := newLayers(target, config)
	return err == nil && l.Uniform(), err
}

// Attach puts an adapter that was read or trained on a model. Every module of
// the adapter must be a linear layer of the model, of the same shape, that the
// adapter's configuration selects, and every selected layer must have one: the
// error lists all that differ.
func Attach(target Target, a *Adapter) (*Layers, error) {
	l, flat, err := lay(target, a)
	if err != nil {
		return nil, err
	}
	l.params = tensors.FromFlatDataAndDimensions(flat, len(flat))
	return l, nil
}

// Fits fails as [Attach] does, and needs only the architecture.
func (a *Adapter) Fits(target Architecture) error {
	_, _, err := lay(target, a)
	return err
}

// lay is Attach but for the device.
func lay(target Architecture, a *Adapter) (*Layers, []float32, error) {
	if err := a.Config.Validate(); err != nil {
		return nil, nil, err
	}
	l, err := newLayers(target, a.Config)
	if err != nil {
		return nil, nil, err
	}
	var list faults.List
	fault := func(module, format string, args ...any) {
		list.Addf(module, "%w: %s", errTarget, fmt.Sprintf(format, args...))
	}
	flat, seen := make([]float32, l.size()), map[string]bool{}
	for _, m := range a.Modules {
		i, ok := l.place[m.Name]
		if !ok {
			fault(m.Name, "no linear layer of the model that the adapter's settings select")
			continue
		}
		seen[m.Name] = true
		y := l.layers[i]
		if m.In != y.in || m.Out != y.out || m.Rank != y.rank || len(m.A) != y.rank*y.in || len(m.B) != y.out*y.rank {
			fault(m.Name, "for a weight [%d %d] with rank %d, want [%d %d] and %d", m.Out, m.In, m.Rank, y.out, y.in, y.rank)
			continue
		}
		copy(flat[y.a:], m.A)
		copy(flat[y.b:], m.B)
		if a.Config.UseDoRA {
			if len(m.Magnitude) != y.out {
				fault(m.Name, "a magnitude of %d, want %d", len(m.Magnitude), y.out)
				continue
			}
			copy(flat[y.mag:], m.Magnitude)
		}
	}
	for _, y := range l.layers {
		if !seen[y.name] {
			fault(y.name, "no factors")
		}
	}
	return l, flat, list.Err()
}

// Adapter copies the layers to the host, ready to be written.
func (l *Layers) Adapter() (*Adapter, error) {
	flat, err := tensors.CopyFlatData[float32](l.params)
	if err != nil {
		return nil, fmt.Errorf("lora: %w", err)
	}
	a := &Adapter{Config: l.Config}
	for _, y := range l.layers {
		m := Module{Name: y.name, In: y.in, Out: y.out, Rank: y.rank, A: flat[y.a:y.b], B: flat[y.b:y.mag]}
		if l.Config.UseDoRA {
			m.Magnitude = flat[y.mag : y.mag+y.out]
		}
		a.Modules = append(a.Modules, m)
	}
	slices.SortFunc(a.Modules, func(x, y Module) int { return strings.Compare(x.Name, y.Name) })
	return a, nil
}

// nameSeed is the FNV-1a hash of a layer's name.
func nameSeed(name string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(name) {
		h = (h ^ uint64(name[i])) * 1099511628211
	}
	return h
}

// newLayers lays out the vector for the layers that config selects.
func newLayers(target Architecture, config Config) (*Layers, error) {
	l := &Layers{Config: config, place: map[string]int{}}
	at, inFirst := 0, 0
	for _, name := range target.Linears() {
		if strings.HasPrefix(name, firstBlock) {
			inFirst++
		}
		if !config.Matches(name) {
			continue
		}
		y := layer{name: name, rank: config.rankOf(name), scale: config.ScaleOf(name)}
		y.out, y.in = target.LinearShape(name)
		y.a, y.b = at, at+y.rank*y.in
		y.mag = y.b + y.out*y.rank
		at = y.mag
		if config.UseDoRA {
			at += y.out
		}
		l.place[name] = len(l.layers)
		l.layers = append(l.layers, y)
	}
	l.blocks = len(target.Linears()) / max(inFirst, 1)
	if len(l.layers) == 0 {
		return nil, fmt.Errorf("lora: %w: target_modules %s select none of its %d linear layers (such as %s)",
			errTarget, config.targets(), len(target.Linears()), strings.Join(target.Linears()[:min(2, len(target.Linears()))], ", "))
	}
	return l, nil
}

// targets shows what selects the layers, for messages.
func (c Config) targets() string {
	if c.TargetPattern != "" {
		return fmt.Sprintf("%q", c.TargetPattern)
	}
	return fmt.Sprintf("%q", c.TargetModules)
}

// size is the length of the vector.
func (l *Layers) size() int {
	last := l.layers[len(l.layers)-1]
	if l.Config.UseDoRA {
		return last.mag + last.out
	}
	return last.mag
}

// NumParameters counts the trained numbers.
func (l *Layers) NumParameters() int { return l.size() }

// Names lists the adapted layers in the order of the vector.
func (l *Layers) Names() []string {
	names := make([]string, len(l.layers))
	for i, y := range l.layers {
		names[i] = y.name
	}
	return names
}

// Params returns the vector. It changes identity as training goes on.
func (l *Layers) Params() *tensors.Tensor { return l.params }

// SetParams replaces the vector by one of the same length, after a training
// step or to swap adapters of equal configuration.
func (l *Layers) SetParams(params *tensors.Tensor) error {
	if err := params.Shape().Check(dtypes.Float32, l.size()); err != nil {
		return fmt.Errorf("lora: parameter vector: %w", err)
	}
	l.params = params
	return nil
}

// Structure identifies what a graph with these layers depends on beside the vector:
// which layers are adapted, with which ranks and scales, and whether by DoRA.
// Layers of equal structure can take each other's place in a compiled program.
func (l *Layers) Structure() string {
	var b strings.Builder
	for _, y := range l.layers {
		fmt.Fprintf(&b, " %s %d %v", y.name, y.rank, y.scale)
	}
	return fmt.Sprintf("dora %v%s", l.Config.UseDoRA, b.String())
}

// Tensors implements salamandra.Adapter.
func (l *Layers) Tensors() []*tensors.Tensor { return []*tensors.Tensor{l.params} }

// Linear implements salamandra.Adapter.
func (l *Layers) Linear(params []*graph.Node) func(name string, x *graph.Node, weight products.Weight) *graph.Node {
	return l.Bind(params[0]).Linear
}

// Uniform implements salamandra.Adapter.
func (l *Layers) Uniform() bool { return l.block() != nil }

// BlockLinear implements salamandra.Adapter.
func (l *Layers) BlockLinear(params []*graph.Node, block *graph.Node, n int) func(name string, x *graph.Node, weight products.Weight) *graph.Node {
	return l.BindBlocks(params[0], block, n).Linear
}

// BindBlocks is [Layers.Bind] of a uniform adapter for n blocks, of which the first has
// the number in the node block, a scalar int32 and a multiple of n: the layers have the
// names that they have in the first n. Of all blocks, n is a divisor.
func (l *Layers) BindBlocks(vector, block *graph.Node, n int) *Bound {
	own := l.first(n)
	rows := graph.Reshape(vector, l.blocks/n, own.size())
	if n > 1 {
		block = graph.DivScalar(block, n)
	}
	return own.Bind(graph.Gather(rows, graph.Reshape(block, 1)))
}

// first returns the layers of the first n blocks of a uniform adapter.
func (l *Layers) first(n int) *Layers {
	own := &Layers{Config: l.Config, place: map[string]int{}}
	for i := range n {
		block := llama.LayerName(i, "")
		for _, y := range l.layers[len(own.layers):] {
			if !strings.HasPrefix(y.name, block) {
				break
			}
			own.place[y.name] = len(own.layers)
			own.layers = append(own.layers, y)
		}
	}
	return own
}

// block returns the layers of block 0 if those of all others are the same but for
// their place, and nil otherwise.
func (l *Layers) block() *Layers {
	own := l.first(1)
	n := len(own.layers)
	if n == 0 || len(l.layers) != n*l.blocks {
		return nil
	}
	for i, y := range l.layers {
		first, k := own.layers[i%n], i/n
		first.name = llama.LayerName(k, strings.TrimPrefix(first.name, firstBlock))
		first.a, first.b, first.mag = first.a+k*own.size(), first.b+k*own.size(), first.mag+k*own.size()
		if y != first {
			return nil
		}
	}
	return own
}
