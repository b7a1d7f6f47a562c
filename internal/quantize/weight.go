package quantize

import (
	"fmt"
	"slices"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"

	"github.com/impulse-salamandra/finetune/internal/products"
	"github.com/impulse-salamandra/finetune/internal/safetensors"
	"github.com/impulse-salamandra/finetune/internal/simd"
)

// The names of what weights are quantised to, after transformers' load_in_4bit and
// load_in_8bit.
const (
	FourBit  = "4bit"
	EightBit = "8bit"
)

// Check refuses what is no name; an empty one leaves weights as they are.
func Check(name string) error {
	if name != "" && name != FourBit && name != EightBit {
		return fmt.Errorf("%q, want 4bit, 8bit or nothing", name)
	}
	return nil
}

// Weight is a quantised weight on the host.
type Weight interface {
	// Values returns what the weight stands for, row after row, in float32.
	Values() []float32
	// Arrays returns what lies on the device, for rows of width in.
	Arrays(in int) []Array
}

// Array is one of the arrays that a weight is on the device.
type Array struct {
	Shape shapes.Shape
	Data  []byte
}

// InPanels lays a matrix [out, in] out as [products.Panels] has it. What is none, has
// other numbers than the Go backend multiplies with, or an out that is no multiple of
// a panel's rows, stays as it is.
func (a Array) InPanels() Array {
	dtype := a.Shape.DType
	if a.Shape.Rank() != 2 || a.Shape.Dim(0)%simd.PanelColumns != 0 || dtype != dtypes.Float32 && dtype != dtypes.BFloat16 && dtype != dtypes.Int8 {
		return a
	}
	out, in := a.Shape.Dim(0), a.Shape.Dim(1)
	return Array{shapes.Make(dtype, out/simd.PanelColumns, in, simd.PanelColumns), simd.ToPanels(a.Data, in, dtype.Size())}
}

// Quantize quantises a weight, of finite numbers, with rows of width in.
func Quantize(name string, weight []float32, in int) Weight {
	if name == EightBit {
		return ToInt8(weight, in)
	}
	return ToNF4(weight)
}

// NumBytes returns how many bytes a weight [out, in] takes on the device.
func NumBytes(name string, out, in int) int64 {
	if name == EightBit {
		return int64(out)*int64(in) + 4*int64(out)
	}
	return int64(blocks(out, 2))*int64(in) + 4*int64(blocks(out*in, blockSize))
}

// NumArrays is how many arrays a quantised weight has on the device.
const NumArrays = 2

// InGraph returns the weight [out, in] whose arrays are these nodes.
func InGraph(name string, out, in int, arrays []*graph.Node) products.Weight {
	if name == EightBit {
		return int8Weight{codes: arrays[0], scales: arrays[1]}
	}
	return nf4Weight{out: out, in: in, packed: arrays[0], absmax: arrays[1]}
}

// Arrays implements [Weight].
func (q NF4) Arrays(in int) []Array {
	packed := q.rows(in)
	return []Array{{shapes.Make(dtypes.Uint8, len(packed)/in, in), packed}, float32s(q.Absmax)}
}

// Arrays implements [Weight].
func (q Int8) Arrays(in int) []Array {
	data := make([]byte, len(q.Codes))
	for i, c := range q.Codes {
		data[i] = byte(c)
	}
	return []Array{{shapes.Make(dtypes.Int8, len(q.Absmax), in), data}, float32s(q.scales())}
}

func float32s(values []float32) Array {
	data := slices.Grow([]byte(nil), 4*len(values))[:4*len(values)]
	if err := safetensors.EncodeFloat32(data, values, safetensors.F32); err != nil {
		panic(err) // the sizes fit
	}
	return Array{shapes.Make(dtypes.Float32, len(values)), data}
}
