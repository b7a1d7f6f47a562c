package lora

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/gomlx/compute"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/impulse-salamandra/finetune/salamandra"
	"github.com/impulse-salamandra/finetune/salamandra/llama"
)

// mergedCheck says what [compareMerged] compares a merged model with. Base,
// Attach and Prompts are needed.
type mergedCheck struct {
	// Base is the directory of the model that was merged into.
	Base string
	// Attach gives the adapter that was merged, on the base; see Attach.
	Attach func(base *salamandra.Model) (salamandra.Adapter, error)
	// Quantize is how the base is loaded, as in [salamandra.Options].
	Quantize string
	// Prompts are ids. The logits after the last of each are compared.
	Prompts [][]int32
	// Dtype is what both models compute in, as in [salamandra.Options]; empty for
	// "float32", in which the least is lost. They are loaded one after the
	// other.
	Dtype string
	// Tolerance is the largest Error allowed, as a part of Effect; 0 for 1e-3
	// where the merged weights are stored in float32, and 0.25 where they were
	// rounded to 16 bits.
	Tolerance float64
}

// MergedDifference says how far apart logits are. Differences are root mean
// squares over all prompts and tokens.
type MergedDifference struct {
	Prompts int
	Effect  float64 // of the adapter: between base, and base and adapter
	Error   float64 // of the merge: between base and adapter, and merged model
	Allowed float64 // largest Error that is accepted
	Largest float64 // largest single difference that makes up Error
	// SameToken counts the prompts after which both find the same token
	// likeliest.
	SameToken int
}

// String returns the difference in one line.
func (d MergedDifference) String() string {
	return fmt.Sprintf("logits after %d prompts are off by %.2g, at most %.2g (allowed %.2g; the adapter moves them by %.2g), likeliest token equal %d times",
		d.Prompts, d.Error, d.Largest, d.Allowed, d.Effect, d.SameToken)
}

// compareMerged loads a base and then the model in dir, merged from it, and
// compares their logits, as MergeOptions.Verify asks for. It fails
// if the merged model is farther from base and adapter than Tolerance allows,
// beside the rounding of the computation itself: so is one that was made from
// another base or adapter, or merged twice, or whose update was lost in rounding.
func compareMerged(ctx context.Context, backend compute.Backend, dir string, c mergedCheck) (MergedDifference, error) {
	if c.Base == "" || c.Attach == nil || len(c.Prompts) == 0 || c.Tolerance < 0 {
		return MergedDifference{}, fmt.Errorf("lora: merged check: Base, Attach and Prompts are needed, Tolerance is 0 or more")
	}
	if c.Dtype == "" {
		c.Dtype = "float32"
	}
	var base, adapted, merged [][]float32
	err := c.withModel(ctx, backend, c.Base, c.Quantize, func(m *salamandra.Model) error {
		adapter, err := c.Attach(m)
		if err != nil {
			return err
		}
		if base, err = logitsAfter(ctx, m, nil, c.Prompts); err != nil {
			return err
		}
		adapted, err = logitsAfter(ctx, m, adapter, c.Prompts)
		return err
	})
	if err != nil {
		return MergedDifference{}, err
	}
	var allowed float64
	err = c.withModel(ctx, backend, dir, "", func(m *salamandra.Model) error {
		allowed, err = c.tolerance(dir)
		if err != nil {
			return err
		}
		merged, err = logitsAfter(ctx, m, nil, c.Prompts)
		return err
	})
	if err != nil {
		return MergedDifference{}, err
	}
	return c.compare(base, adapted, merged, allowed)
}

// withModel calls f with a model that is loaded for the call.
func (c mergedCheck) withModel(ctx context.Context, backend compute.Backend, dir, quantized string, f func(*salamandra.Model) error) error {
	m, err := salamandra.Load(ctx, backend, dir, salamandra.Options{Dtype: c.Dtype, Quantize: quantized})
	if err != nil {
		return err
	}
	return errors.Join(f(m), m.Close())
}

// tolerance returns Tolerance or what it is by default for the model in dir.
func (c mergedCheck) tolerance(dir string) (float64, error) {
	if c.Tolerance > 0 {
		return c.Tolerance, nil
	}
	config, err := llama.ReadConfig(dir)
	if err == nil && config.TorchDtype == "float32" {
		return 1e-3, nil
	}
	return 0.25, err
}

// noise is how far logits are apart, as a part of their size, for no other
// reason than the order of sums in the dtype computed in.
var noise = map[string]float64{"float32": 1e-5, "float16": 4e-3, "bfloat16": 3e-2, "auto": 3e-2}

// compare returns the difference, and an error where it is too large.
func (c mergedCheck) compare(base, adapted, merged [][]float32, tolerance float64) (MergedDifference, error) {
	d := MergedDifference{Prompts: len(base)}
	var effect, off, size float64
	n := 0
	for i, want := range adapted {
		n += len(want)
		for j, w := range want {
			moved, wrong := float64(w-base[i][j]), float64(merged[i][j]-w)
			effect += moved * moved
			off += wrong * wrong
			size += float64(w) * float64(w)
			d.Largest = max(d.Largest, math.Abs(wrong))
		}
		if likeliest(want) == likeliest(merged[i]) {
			d.SameToken++
		}
	}
	d.Effect, d.Error = math.Sqrt(effect/float64(n)), math.Sqrt(off/float64(n))
	d.Allowed = tolerance*d.Effect + noise[c.Dtype]*math.Sqrt(size/float64(n))
	if !(d.Error <= d.Allowed) { // NaN is not
		return d, fmt.Errorf("lora: the merged model does not compute what base and adapter do: %v", d)
	}
	return d, nil
}

// likeliest returns the token with the largest logit.
func likeliest(logits []float32) int { return slices.Index(logits, slices.Max(logits)) }

// logitsAfter returns the logits [V] after each prompt. Prompts are filled up to
// one length, so that one program computes all.
func logitsAfter(ctx context.Context, m *salamandra.Model, adapter salamandra.Adapter, prompts [][]int32) ([][]float32, error) {
	layout := salamandra.SharedPrefix{B: 1}
	for i, ids := range prompts {
		if len(ids) == 0 {
			return nil, fmt.Errorf("lora: prompt %d is empty", i)
		}
		if err := m.Config.CheckIDs(ids); err != nil {
			return nil, fmt.Errorf("lora: prompt %d: %w", i, err)
		}
		layout.S = max(layout.S, len(ids))
	}
	p, err := m.NewProgram("logits after prompts", adapter, func(t salamandra.Transformer, args []*Node) []*Node {
		x := t.BlocksAt(t.Embed(args[0]), layout.Positions(args[0].Graph()), layout, 0, args[1])
		return []*Node{t.Logits(x)}
	})
	if err != nil {
		return nil, err
	}
	defer p.Close()
	var all [][]float32
	for _, ids := range prompts {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		tokens, err := m.Tokens(append(slices.Clone(ids), make([]int32, layout.S-len(ids))...))
		if err != nil {
			return nil, err
		}
		out, err := p.Call(salamandra.Donate(tokens), []int32{int32(len(ids) - 1)})
		if err != nil {
			return nil, err
		}
		logits, err := tensors.CopyFlatData[float32](out[0])
		if err != nil {
			return nil, fmt.Errorf("lora: %w", err)
		}
		_ = out[0].FinalizeAll() // an error means that it is freed already
		all = append(all, logits)
	}
	return all, nil
}
