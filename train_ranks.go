package finetune

import (
	"context"

	"github.com/impulse-salamandra/finetune/lora/train"
)

// follows reports whether this process trains for rank 0 of several, which has the
// output directory, the reports and the hooks.
func (o *TrainOptions) follows() bool { return o.Ranks != nil && o.Ranks.Rank() > 0 }

// processes is how many train together.
func (o *TrainOptions) processes() int {
	if o.Ranks == nil {
		return 1
	}
	return o.Ranks.Size()
}

// leaveToRank0 takes out of the options what only rank 0 does.
func (o *TrainOptions) leaveToRank0() {
	o.OutputDir, o.Resume, o.ResumeAnyway, o.Overwrite = "", false, false, false
	o.Samples, o.WandB, o.Warn, o.Progress = 0, nil, nil, nil
	o.Hooks = TrainHooks{Hooks: train.Hooks{Score: o.Hooks.Score}} // whether rank 0 has one
}

// asks reports whether the metric is taken of answers to held-out questions, which
// all processes answer.
func (o *TrainOptions) asks() bool { return o.Metric != "loss" && o.Hooks.Score == nil }

// follow trains for rank 0.
func (r *run) follow(ctx context.Context) error {
	asker, err := r.newAsker()
	if err != nil {
		return err
	}
	defer asker.close()
	var hooks train.Hooks
	if r.o.asks() {
		hooks.Score = asker.score
	}
	return r.trainer.Run(ctx, hooks)
}
