package train

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/gomlx/compute"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/salamandra"
	"github.com/impulse-salamandra/finetune/salamandra/salamandratest"
)

// BenchmarkBlocks is loss and gradient by programs of one block, in turns with one
// program of all blocks: 3 of SmolLM2-135M's, 4 rows of 336 tokens after 1,140 that they
// share. It reports the processor seconds of compiling each and, of a step, the median
// over that of one program, by the clock and by the processor.
func BenchmarkBlocks(b *testing.B) {
	backend := salamandratest.XLA(b)
	if backend == nil {
		b.Skip("no XLA plugin (set GOMLX_BACKEND=xla:/path/to/plugin.so)")
	}
	dir := salamandratest.Random(b, salamandratest.Shape{Vocabulary: 49152, Hidden: 576, Intermediate: 1536, Layers: 3, Heads: 9, KVHeads: 3})
	for _, dtype := range []string{"float32", "bfloat16"} {
		for _, checkpointing := range []bool{true, false} {
			name := fmt.Sprintf("%s/checkpointing=%v", dtype, checkpointing)
			b.Run(name, func(b *testing.B) { benchmarkBlocks(b, backend, dir, dtype, checkpointing) })
		}
	}
}

func benchmarkBlocks(b *testing.B, backend compute.Backend, dir, dtype string, checkpointing bool) {
	m, err := salamandra.Load(b.Context(), backend, dir, salamandra.Options{Dtype: dtype})
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	layers, err := lora.Inject(m, lora.DefaultConfig(), 1)
	if err != nil {
		b.Fatal(err)
	}
	opts, config := dataset.DefaultPlanOptions(), DefaultConfig()
	opts.BatchSize, config.GradientCheckpointing = 4, checkpointing
	plan, _, err := dataset.NewPlan(manyTokens(opts.BatchSize, 1140, 336), nil, opts)
	if err != nil {
		b.Fatal(err)
	}
	var steps [2]func() (clock, processor float64)
	var compiling [2]float64
	for i := range steps {
		tr, err := New(m, layers, plan, nil, config)
		if err != nil {
			b.Fatal(err)
		}
		defer tr.Close()
		tr.byBlocks = i == 1
		steps[i], compiling[i] = timedStep(b, tr)
	}
	var clock, processor [2][]float64
	for b.Loop() {
		for i, step := range steps {
			c, p := step()
			clock[i], processor[i] = append(clock[i], c), append(processor[i], p)
		}
	}
	b.ReportMetric(compiling[0], "cpu-s-compiling-one")
	b.ReportMetric(compiling[1], "cpu-s-compiling")
	median := func(x []float64) float64 { slices.Sort(x); return x[len(x)/2] }
	b.ReportMetric(median(processor[0]), "cpu-s-one")
	b.ReportMetric(median(clock[1])/median(clock[0]), "clock/one")
	b.ReportMetric(median(processor[1])/median(processor[0]), "cpu/one")
}

// manyTokens are n examples of which a prefix is shared; three quarters of the rest are
// trained.
func manyTokens(n, prefix, rest int) []dataset.Example {
	list := make([]dataset.Example, n)
	for i := range list {
		e := dataset.Example{IDs: make([]int32, prefix+rest), Train: make([]bool, prefix+rest)}
		for j := prefix; j < len(e.IDs); j++ {
			e.IDs[j], e.Train[j] = int32(1+(i+7*j)%1000), j >= prefix+rest/4
		}
		list[i] = e
	}
	return list
}

// timedStep returns a function that computes a batch once, and how long its programs
// took to compile.
func timedStep(b *testing.B, tr *Trainer) (step func() (clock, processor float64), compiling float64) {
	batch, err := tr.train.Batch(tr.train.Epoch(0, 0)[0])
	if err != nil {
		b.Fatal(err)
	}
	var p *passes
	_, compiling = timed(func() { p, err = tr.gradientProgram(inputOf(b, tr.model, batch)) })
	if err != nil {
		b.Fatal(err)
	}
	step = func() (float64, float64) {
		in := inputOf(b, tr.model, batch)
		return timed(func() {
			r, err := tr.call(p, in, tr.layers.Params())
			if err != nil {
				b.Fatal(err)
			}
			tensors.MustCopyFlatData[float32](r.gradient)
			r.free()
		})
	}
	step()
	return step, compiling
}

// timed runs f and returns its seconds, by the clock and of the processor.
func timed(f func()) (clock, processor float64) {
	start, before := time.Now(), processorTime()
	f()
	return time.Since(start).Seconds(), (processorTime() - before).Seconds()
}
