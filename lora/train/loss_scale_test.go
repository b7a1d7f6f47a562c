package train

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/impulse-salamandra/finetune/salamandra"
	"github.com/impulse-salamandra/finetune/salamandra/salamandratest"
)

// TestLossScaleGolden repeats what torch.amp.GradScaler and AdamW make of gradients
// some of which overflow: which steps are skipped, the scale after each, and the
// parameters, to which a skipped step does not count.
func TestLossScaleGolden(t *testing.T) {
	var golden struct {
		Start        []float32    `json:"start"`
		LearningRate float64      `json:"learning_rate"`
		Decay        float64      `json:"decay"`
		Growth       [][2]float64 `json:"growth"`
		Steps        []struct {
			Gradient   []float32 `json:"gradient"`
			Overflows  bool      `json:"overflows"`
			Scale      float64   `json:"scale"`
			Parameters []float32 `json:"parameters"`
		} `json:"steps"`
	}
	text, err := os.ReadFile("testdata/grad_scaler.json")
	if err == nil {
		err = json.Unmarshal(text, &golden)
	}
	if err != nil {
		t.Fatal(err)
	}

	c := DefaultConfig()
	c.WeightDecay, c.MaxGradNorm = 0.01, 0
	tr := &Trainer{config: c}
	tr.state.LossScale = &lossScale{Scale: firstScale}
	exec, err := NewExec(salamandratest.Go(t), func(in []*Node) []*Node { return adamW(c, nil, in[0], in[1], in[2], in[3], in[4]) })
	if err != nil {
		t.Fatal(err)
	}
	defer exec.Finalize()
	params, m, v := golden.Start, make([]float32, len(golden.Start)), make([]float32, len(golden.Start))
	for i, g := range golden.Steps {
		if g.Overflows {
			g.Gradient[2] = float32(math.Inf(1))
		}
		rate := golden.LearningRate * math.Pow(golden.Decay, float64(tr.updates()))
		out, err := exec.Call(params, m, v, g.Gradient, adamScalars(c, tr.updates()+1, 1, rate))
		if err != nil {
			t.Fatal(err)
		}
		params, m, v = tensors.MustCopyFlatData[float32](out[0]), tensors.MustCopyFlatData[float32](out[1]), tensors.MustCopyFlatData[float32](out[2])
		s := Step{Step: i + 1, Loss: 1, GradNorm: float64(tensors.ToScalar[float32](out[3]))}
		if err := tr.overflowed(&s); err != nil {
			t.Fatal(err)
		}
		tr.state.Step++
		if s.Skipped != g.Overflows || tr.state.LossScale.Scale != g.Scale {
			t.Fatalf("step %d: skipped %v, scale %v, want %v and %v", i, s.Skipped, tr.state.LossScale.Scale, g.Overflows, g.Scale)
		}
		salamandratest.Near(t, "parameters", params, g.Parameters, 1e-6, 0)
	}

	l, at := lossScale{Scale: firstScale}, 0
	for i := range 9000 {
		before := l.Scale
		l.update(i == 3 || i == 2100 || i == 6104)
		if l.Scale == before {
			continue
		}
		if at == len(golden.Growth) || golden.Growth[at] != [2]float64{float64(i), l.Scale} {
			t.Fatalf("after step %d the scale is %v, want %v", i, l.Scale, golden.Growth)
		}
		at++
	}
	if at != len(golden.Growth) || l.Skipped != 3 {
		t.Errorf("%d changes, %d skipped", at, l.Skipped)
	}
}

// TestFloat16 trains in float16 from a scale that overflows: steps are skipped until
// it does not, and count; losses are those of float32 then, within float16's
// precision, and the state of the scale is one of the run.
func TestFloat16(t *testing.T) {
	dir := salamandratest.Reference(t, "models", "tiny-gqa")
	adapter := filepath.Join(dir, "golden", "adapter-lora")
	b := salamandratest.XLA(t)
	if b == nil {
		t.Skip("the Go backend has no gradient of an embedding in float16")
	}
	run := func(dtype string, scale float64) (losses []float64, skipped int, tr *Trainer) {
		m, err := salamandra.Load(t.Context(), b, dir, salamandra.Options{Dtype: dtype})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = m.Close() })
		config := DefaultConfig()
		config.Epochs, config.Scheduler, config.WarmupSteps = 6, "constant", 0
		tr, _ = newTrainer(t, m, adapter, newPlan(t, prefixed(t, dir), nil), config)
		tr.eval = nil
		if tr.state.LossScale != nil {
			tr.state.LossScale.Scale = scale
		}
		err = tr.Run(t.Context(), Hooks{Step: func(s Step) error {
			if s.Skipped {
				skipped++
			} else {
				losses = append(losses, s.Loss)
			}
			return nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		return losses, skipped, tr
	}
	want, _, single := run("float32", 0)
	if single.state.LossScale != nil {
		t.Error("a scale in float32")
	}
	got, skipped, tr := run("float16", 1<<13)
	if skipped == 0 || skipped == 6 {
		t.Fatalf("%d of 6 steps skipped", skipped)
	}
	if l := tr.state.LossScale; l.Skipped != skipped || l.Scale != math.Ldexp(1, 13-skipped) || tr.updates() != 6-skipped || tr.state.Step != 6 {
		t.Errorf("%+v after %d steps, %d skipped", l, tr.state.Step, skipped)
	}
	for i, loss := range got {
		if math.Abs(loss-want[i]) > 0.01*want[i] {
			t.Errorf("update %d: loss %v in float16, %v in float32", i, loss, want[i])
		}
	}
}

// TestFloat16Ends: where the forward pass overflows, or every scale does, the run
// ends and says what to do.
func TestFloat16Ends(t *testing.T) {
	inf := math.Inf(1)
	for _, row := range []struct {
		scale float64
		s     Step
		skip  bool
		fails bool
	}{
		{64, Step{Loss: 1, GradNorm: 1}, false, false},
		{64, Step{Loss: 1, GradNorm: inf}, true, false},
		{64, Step{Loss: inf, GradNorm: math.NaN()}, false, true},
		{leastScale, Step{Loss: 1, GradNorm: inf}, false, true},
	} {
		skip, err := (&lossScale{Scale: row.scale}).skips(row.s)
		if skip != row.skip || (err != nil) != row.fails {
			t.Errorf("%+v: %v, %v", row, skip, err)
		}
	}
}
