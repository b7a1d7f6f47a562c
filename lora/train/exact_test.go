package train

import (
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/salamandra"
	"github.com/impulse-salamandra/finetune/salamandra/salamandratest"
)

// This file compares what does less work with what does all of it.

// prefixed puts the same tokens before each of the golden sequences.
func prefixed(t *testing.T, dir string) []dataset.Example {
	t.Helper()
	system := []int32{4, 557, 398, 134, 979, 996, 900, 901, 902, 903, 904}
	var examples []dataset.Example
	for i, e := range goldenExamples(t, dir) {
		e.IDs = append(append([]int32{}, system...), e.IDs...)
		e.Train = append(make([]bool, len(system)), e.Train...)
		require.False(t, e.Train[len(system)], "sequence %d", i)
		examples = append(examples, e)
	}
	return examples
}

// sumsOf are the loss and gradient sums of one batch of all examples.
func sumsOf(t *testing.T, m *salamandra.Model, adapter string, examples []dataset.Example, config Config, change func(*dataset.PlanOptions)) (float64, map[string][]float32, dataset.Batch) {
	t.Helper()
	plan := newPlan(t, examples, change)
	batch, err := plan.Batch(plan.Epoch(0, 0)[0])
	require.NoError(t, err)
	tr, layers := newTrainer(t, m, adapter, plan, config)
	loss, gradients := gradientsOf(t, tr, layers, batch)
	return loss, gradients, batch
}

// TestSharedPrefixIsExact compares a batch with a shared prefix with the same
// sequences computed in full: with and without loss on the prefix, and with
// checkpointing on and off.
func TestSharedPrefixIsExact(t *testing.T) {
	dir := salamandratest.Reference(t, "models", "tiny-gqa")
	examples := prefixed(t, dir)
	adapter := filepath.Join(dir, "golden", "adapter-lora")
	salamandratest.OnEach(t, func(t *testing.T, b compute.Backend) {
		m := salamandratest.Load(t, b, dir)
		for _, all := range []bool{false, true} {
			wantLoss, want, full := sumsOf(t, m, adapter, examples, DefaultConfig(), func(o *dataset.PlanOptions) { o.SharedPrefix, o.LossAll = false, all })
			require.Zero(t, full.P)
			for _, checkpointing := range []bool{false, true} {
				t.Run(fmt.Sprintf("loss on all %v, checkpointing %v", all, checkpointing), func(t *testing.T) {
					config := DefaultConfig()
					config.GradientCheckpointing, config.HeadChunk = checkpointing, 16
					loss, got, shared := sumsOf(t, m, adapter, examples, config, func(o *dataset.PlanOptions) { o.LossAll = all })
					require.GreaterOrEqual(t, shared.P, 11)
					require.Equal(t, full.TrainedTokens, shared.TrainedTokens)
					require.InEpsilon(t, wantLoss, loss, 1e-6)
					for name, w := range want {
						salamandratest.Near(t, name, got[name], w, 0, 1e-5)
					}
				})
			}
		}
	})
}

// TestCheckpointingDrawsAgain: with dropout, checkpointing computes the same
// numbers, because it draws the same masks again.
func TestCheckpointingDrawsAgain(t *testing.T) {
	dir := salamandratest.Reference(t, "models", "tiny-gqa")
	examples := prefixed(t, dir)
	salamandratest.OnEach(t, func(t *testing.T, b compute.Backend) {
		m := salamandratest.Load(t, b, dir)
		adapter := filepath.Join(dir, "golden", "adapter-lora")
		run := func(p float64, config Config) (float64, map[string][]float32) {
			plan := newPlan(t, examples, nil)
			batch, err := plan.Batch(plan.Epoch(0, 0)[0])
			require.NoError(t, err)
			tr, layers := newTrainer(t, m, adapter, plan, config)
			layers.Config.Dropout = p
			return gradientsOf(t, tr, layers, batch)
		}
		plain, _ := run(0, DefaultConfig())
		wantLoss, want := run(0.3, DefaultConfig())
		require.NotEqual(t, plain, wantLoss, "dropout does something")
		config := DefaultConfig()
		config.GradientCheckpointing = true
		loss, got := run(0.3, config)
		require.InEpsilon(t, wantLoss, loss, 1e-6)
		for name, w := range want {
			salamandratest.Near(t, name, got[name], w, 0, 1e-5)
		}
	})
}

// TestBFloat16Gradients: with the base in bfloat16 the gradients of the float32
// adapter point where those of a float32 base do.
func TestBFloat16Gradients(t *testing.T) {
	dir := salamandratest.Reference(t, "models", "tiny-gqa")
	examples := prefixed(t, dir)
	adapter := filepath.Join(dir, "golden", "adapter-lora")
	salamandratest.OnEach(t, func(t *testing.T, b compute.Backend) {
		wantLoss, want, _ := sumsOf(t, salamandratest.Load(t, b, dir), adapter, examples, DefaultConfig(), nil)
		m, err := salamandra.Load(t.Context(), b, dir, salamandra.Options{Dtype: "bfloat16"})
		require.NoError(t, err)
		defer m.Close()
		for _, checkpointing := range []bool{false, true} {
			config := DefaultConfig()
			config.GradientCheckpointing = checkpointing
			loss, got, _ := sumsOf(t, m, adapter, examples, config, nil)
			require.InEpsilon(t, wantLoss, loss, 1e-2)
			require.NotEqual(t, wantLoss, loss, "float32 was at work")
			requireAlike(t, want, got)
		}
	})
}

