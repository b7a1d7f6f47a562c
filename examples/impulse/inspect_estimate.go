package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/dataset/inspect"
	"github.com/impulse-salamandra/finetune/lora/train"
	"github.com/impulse-salamandra/finetune/salamandra/device"
	"github.com/impulse-salamandra/finetune/salamandra/llama"
)

// estimate says what a training on the plans of a report would take.
func (o *inspectOptions) estimate(base string, r *inspect.Report) ([]inspect.Fact, error) {
	config, err := llama.ReadConfig(base)
	if err != nil {
		return nil, err
	}
	steps, pass := o.Train.TotalSteps(r.Train), o.Train
	pass.Epochs, pass.MaxSteps = 1, 0
	epochs := float64(steps) / float64(pass.TotalSteps(r.Train))
	dev, err := device.Open(o.Backend)
	if err != nil {
		return nil, err
	}
	defer dev.Close()
	facts := []inspect.Fact{{Name: "steps", Value: fmt.Sprintf("%d in %.3g epochs", steps, epochs)}}
	memory, err := o.Memory(dev, config, r.Train, r.Eval)
	switch {
	case errors.Is(err, train.ErrMemory):
		facts = append(facts, inspect.Fact{Name: "memory", Value: err.Error()})
	case err != nil:
		return nil, err
	default:
		facts = append(facts, inspect.Fact{Name: "memory", Value: memory.String()})
	}
	operations := epochs * passOperations(config, r.Train, true, memory.Checkpointing)
	if r.Eval != nil {
		operations += epochs * passOperations(config, r.Eval, false, false)
	}
	speed, how := o.TFLOPS*1e12, "--tflops"
	if speed == 0 {
		opts := dev.Options
		opts.Dtype = o.Dtype
		dtype, err := opts.DTypeOn(dev.Backend, config)
		if err != nil {
			return nil, err
		}
		if speed, err = productSpeed(dev.Backend, config, dtype, r.Train); err != nil {
			return nil, err
		}
		how = fmt.Sprintf("a product of matrices of this model here, %s on %s", dtype, dev.Backend.Name())
	}
	took := time.Duration(operations / speed * float64(time.Second))
	return append(facts, []inspect.Fact{
		{Name: "work", Value: fmt.Sprintf("%.3g TFLOP", operations/1e12)},
		{Name: "time", Value: fmt.Sprintf("about %s, at %.3g TFLOP/s by %s; compilation, checkpoints and answers not counted", roundTime(took), speed/1e12, how)},
	}...), nil
}

// passOperations counts the multiplications and additions of products of
// matrices in one pass over a plan. Beside the forward pass a step has the
// gradients of the activations: linear layers, which are frozen, have no other,
// the products of attention have two.
func passOperations(c llama.Config, plan *dataset.Plan, step, checkpointing bool) float64 {
	linear := 0.0 // numbers in the linear layers of all blocks
	for _, t := range c.Tensors() {
		if strings.HasPrefix(t.Name, "model.layers.") && len(t.Shape) == 2 {
			linear += float64(t.Shape[0]) * float64(t.Shape[1])
		}
	}
	forLinear, forAttention, forHead := 1.0, 1.0, 1.0
	if step {
		forLinear, forAttention, forHead = 2, 3, 2
	}
	if checkpointing {
		forLinear, forAttention = forLinear+1, forAttention+1
	}
	total, prefix := 0.0, float64(len(plan.Prefix))
	for _, s := range plan.Shapes {
		rows, suffix := float64(s.B), float64(s.S)
		tokens := prefix + rows*suffix
		pairs := prefix*prefix/2 + rows*suffix*(prefix+suffix/2) // of a token and one it attends to
		batch := forLinear*2*linear*tokens +
			forAttention*4*float64(c.NumHiddenLayers*c.NumAttentionHeads*c.HeadDim)*pairs +
			forHead*2*float64(c.VocabSize)*float64(c.HiddenSize)*float64(s.N)
		total += float64(s.Batches) * batch
	}
	return total
}

// productSpeed measures operations per second of a product as large as those of
// the feed-forward layers in a step.
func productSpeed(backend compute.Backend, c llama.Config, dtype dtypes.DType, plan *dataset.Plan) (float64, error) {
	tokens := 0
	for _, s := range plan.Shapes {
		tokens = max(tokens, len(plan.Prefix)+s.B*s.S)
	}
	// A sum comes back, so that no result is copied.
	product, err := graph.NewExec(backend, func(x, w *graph.Node) *graph.Node {
		x, w = graph.ConvertDType(x, dtype), graph.ConvertDType(w, dtype)
		return graph.ReduceAllSum(graph.ConvertDType(graph.DotGeneral(x, []int{1}, nil, w, []int{1}, nil), dtypes.Float32))
	})
	if err != nil {
		return 0, err
	}
	defer product.Finalize()
	x := tensors.FromFlatDataAndDimensions(make([]float32, tokens*c.HiddenSize), tokens, c.HiddenSize)
	w := tensors.FromFlatDataAndDimensions(make([]float32, c.IntermediateSize*c.HiddenSize), c.IntermediateSize, c.HiddenSize)
	defer x.FinalizeAll()
	defer w.FinalizeAll()
	call := func() error {
		out, err := product.Call(x, w)
		if err != nil {
			return err
		}
		_ = tensors.ToScalar[float32](out[0])
		return out[0].FinalizeAll()
	}
	if err := call(); err != nil { // compiles
		return 0, err
	}
	start, calls := time.Now(), 0
	for calls == 0 || time.Since(start) < 300*time.Millisecond {
		if err := call(); err != nil {
			return 0, err
		}
		calls++
	}
	operations := 2 * float64(tokens) * float64(c.HiddenSize) * float64(c.IntermediateSize)
	return float64(calls) * operations / time.Since(start).Seconds(), nil
}
