package generate_test

import (
	"testing"

	"github.com/gomlx/compute"

	"github.com/impulse-salamandra/finetune/salamandra/generate"
	"github.com/impulse-salamandra/finetune/salamandra/salamandratest"
)

// BenchmarkGenerate answers 20 prompts of 60 tokens, 40 of them shared, with 64
// tokens each, on the demonstration's model.
func BenchmarkGenerate(b *testing.B) {
	backends := map[string]compute.Backend{"go": salamandratest.Go(b)}
	if x := salamandratest.XLA(b); x != nil {
		backends["xla"] = x
	}
	for name, backend := range backends {
		b.Run(name, func(b *testing.B) {
			m := salamandratest.Load(b, backend, "../../examples/impulse/demo/tiny-salamandra")
			g := generate.New(m, nil)
			defer g.Close()
			prompts := make([][]int32, 20)
			for i := range prompts {
				for j := range 60 {
					id := 100 + j
					if j >= 40 {
						id += 7 * i
					}
					prompts[i] = append(prompts[i], int32(id))
				}
			}
			opts := generate.DefaultOptions()
			opts.MaxNewTokens, g.Slots = 64, len(prompts)
			tokens := 0
			run := func() {
				answers, err := g.Generate(b.Context(), prompts, opts)
				if err != nil {
					b.Fatal(err)
				}
				for _, a := range answers {
					tokens += len(a.IDs)
				}
			}
			run() // compile
			tokens = 0
			for b.Loop() {
				run()
			}
			b.ReportMetric(float64(tokens)/b.Elapsed().Seconds(), "tokens/s")
		})
	}
}
