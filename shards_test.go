package finetune_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/impulse-salamandra/finetune"
	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/lora/train"
	"github.com/impulse-salamandra/finetune/salamandra/salamandratest"
)

// severalDevices skips a test where XLA's virtual devices are not there.
func severalDevices(t *testing.T) string {
	t.Helper()
	if b := salamandratest.XLA(t); b == nil || b.NumDevices() < 4 {
		t.Skip("needs four devices: XLA on a CPU has as many (GOMLX_BACKEND=xla:cpu)")
	}
	return os.Getenv("GOMLX_BACKEND")
}

// TestTrainOnDevices: held-out questions are answered on all devices, with the scores,
// and in the end the adapter, of one. A model on two devices, and one in shards,
// answers as a whole one on one does.
func TestTrainOnDevices(t *testing.T) {
	backend := severalDevices(t)
	run := func(devices string) (dir string, evaluations []train.Evaluation) {
		o := ticketTraining(t, filepath.Join(t.TempDir(), "out"))
		o.Backend, o.Devices, o.Metric, o.Samples = backend, devices, "validity", 1
		o.Train.Epochs, o.Train.MaxSteps, o.Train.GradientAccumulationSteps = 1, 1, 2
		o.Hooks.Evaluation = func(e train.Evaluation) error { evaluations = append(evaluations, e); return nil }
		_, err := finetune.Train(t.Context(), o)
		check(t, err)
		return o.OutputDir, evaluations
	}
	weights := func(dir string) []byte {
		data, err := os.ReadFile(filepath.Join(dir, lora.WeightsFile))
		check(t, err)
		return data
	}
	samples := func(dir string) string {
		data, err := os.ReadFile(filepath.Join(dir, "samples.jsonl"))
		check(t, err)
		return string(data)
	}
	one, want := run("1")
	two, got := run("2")
	if len(want) == 0 || len(want) != len(got) || got[0].Loss != want[0].Loss || *got[0].Score != *want[0].Score || !slices.Equal(weights(one), weights(two)) || samples(one) != samples(two) {
		t.Errorf("two devices: %+v, want %+v", got, want)
	}
	ask := func(o finetune.Options) (texts []string) {
		o.Backend, o.NoWarmUp, o.Slots = backend, true, 1
		m, err := finetune.Open(t.Context(), one, o)
		check(t, err)
		defer m.Close()
		answers, err := m.AskAll(t.Context(), []string{"screen: cas 99", "other: cas 98", "network: cas 97"}, finetune.AskOptions{Unconstrained: true, MaxNewTokens: 6})
		check(t, err)
		for _, a := range answers {
			texts = append(texts, a.Text)
		}
		return texts
	}
	whole := ask(finetune.Options{})
	for _, o := range []finetune.Options{{Shards: 2}, {Devices: "2"}} {
		if got := ask(o); !slices.Equal(got, whole) || slices.Contains(whole, "") {
			t.Errorf("in %d shards, on devices %q: %q, want %q", o.Shards, o.Devices, got, whole)
		}
	}
}

// TestShardsRefused: what cannot be divided, and devices that are not as many.
func TestShardsRefused(t *testing.T) {
	backend := severalDevices(t)
	for _, row := range []struct {
		change func(*finetune.TrainOptions)
		want   string
	}{
		{func(o *finetune.TrainOptions) { o.Shards = 3 }, "Shards 3: the model's"},
		{func(o *finetune.TrainOptions) { o.Shards, o.Quantize = 2, "4bit" }, "quantised to 4bit is not divided"},
		{func(o *finetune.TrainOptions) { o.Shards, o.Devices = 2, "4" }, "Shards 2 and Devices 4, which are 4"},
		{func(o *finetune.TrainOptions) { o.Shards = -1 }, "Shards -1, want 1 or more"},
	} {
		o := ticketTraining(t, t.TempDir())
		o.Backend, o.DryRun = backend, true
		row.change(&o)
		if _, err := finetune.Train(t.Context(), o); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%v, want %q", err, row.want)
		}
	}
	o := ticketTraining(t, t.TempDir())
	o.Backend, o.DryRun, o.Shards = backend, true, 2
	if r, err := finetune.Train(t.Context(), o); err != nil || !strings.Contains(r.Plan.String(), "base: divided among 2 devices") {
		t.Errorf("%v, plan %v", err, r.Plan)
	}
	_, err := finetune.Open(t.Context(), salamandratest.Reference(t, "models", "tiny-mha"), finetune.Options{Backend: backend, Shards: 3})
	if err == nil || !strings.Contains(err.Error(), "Shards 3: the model's") {
		t.Error(err)
	}
}
