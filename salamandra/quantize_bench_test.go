package salamandra_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	. "github.com/gomlx/gomlx/core/graph"

	"github.com/impulse-salamandra/finetune/salamandra"
	"github.com/impulse-salamandra/finetune/salamandra/salamandratest"
)

// BenchmarkQuantizedBlocks is the work of blocks of SmolLM2-135M's widths on 1, 8 and
// 32 tokens, as generation has it, by what they are stored and computed in, in turns.
// It reports the median of each over that of bfloat16.
func BenchmarkQuantizedBlocks(b *testing.B) {
	backend := salamandratest.Go(b)
	if x := salamandratest.XLA(b); x != nil {
		backend = x
	}
	dir := salamandratest.Random(b, salamandratest.Shape{Vocabulary: 64, Hidden: 576, Intermediate: 1536, Layers: 4, Heads: 9, KVHeads: 3})
	forms := []salamandra.Options{{Dtype: "bfloat16"}, {Dtype: "float32"}, {Dtype: "float32", Quantize: "8bit"}, {Dtype: "float32", Quantize: "4bit"}}
	for _, n := range []int{1, 8, 32} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var steps []func() time.Duration
			for _, opts := range forms {
				m, err := salamandra.Load(context.Background(), backend, dir, opts)
				if err != nil {
					b.Fatal(err)
				}
				b.Cleanup(func() { _ = m.Close() })
				steps = append(steps, blocksStep(b, m, n))
			}
			times := make([][]float64, len(steps))
			for b.Loop() {
				for i, step := range steps {
					times[i] = append(times[i], step().Seconds())
				}
			}
			median := func(x []float64) float64 { slices.Sort(x); return x[len(x)/2] }
			first := median(times[0])
			b.ReportMetric(1000*first, "ms-bfloat16")
			for i, opts := range forms[1:] {
				b.ReportMetric(median(times[i+1])/first, opts.Dtype+opts.Quantize+"/bfloat16")
			}
		})
	}
}

// blocksStep returns a function that runs all blocks on n tokens once.
func blocksStep(b *testing.B, m *salamandra.Model, n int) func() time.Duration {
	b.Helper()
	layout := salamandra.SharedPrefix{B: n, S: 1}
	p, err := m.NewProgram("blocks", nil, func(t salamandra.Transformer, args []*Node) []*Node {
		return []*Node{t.Blocks(t.Embed(args[0]), layout.Positions(args[0].Graph()), layout)}
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(p.Close)
	tokens := tokensOf(b, m, make([]int32, n))
	step := func() time.Duration {
		start := time.Now()
		out, err := p.Call(tokens)
		if err != nil {
			b.Fatal(err)
		}
		out[0].MustFinalizeAll()
		return time.Since(start)
	}
	step() // compiles
	return step
}