// requireAlike compares gradients that 16 bits set apart by direction and length.
func requireAlike(t *testing.T, want, got map[string][]float32) {
	t.Helper()
	var dot, lengthGot, lengthWant float64
	for name, w := range want {
		for i, x := range w {
			y := got[name][i]
			dot, lengthGot, lengthWant = dot+float64(x*y), lengthGot+float64(y*y), lengthWant+float64(x*x)
		}
	}
	require.Greater(t, dot/math.Sqrt(lengthGot*lengthWant), 0.999, "cosine of the angle between them")
	require.InEpsilon(t, lengthWant, lengthGot, 0.02)
}

// TestFusedAttention compares loss and gradients by the executor's attention
// with those by matrix products, for a shared prefix and for plain rows.
func TestFusedAttention(t *testing.T) {
	dir := salamandratest.Reference(t, "models", "tiny-gqa")
	adapter := filepath.Join(dir, "golden", "adapter-lora")
	draw := rand.New(rand.NewPCG(7, 8))
	examples := prefixed(t, dir)
	system := make([]int32, 70)
	for i := range system {
		system[i] = draw.Int32N(2000)
	}
	for i, e := range examples {
		examples[i].IDs = append(append([]int32{}, system...), e.IDs...)
		examples[i].Train = append(make([]bool, len(system)), e.Train...)
	}
	salamandratest.OnFused(t, func(t *testing.T, b compute.Backend) {
		run := func(plain, shared, checkpointing, byBlocks bool) (float64, map[string][]float32) {
			m, err := salamandra.Load(t.Context(), b, dir, salamandra.Options{Dtype: "bfloat16", PlainAttention: plain})
			require.NoError(t, err)
			defer m.Close()
			config := DefaultConfig()
			config.GradientCheckpointing = checkpointing
			plan := newPlan(t, examples, func(o *dataset.PlanOptions) { o.SharedPrefix = shared })
			batch, err := plan.Batch(plan.Epoch(0, 0)[0])
			require.NoError(t, err)
			tr, layers := newTrainer(t, m, adapter, plan, config)
			tr.byBlocks = byBlocks
			return gradientsOf(t, tr, layers, batch)
		}
		for shared, operations := range map[bool]int{false: 4, true: 3} { // the last layer has no queries in the prefix
			wantLoss, want := run(true, shared, false, false)
			for _, k := range []struct{ checkpointing, byBlocks bool }{{false, false}, {true, false}, {true, true}} {
				operations := operations
				if k.byBlocks {
					operations -= 2 // one program for three layers
				}
				standIn, ok := b.(*salamandratest.FusedAttention)
				if ok {
					standIn.Backward.Store(0)
				}
				loss, got := run(false, shared, k.checkpointing, k.byBlocks)
				require.InEpsilon(t, wantLoss, loss, 3e-3)
				requireAlike(t, want, got)
				if ok {
					require.EqualValues(t, operations, standIn.Backward.Load())
				}
			}
		}
	})
}

// TestHeadChunks compares the head in chunks, whose gradient is made in the
// forward pass, with the plain loss and its automatic gradient.
func TestHeadChunks(t *testing.T) {
	dir := salamandratest.Reference(t, "models", "tiny-mha")
	const places = 50
	draw := rand.New(rand.NewPCG(3, 4))
	salamandratest.OnEach(t, func(t *testing.T, b compute.Backend) {
		m := salamandratest.Load(t, b, dir)
		h := make([]float32, places*m.Config.HiddenSize)
		for i := range h {
			h[i] = float32(draw.NormFloat64())
		}
		labels, weights := make([]int32, places), make([]float32, places)
		for i := range labels {
			labels[i], weights[i] = draw.Int32N(int32(m.Config.VocabSize)), float32(i%4) // some padding
		}
		run := func(build func(tr salamandra.Transformer, h, labels, weights *Node) (loss, dh *Node)) (float64, []float32) {
			p, err := m.NewProgram("head", nil, func(tr salamandra.Transformer, in []*Node) []*Node {
				loss, dh := build(tr, in[0], in[1], in[2])
				return []*Node{loss, dh}
			})
			require.NoError(t, err)
			defer p.Close()
			out, err := p.Call(tensors.FromFlatDataAndDimensions(h, places, m.Config.HiddenSize), labels, weights)
			require.NoError(t, err)
			return float64(tensors.ToScalar[float32](out[0])), tensors.MustCopyFlatData[float32](out[1])
		}
		wantLoss, want := run(func(tr salamandra.Transformer, h, labels, weights *Node) (*Node, *Node) {
			logits := tr.Head(h)
			one := OneHot(labels, m.Config.VocabSize, dtypes.Float32)
			loss := ReduceAllSum(Mul(Neg(ReduceSum(Mul(LogSoftmax(logits, -1), one), -1)), weights))
			return loss, Gradient(loss, h)[0]
		})
		limit := 1e-6
		if b == salamandratest.Go(t) {
			limit = 3e-6 // it adds in another order where a product has fewer rows
		}
		for _, chunk := range []int{1000, places, 16, 7} {
			loss, got := run(func(tr salamandra.Transformer, h, labels, weights *Node) (*Node, *Node) {
				return headLosses(tr, h, targets{labels: labels, weights: weights}, chunk, true)
			})
			require.InEpsilon(t, wantLoss, loss, 1e-6, "chunks of %d", chunk)
			salamandratest.Near(t, fmt.Sprintf("gradient, chunks of %d", chunk), got, want, 0, limit)
		}
	})
}
