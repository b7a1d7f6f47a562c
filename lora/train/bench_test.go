package train_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/gomlx/compute"

	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/lora/train"
	"github.com/impulse-salamandra/finetune/salamandra/salamandratest"
)

// examples makes n examples of random tokens: prefix tokens that all share,
// then length tokens of which the last answer are trained.
func examples(n, prefix, length, answer, vocabulary int) []dataset.Example {
	draw := rand.New(rand.NewPCG(1, 2))
	list := make([]dataset.Example, n)
	for i := range list {
		e := dataset.Example{ID: fmt.Sprintf("R%d", i), IDs: make([]int32, prefix+length), Train: make([]bool, prefix+length)}
		for j := range e.IDs {
			e.IDs[j] = int32(100 + j%7)
			if j >= prefix {
				e.IDs[j] = int32(draw.IntN(vocabulary))
			}
			e.Train[j] = j >= prefix+length-answer
		}
		list[i] = e
	}
	return list
}

// BenchmarkStep is a training step of the demonstration's model: 8 examples of
// 300 tokens, 40 of them shared, 200 trained.
func BenchmarkStep(b *testing.B) {
	backends := map[string]compute.Backend{"go": salamandratest.Go(b)}
	if x := salamandratest.XLA(b); x != nil {
		backends["xla"] = x
	}
	for name, backend := range backends {
		b.Run(name, func(b *testing.B) {
			m := salamandratest.Load(b, backend, "../../examples/impulse/demo/tiny-salamandra")
			layers, err := lora.Inject(m, lora.DefaultConfig(), 1)
			if err != nil {
				b.Fatal(err)
			}
			opts := dataset.DefaultPlanOptions()
			opts.BatchSize = 8
			plan, err := dataset.NewPlan(examples(8, 40, 260, 200, m.Config.VocabSize), opts)
			if err != nil {
				b.Fatal(err)
			}
			layers.Config.Dropout = 0
			config := train.DefaultConfig()
			config.Epochs = b.N + 1
			tr, err := train.New(m, layers, plan, nil, config)
			if err != nil {
				b.Fatal(err)
			}
			defer tr.Close()
			tokens := 0
			err = tr.Run(b.Context(), train.Hooks{Step: func(s train.Step) error {
				if s.Step == 1 { // compiled
					b.ResetTimer()
				} else {
					tokens += s.SequenceTokens
				}
				return nil
			}})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(tokens)/b.Elapsed().Seconds(), "tokens/s")
		})
	}
}
