package train_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/gomlx/compute"

	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/lora/train"
	"github.com/impulse-salamandra/finetune/salamandra"
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

// benchmarkSteps trains on the examples, all in one batch, and reports the time
// of the first step, which compiles, apart from the others.
func benchmarkSteps(b *testing.B, m *salamandra.Model, list []dataset.Example) {
	layers, err := lora.Inject(m, lora.DefaultConfig(), 1)
	if err != nil {
		b.Fatal(err)
	}
	layers.Config.Dropout = 0
	opts := dataset.DefaultPlanOptions()
	opts.BatchSize = len(list)
	plan, _, err := dataset.NewPlan(list, nil, opts)
	if err != nil {
		b.Fatal(err)
	}
	config := train.DefaultConfig()
	config.Epochs = 1 << 30
	tr, err := train.New(m, layers, plan, nil, config)
	if err != nil {
		b.Fatal(err)
	}
	defer tr.Close()
	done := errors.New("done")
	var first, last train.Step
	err = tr.Run(b.Context(), train.Hooks{Step: func(s train.Step) error {
		if last = s; s.Step == 1 {
			first = s
		}
		if b.Loop() { // the first call starts the clock
			return nil
		}
		return done
	}})
	if !errors.Is(err, done) {
		b.Fatal(err)
	}
	second := b.Elapsed().Seconds() / float64(last.Step-1)
	b.ReportMetric(float64(last.SequenceTokens)/second, "tokens/s")
	b.ReportMetric(float64(len(list))/second, "examples/s")
	b.ReportMetric(first.Duration.Seconds(), "s-first")
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
			benchmarkSteps(b, m, examples(8, 40, 260, 200, m.Config.VocabSize))
		})
	}
}

// job is a batch and the model that it trains.
type job struct{ batch, prefix, suffix, layers int }

// costModel has the widths of SmolLM2-135M, and fewer tokens.
var costModel = salamandratest.Shape{Vocabulary: 8192, Hidden: 576, Intermediate: 1536, Heads: 9, KVHeads: 3}

// flops estimates the products of a step: forward, and the gradient by what goes
// in, since weights are frozen; scores once more, as they are not kept. Trained are
// three quarters of a suffix: only they go through most of the last block and the
// head.
func (j job) flops() float64 {
	m := costModel
	keys := 2 * float64(m.Hidden*m.Hidden/m.Heads*m.KVHeads) // and values
	others := float64(2*m.Hidden*m.Hidden + 3*m.Hidden*m.Intermediate)
	p, rows := float64(j.prefix), float64(j.batch*j.suffix)
	context, trained := p+float64(j.suffix)/2, 0.75*rows
	scores := func(pairs float64) float64 { return 2 * 7 * pairs * float64(m.Hidden) }
	block := 4*(p+rows)*(keys+others) + scores(p*p/2+rows*context)
	last := 4*((p+rows)*keys+trained*others) + scores(trained*context)
	return float64(j.layers-1)*block + last + 4*trained*float64(m.Vocabulary*m.Hidden)
}

// BenchmarkCost varies one size of a step at a time. "work" is what the products
// take, "growth" the measured time, both over those of the first job.
func BenchmarkCost(b *testing.B) {
	backend := salamandratest.Go(b)
	if x := salamandratest.XLA(b); x != nil {
		backend = x
	}
	base := job{batch: 4, prefix: 1024, suffix: 128, layers: 4}
	jobs := []job{base}
	for _, n := range []int{1, 8, 16} {
		jobs = append(jobs, job{n, base.prefix, base.suffix, base.layers})
	}
	for _, n := range []int{0, 256, 2048} {
		jobs = append(jobs, job{base.batch, n, base.suffix, base.layers})
	}
	for _, n := range []int{64, 256, 512} {
		jobs = append(jobs, job{base.batch, base.prefix, n, base.layers})
	}
	for _, n := range []int{2, 8, 16} {
		jobs = append(jobs, job{base.batch, base.prefix, base.suffix, n})
	}
	baseTime := 0.0
	for _, j := range jobs {
		b.Run(fmt.Sprintf("batch=%d/prefix=%d/suffix=%d/layers=%d", j.batch, j.prefix, j.suffix, j.layers), func(b *testing.B) {
			shape := costModel
			shape.Layers = j.layers
			m := salamandratest.Load(b, backend, salamandratest.Random(b, shape))
			benchmarkSteps(b, m, examples(j.batch, j.prefix, j.suffix, j.suffix*3/4, shape.Vocabulary))
			second := b.Elapsed().Seconds() / float64(b.N)
			if j == base {
				baseTime = second
			}
			b.ReportMetric(j.flops()/base.flops(), "work")
			b.ReportMetric(second/baseTime, "growth")
			b.ReportMetric(j.flops()/second/1e9, "GFLOP/s")
		})
	}
}
