package finetune

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/impulse-salamandra/finetune/dataset/inspect"
	"github.com/impulse-salamandra/finetune/internal/runlog"
	"github.com/impulse-salamandra/finetune/internal/wandb"
)

// logged is what the log says of the run.
func (r *run) logged(a *asker) runlog.Run {
	o, p := &r.o, r.plan
	run := runlog.Run{
		Title: o.OutputDir,
		Facts: []inspect.Fact{
			{Name: "base model", Value: o.Model},
			{Name: "backend", Value: fmt.Sprintf("%s, %s", r.model.Backend().Name(), r.model.DType())},
			{Name: "trained numbers", Value: fmt.Sprintf("%d of %d", r.layers.NumParameters(), r.model.Config.NumParameters())},
		},
		Data: dataFacts(o, p, len(r.questions)), Examples: p.Set.Examples, Plan: fmt.Sprintf("training on %s", p.Train),
		Settings: r.settings, Metric: o.Metric, Status: r.trainer.Status, Memory: r.memory, Address: o.Hooks.Address, Warn: o.warn,
	}
	if w := o.WandB; w != nil {
		run.WandB = &wandb.Options{Project: w.Project, Entity: w.Entity, Name: w.Name}
	}
	if p.Eval != nil {
		run.Plan += fmt.Sprintf("evaluating on %s", p.Eval)
	}
	if a.samples > 0 {
		run.Ask = a.sample
	}
	return run
}

// dataFacts sums the examples up for a report.
func dataFacts(o *TrainOptions, p *TrainPlan, held int) []inspect.Fact {
	source := o.Data
	if p.Format != "" {
		source += ", format " + p.Format
	}
	facts := []inspect.Fact{{Name: "source", Value: source}, {Name: "examples", Value: fmt.Sprintf("%d, %d of them held out", len(p.Set.Examples), held)}}
	languages := map[string]int{}
	for _, e := range p.Set.Examples {
		languages[e.Lang]++
	}
	var parts []string
	for _, lang := range slices.Sorted(maps.Keys(languages)) {
		parts = append(parts, fmt.Sprintf("%s %d", cmp.Or(lang, "not given"), languages[lang]))
	}
	facts = append(facts, inspect.Fact{Name: "languages", Value: strings.Join(parts, ", ")})
	if n := len(p.Set.Dropped); n > 0 {
		facts = append(facts, inspect.Fact{Name: "too long", Value: fmt.Sprintf("%d left out", n)})
	}
	if n := len(p.Set.Truncated); n > 0 {
		facts = append(facts, inspect.Fact{Name: "too long", Value: fmt.Sprintf("%d shortened", n)})
	}
	return facts
}
