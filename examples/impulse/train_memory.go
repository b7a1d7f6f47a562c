package main

import (
	"fmt"
	"io"

	"github.com/gomlx/compute"

	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/lora/train"
	"github.com/impulse-salamandra/finetune/salamandra"
)

// checkpointingModes are the values of --gradient-checkpointing: what is tried
// in turn.
var checkpointingModes = map[string][]bool{"auto": {false, true}, "on": {true}, "off": {false}}

// hostShare is which part of a processor's memory, which other programs use too,
// auto leaves to a run without checkpointing: that costs 5 % of the time there
// and saves up to half of the memory (docs/benchmarks.md).
const hostShare = 8

// planMemory says what the run will need, settles whether blocks are
// checkpointed, and refuses a run that does not fit, before anything is loaded.
func (o *trainOptions) planMemory(backend compute.Backend, base string, data *trainingData, out io.Writer) error {
	config, err := salamandra.ReadConfig(base)
	if err != nil {
		return err
	}
	plan, limit, err := o.chooseMemory(backend, config, data.train, data.eval)
	if err != nil {
		return err
	}
	o.Train.GradientCheckpointing = plan.Checkpointing
	fmt.Fprintf(out, "memory: %s%s\n", plan, ofMemory(limit))
	return nil
}

// chooseMemory plans the memory of a run, of which there are limit bytes, or
// the limit is 0 and not known.
func (o *trainOptions) chooseMemory(backend compute.Backend, config salamandra.Config, plans ...*dataset.Plan) (plan train.MemoryPlan, limit int64, err error) {
	job := train.Job{Model: config, HeadChunk: o.Train.HeadChunk, OnHost: !salamandra.OnAccelerator(backend), Plans: plans}
	if job.Dtype, err = (salamandra.Options{Dtype: o.Dtype}).DTypeOn(backend, config); err != nil {
		return plan, 0, err
	}
	adapter := o.LoRA
	if o.InitAdapter != "" {
		a, err := lora.ReadAdapter(o.InitAdapter)
		if err != nil {
			return plan, 0, err
		}
		adapter = a.Config
	}
	if job.AdapterSize, err = lora.CountParameters(config, adapter); err != nil {
		return plan, 0, err
	}
	limit = deviceMemory(backend, chooseBackend(o.Backend).config)
	modes := checkpointingModes[o.GradientCheckpointing]
	if len(modes) > 1 && job.OnHost && train.PlanMemory(job, false).Total() > limit/hostShare && limit > 0 {
		modes = []bool{true}
	}
	plan, err = train.ChooseMemory(job, limit, modes...)
	return plan, limit, err
}

// ofMemory says how much there is, if that is known.
func ofMemory(limit int64) string {
	if limit == 0 {
		return ""
	}
	return fmt.Sprintf(", of %.2f GB", float64(limit)/1e9)
}
