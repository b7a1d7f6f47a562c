//go:build unix

package train

import (
	"context"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/gomlx/compute"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/salamandra"
	"github.com/impulse-salamandra/finetune/salamandra/salamandratest"
)

// BenchmarkQuantizedGradients is loss and gradients on bases that are quantised, in
// turns with one that is not: blocks of SmolLM2-135M's widths, 4 rows of 128 tokens
// after 512 that they share. It reports the median of each over that of the full base,
// and the same of the processor's time, which other processes change less.
func BenchmarkQuantizedGradients(b *testing.B) {
	backend := salamandratest.Go(b)
	if x := salamandratest.XLA(b); x != nil {
		backend = x
	}
	const prefix, length, rows = 512, 128, 4
	dir := salamandratest.Random(b, salamandratest.Shape{Vocabulary: 8192, Hidden: 576, Intermediate: 1536, Layers: 4, Heads: 9, KVHeads: 3})
	var list []dataset.Example
	draw := rand.New(rand.NewPCG(1, 2))
	for range rows {
		e := dataset.Example{IDs: make([]int32, prefix+length), Train: make([]bool, prefix+length)}
		for i := prefix; i < len(e.IDs); i++ {
			e.IDs[i], e.Train[i] = int32(draw.IntN(8192)), i > prefix+length/4
		}
		list = append(list, e)
	}
	names := []string{"", "8bit", "4bit"}
	var steps []func() [2]time.Duration
	for _, quantized := range names {
		steps = append(steps, gradientStep(b, backend, dir, quantized, list))
	}
	var times [2][3][]float64
	for b.Loop() {
		for i, step := range steps {
			for kind, took := range step() {
				times[kind][i] = append(times[kind][i], took.Seconds())
			}
		}
	}
	median := func(x []float64) float64 { slices.Sort(x); return x[len(x)/2] }
	for kind, unit := range []string{"s", "processor-s"} {
		full := median(times[kind][0])
		b.ReportMetric(full, "full-"+unit)
		for i, name := range names[1:] {
			b.ReportMetric(median(times[kind][i+1])/full, name+"/full-"+unit)
		}
	}
}

// processorTime is what the process has used.
func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err) // a wrong argument
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// gradientStep returns a function that computes loss and gradients once, and says how
// long that took and what it used of the processors.
func gradientStep(b *testing.B, backend compute.Backend, dir, quantized string, list []dataset.Example) func() [2]time.Duration {
	b.Helper()
	fail := func(err error) {
		if err != nil {
			b.Fatal(err)
		}
	}
	m, err := salamandra.Load(context.Background(), backend, dir, salamandra.Options{Dtype: "float32", Quantize: quantized})
	fail(err)
	b.Cleanup(func() { _ = m.Close() })
	layers, err := lora.Inject(m, lora.DefaultConfig(), 1)
	fail(err)
	opts := dataset.DefaultPlanOptions()
	opts.BatchSize = len(list)
	plan, _, err := dataset.NewPlan(list, nil, opts)
	fail(err)
	tr, err := New(m, layers, plan, nil, DefaultConfig())
	fail(err)
	b.Cleanup(tr.Close)
	batch, err := plan.Batch(plan.Epoch(0, 0)[0])
	fail(err)
	p, err := tr.gradientProgram(inputOf(b, m, batch))
	fail(err)
	step := func() [2]time.Duration {
		start, before := time.Now(), processorTime()
		r, err := tr.call(p, inputOf(b, m, batch), layers.Params())
		fail(err)
		tensors.MustCopyFlatData[float32](r.gradient)
		took := [2]time.Duration{time.Since(start), processorTime() - before}
		r.free()
		return took
	}
	step() // without what is done once
	return step
}
