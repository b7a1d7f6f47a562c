package finetune_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/impulse-salamandra/finetune"
	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/salamandra/salamandratest"
)

// TestQuantizedTraining: the contract and the settings say what the base was stored
// in, and the adapter is served on such a base; another one is warned of.
func TestQuantizedTraining(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "adapter")
	o := ticketTraining(t, dir)
	o.Quantize, o.Train.MaxSteps = "4bit", 2
	plain, err := finetune.Train(t.Context(), ticketTraining(t, filepath.Join(t.TempDir(), "plain")))
	check(t, err)
	r, err := finetune.Train(t.Context(), o)
	check(t, err)
	if r.Plan.Memory.Weights >= plain.Plan.Memory.Weights {
		t.Errorf("planned %d bytes of weights, no fewer than the %d of a base that is not quantised", r.Plan.Memory.Weights, plain.Plan.Memory.Weights)
	}
	text, err := os.ReadFile(filepath.Join(dir, "training_args.json"))
	check(t, err)
	var settings struct{ Quantize string }
	if check(t, json.Unmarshal(text, &settings)); settings.Quantize != "4bit" {
		t.Errorf("settings %s", text)
	}
	m, warnings := open(t, dir, finetune.Options{})
	if got := m.Contract().BaseQuantization; got != "4bit" || len(*warnings) > 0 {
		t.Errorf("base_quantization %q, warnings %q", got, *warnings)
	}
	a, err := m.Ask(t.Context(), "el portal no va")
	check(t, err)
	read(t, a, "el portal no va")
	for quantize, want := range map[string]string{"none": "that is not quantised", "8bit": "quantised to 8bit"} {
		_, warnings := open(t, dir, finetune.Options{Quantize: quantize, NoWarmUp: true})
		if all := strings.Join(*warnings, "\n"); !strings.Contains(all, "trained on a base quantised to 4bit, and this one is "+want) || !strings.Contains(all, "Quantize 4bit is as trained") {
			t.Errorf("%s: warnings %q", quantize, all)
		}
	}
}

// TestTrainingOnBitsandbytes: a base that bitsandbytes quantised is trained and served
// on without a word; other bits are refused, and so is merging into it.
func TestTrainingOnBitsandbytes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "adapter")
	o := ticketTraining(t, dir)
	o.Model, o.Train.MaxSteps = salamandratest.Bitsandbytes(t), 2
	_, err := finetune.Train(t.Context(), o)
	check(t, err)
	m, warnings := open(t, dir, finetune.Options{NoWarmUp: true})
	if got := m.Contract().BaseQuantization; got != "4bit" || len(*warnings) > 0 {
		t.Errorf("base_quantization %q, warnings %q", got, *warnings)
	}
	_, err = lora.Merge(t.Context(), lora.MergeOptions{Base: o.Model, Adapters: []lora.WeightedAdapter{{Dir: dir, Weight: 1}}, Output: filepath.Join(t.TempDir(), "merged")})
	if err == nil || !strings.Contains(err.Error(), "use the 16-bit model they were made from") {
		t.Error(err)
	}
	o.Quantize, o.OutputDir = "8bit", t.TempDir()
	if _, err = finetune.Train(t.Context(), o); err == nil || !strings.Contains(err.Error(), "Quantize 8bit: the base is in 4bit in its files") {
		t.Error(err)
	}
}
