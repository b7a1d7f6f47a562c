package salamandra_test

import (
	"slices"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/impulse-salamandra/finetune/internal/products"
	"github.com/impulse-salamandra/finetune/salamandra"
	"github.com/impulse-salamandra/finetune/salamandra/salamandratest"
)

// bias is an adapter of one number.
type bias struct{ value *tensors.Tensor }

func (b bias) Tensors() []*tensors.Tensor { return []*tensors.Tensor{b.value} }
func (b bias) Structure() string          { return "bias" }
func (b bias) Uniform() bool              { return true }

func (b bias) BlockLinear(params []*Node, _ *Node, _ int) salamandra.LinearFunc {
	return b.Linear(params)
}

func (b bias) Linear(params []*Node) salamandra.LinearFunc {
	return func(name string, x *Node, weight salamandra.Weight) *Node {
		return Add(weight.Linear(x), params[0])
	}
}

// TestProgramOutlivesItsAdapter: adapters of one structure share a program, also
// once the one it was made with is freed.
func TestProgramOutlivesItsAdapter(t *testing.T) {
	salamandratest.OnEach(t, func(t *testing.T, b compute.Backend) {
		m := salamandratest.Load(t, b, salamandratest.Reference(t, "models", "tiny-mha"))
		first, second := bias{tensors.FromScalar(float32(1))}, bias{tensors.FromScalar(float32(2))}
		p, err := m.NewProgram("sum", first, func(tr salamandra.Transformer, args []*Node) []*Node {
			return []*Node{ReduceAllSum(tr.Linear("x", args[0], products.Full{Node: args[0]}))}
		})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		sum := func(a bias, n int) float32 {
			t.Helper()
			x := tensors.FromShape(shapes.Make(dtypes.Float32, n, n)) // zeros
			out, err := p.CallWith(a, x)
			if err != nil {
				t.Fatal(err)
			}
			return tensors.ToScalar[float32](out[0])
		}
		if got := sum(first, 2); got != 4 {
			t.Errorf("first: %v, want 4", got)
		}
		if err := first.value.FinalizeAll(); err != nil {
			t.Fatal(err)
		}
		if err := p.Compile(shapes.Make(dtypes.Float32, 3, 3)); err != nil {
			t.Fatal(err)
		}
		for n, want := range map[int]float32{2: 8, 3: 18, 4: 32} {
			if got := sum(second, n); got != want {
				t.Errorf("second, %d places: %v, want %v", n, got, want)
			}
		}
	})
}

// TestGives: the activations of a block lie where those before it lay, with the numbers
// of a program that is given nothing up.
func TestGives(t *testing.T) {
	b := salamandratest.XLA(t)
	if b == nil || !b.HasSharedBuffers() {
		t.Skip("needs XLA on the CPU (GOMLX_BACKEND=xla:cpu)")
	}
	m := salamandratest.Load(t, b, salamandratest.Reference(t, "models", "tiny-mha"))
	layout := salamandra.SharedPrefix{B: 2, S: 16}
	build := func(tr salamandra.Transformer, args []*Node) []*Node {
		return []*Node{tr.Blocks(args[0], layout.Positions(args[0].Graph()), layout)}
	}
	run := func(gives bool) (x *tensors.Tensor, places []uintptr) {
		p, err := m.NewBlockProgram("block", nil, build)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		if gives {
			p.Gives(0, 1)
		}
		start := make([]float32, layout.B*layout.S*m.Config.HiddenSize)
		for i := range start {
			start[i] = float32(i%7) - 3
		}
		x = tensors.FromFlatDataAndDimensions(start, layout.B*layout.S, m.Config.HiddenSize)
		for i := range 4 {
			out, err := p.CallBlock(nil, i%m.Config.NumHiddenLayers, salamandra.Donate(x))
			if err != nil {
				t.Fatal(err)
			}
			x = out[0]
			places = append(places, salamandratest.Place(t, x))
		}
		return x, places
	}
	x, places := run(true)
	want, others := run(false)
	if got, want := tensors.MustCopyFlatData[float32](x), tensors.MustCopyFlatData[float32](want); !slices.Equal(got, want) {
		t.Error("what lies in the memory of what was given up is another")
	}
	for i := 2; i < 4; i++ {
		if places[i] != places[1] || others[i] == others[i-1] {
			t.Errorf("block %d: %x and %x, without Gives %x and %x", i, places[i], places[i-1], others[i], others[i-1])
		}
	}
}
