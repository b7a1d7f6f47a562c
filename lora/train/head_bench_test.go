package train

import (
	"fmt"
	"testing"

	"github.com/gomlx/compute"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/impulse-salamandra/finetune/salamandra"
	"github.com/impulse-salamandra/finetune/salamandra/salamandratest"
)

// BenchmarkHead is the head by itself, in chunks: loss and gradient, and the two
// products that this cannot do without. The large size needs 2.1 GB for the
// head's weight; its memory beside that is the process's peak less that of
// "weight alone".
func BenchmarkHead(b *testing.B) {
	backend := salamandratest.Go(b)
	if x := salamandratest.XLA(b); x != nil {
		backend = x
	}
	for _, size := range []struct{ places, vocabulary, hidden int }{{512, 8192, 256}, {8192, 256000, 2048}} {
		b.Run(fmt.Sprintf("%dx%dx%d", size.places, size.vocabulary, size.hidden), func(b *testing.B) {
			for name, build := range map[string]func(tr salamandra.Transformer, h, labels, weights *Node) []*Node{
				"loss and gradient": func(tr salamandra.Transformer, h, labels, weights *Node) []*Node {
					loss, dh := headLosses(tr, h, targets{labels: labels, weights: weights}, headChunk(0, true), true)
					return []*Node{loss, dh}
				},
				"two products": func(tr salamandra.Transformer, h, labels, weights *Node) []*Node {
					return twoProducts(tr, h)
				},
				"weight alone": func(tr salamandra.Transformer, h, labels, weights *Node) []*Node {
					return []*Node{ReduceAllMax(tr.HeadWeight())}
				},
			} {
				b.Run(name, func(b *testing.B) { benchmarkHead(b, backend, size.places, size.vocabulary, size.hidden, build) })
			}
		})
	}
}

// twoProducts multiplies with the head and back, chunk by chunk.
func twoProducts(tr salamandra.Transformer, h *Node) []*Node {
	var parts []*Node
	chunk, w := headChunk(0, true), tr.HeadWeight()
	for from := 0; from < h.Shape().Dim(0); from += chunk {
		in := SchedulingBarrier(Slice(h, AxisRange(from, min(from+chunk, h.Shape().Dim(0)))), parts...)
		parts = append(parts, DotGeneral(tr.Head(in), []int{1}, nil, w, []int{0}, nil))
	}
	return []*Node{Concatenate(parts, 0)}
}

func benchmarkHead(b *testing.B, backend compute.Backend, places, vocabulary, hidden int, build func(tr salamandra.Transformer, h, labels, weights *Node) []*Node) {
	exec, err := NewExec(backend, func(in []*Node) []*Node {
		tr := salamandra.Transformer{Weight: func(string) *Node { return in[0] }}
		return build(tr, in[1], in[2], in[3])
	})
	if err != nil {
		b.Fatal(err)
	}
	defer exec.Finalize()
	labels, weights := make([]int32, places), ones(places)
	for i := range labels {
		labels[i] = int32(i * 31 % vocabulary)
	}
	in := []any{noise(vocabulary, hidden), noise(places, hidden), labels, weights}
	for b.Loop() {
		out, err := exec.Call(in...)
		if err != nil {
			b.Fatal(err)
		}
		for _, x := range out {
			tensors.MustCopyFlatData[float32](x)
			x.MustFinalizeAll()
		}
	}
}

// noise is a matrix of numbers within ±0.05.
func noise(rows, columns int) *tensors.Tensor {
	flat, x := make([]float32, rows*columns), uint32(1)
	for i := range flat {
		x = x*1664525 + 1013904223
		flat[i] = (float32(x>>8)/(1<<24) - 0.5) / 10
	}
	return tensors.FromFlatDataAndDimensions(flat, rows, columns)
}
