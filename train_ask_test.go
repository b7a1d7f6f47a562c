package finetune

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/lora/train"
	"github.com/impulse-salamandra/finetune/salamandra/device"
	"github.com/impulse-salamandra/finetune/salamandra/salamandratest"
	"github.com/impulse-salamandra/finetune/salamandra/tokenizer"
)

// Samples that take too long are given up and say so; a run that is being stopped
// is another thing.
func TestSamplesTimeout(t *testing.T) {
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	dir := salamandratest.Reference(t, "models", "tiny-mha")
	d, err := device.Open("go")
	must(err)
	defer d.Close()
	r := &run{o: DefaultTrainOptions(), device: d, plan: &TrainPlan{}, model: salamandratest.Load(t, d.Backend, dir)}
	r.layers, err = lora.Inject(r.model, lora.DefaultConfig(), 1)
	must(err)
	r.tokenizer, err = tokenizer.Load(dir)
	must(err)
	r.plan.Contract, err = chatml.NewContract("", nil, r.tokenizer.Hash())
	must(err)
	q := heldOut{id: "one", answer: "Bon dia", prompt: r.tokenizer.EncodeText("Hola", true), tokens: 100}
	r.o.Samples, r.questions = 1, []heldOut{q, q}
	a, err := r.newAsker()
	must(err)
	defer a.close()
	a.leastTime = 1
	samples, err := a.sample(t.Context(), train.Epoch{Step: 7})
	must(err)
	if len(samples) != 1 || !samples[0].Timeout || samples[0].Complete {
		t.Errorf("%+v", samples)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	a.leastTime = time.Hour
	if _, err := a.sample(ctx, train.Epoch{Step: 7}); !errors.Is(err, context.Canceled) {
		t.Errorf("stopped: %v", err)
	}
}

// A base is found again from anywhere: by its hub id, or its whole path.
func TestPortable(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.Mkdir("model", 0o755); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"BSC-LT/salamandra-2b": "BSC-LT/salamandra-2b", "model": filepath.Join(dir, "model")} {
		if got, err := portable(name, "model"); err != nil || got != want {
			t.Errorf("%s: %s, %v", name, got, err)
		}
	}
}
