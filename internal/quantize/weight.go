package quantize

import (
	"fmt"
	"slices"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"

	"github.com/impulse-salamandra/finetune/internal/products"
	"github.com/impulse-salamandra/finetune/internal/safetensors"
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
	// Arrays returns what lies on the device, for rows of width in. Panels is for the
	// Go backend: 8-bit codes of whole panels lie as [products.Panels].
	Arrays(in int, panels bool) []Array
}

// Array is one of the arrays that a weight is on the device.
type Array struct {
	Shape shapes.Shape
	Data  []byte
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
func (q NF4) Arrays(in int, _ bool) []Array {
	packed := q.rows(in)
	return []Array{{shapes.Make(dtypes.Uint8, len(packed)/in, in), packed}, float32s(q.Absmax)}
}

// Arrays implements [Weight].
func (q Int8) Arrays(in int, panels bool) []Array {
	data, out := make([]byte, len(q.Codes)), len(q.Absmax)
	for i, c := range q.Codes {
		data[i] = byte(c)
	}
	shape := shapes.Make(dtypes.Int8, out, in)
	if panels && out%products.PanelRows == 0 {
		data, shape = products.ToPanels(data, in, 1), shapes.Make(dtypes.Int8, out/products.PanelRows, in, products.PanelRows)
	}
	return []Array{{shape, data}, float32s(q.scales())}
}

func float32s(values []float32) Array {
	data := slices.Grow([]byte(nil), 4*len(values))[:4*len(values)]
	if err := safetensors.EncodeFloat32(data, values, safetensors.F32); err != nil {
		panic(err) // the sizes fit
	}
	return Array{shapes.Make(dtypes.Float32, len(values)), data}
}
