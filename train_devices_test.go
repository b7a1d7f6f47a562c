package finetune

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/gomlx/compute/dtypes"

	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/lora/train"
	"github.com/impulse-salamandra/finetune/salamandra/llama"
)

// What devices gain is counted from tokens: two devices with batches of 4 compute the
// prefix twice, one with batches of 8 once.
func TestDevicesGain(t *testing.T) {
	p := &TrainPlan{Devices: 2, Processes: 1, Train: &dataset.Plan{Prefix: make([]int32, 100), Shapes: []dataset.Shape{{B: 4, S: 10, Batches: 3}, {B: 4, S: 20, Batches: 1}}}}
	want := float64(3*(100+80)+(100+160)) / float64(3*(100+40)+(100+80))
	if got := devicesGain(p.Train, 2); math.Abs(got-want) > 1e-12 {
		t.Errorf("%v, want %v", got, want)
	}
	if got := devicesGain(&dataset.Plan{Shapes: p.Train.Shapes}, 2); got != 2 {
		t.Errorf("without a prefix %v, want 2", got)
	}
	if text := p.describeDevices(); !strings.Contains(text, "prefix of 100 tokens") || !strings.Contains(text, "1.33 times") {
		t.Error(text)
	}
	p.Devices = 1
	if text := p.describeDevices(); text != "" {
		t.Error(text)
	}
}

// A base that no device has room for is said to fit in shards, where it does, and not
// where the devices are one memory, or the base is quantised.
func TestAdviseShards(t *testing.T) {
	examples := []dataset.Example{{IDs: make([]int32, 100), Train: make([]bool, 100)}}
	examples[0].Train[99] = true
	plan, _, err := dataset.NewPlan(examples, nil, dataset.DefaultPlanOptions())
	if err != nil {
		t.Fatal(err)
	}
	o := DefaultTrainOptions()
	job := train.Job{
		Model: llama.Config{VocabSize: 256000, HiddenSize: 4096, IntermediateSize: 11008, NumHiddenLayers: 32, NumAttentionHeads: 32, NumKeyValueHeads: 8, HeadDim: 128},
		Dtype: dtypes.BFloat16, AdapterSize: 40e6, HeadChunk: 512, Plans: []*dataset.Plan{plan},
	}
	modes := []bool{false, true}
	for limit, want := range map[int64]string{14e9: "Shards 2, the base", 7e9: "Shards 4, the base", 1e9: ""} {
		_, err := train.ChooseMemory(job, limit, modes...)
		err = o.adviseShards(err, job, limit, modes)
		if !errors.Is(err, train.ErrMemory) || strings.Contains(err.Error(), "divided among") != (want != "") || !strings.Contains(err.Error(), want) {
			t.Errorf("%d: %v, want %q", limit, err, want)
		}
	}
	_, err = train.ChooseMemory(job, 14e9, modes...)
	for _, change := range []func(*train.Job){func(j *train.Job) { j.OnHost = true }, func(j *train.Job) { j.Quantize = "8bit" }} {
		other := job
		change(&other)
		if got := o.adviseShards(err, other, 14e9, modes); got != err {
			t.Errorf("%v", got)
		}
	}
}
