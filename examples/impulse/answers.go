package main

import (
	"context"
	"runtime"
	"sync"

	"github.com/impulse-salamandra/finetune/salamandra"
	"github.com/impulse-salamandra/finetune/salamandra/constrain"
)

// generate continues the prompts. The Go backend computes the small products of
// a step on one core: there, as many generators as there are cores share the
// prompts. Answers that are drawn depend on their place in the batch and stay
// together.
func (p *prompted) generate(ctx context.Context, prompts [][]int32, opts salamandra.GenerateOptions) ([]salamandra.Generation, error) {
	n := min(runtime.GOMAXPROCS(0), len(prompts)/2)
	if p.model.Backend().Name() != goBackendName || opts.Temperature > 0 || n < 2 {
		return p.generator.Generate(ctx, prompts, opts)
	}
	answers := make([]salamandra.Generation, len(prompts))
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var mu sync.Mutex // one call of OnToken or OnAnswer at a time
	var group sync.WaitGroup
	for k := range n {
		from, to := k*len(prompts)/n, (k+1)*len(prompts)/n
		part := opts
		if opts.Constrain != nil {
			part.Constrain = func(row int) (*constrain.Matcher, error) { return opts.Constrain(from + row) }
		}
		if opts.OnToken != nil {
			part.OnToken = func(row int, id int32) {
				mu.Lock()
				defer mu.Unlock()
				opts.OnToken(from+row, id)
			}
		}
		if opts.OnAnswer != nil {
			part.OnAnswer = func(row int, a salamandra.Generation) {
				mu.Lock()
				defer mu.Unlock()
				opts.OnAnswer(from+row, a)
			}
		}
		group.Go(func() {
			some, err := p.generatePart(ctx, (p.generator.Slots+n-1)/n, prompts[from:to], part)
			if err != nil {
				cancel(err)
			}
			copy(answers[from:to], some)
		})
	}
	group.Wait()
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	return answers, nil
}

// generatePart continues some of the prompts with a generator of its own.
func (p *prompted) generatePart(ctx context.Context, slots int, prompts [][]int32, opts salamandra.GenerateOptions) ([]salamandra.Generation, error) {
	g, err := p.generator.With(p.adapter)
	if err != nil {
		return nil, err
	}
	defer g.Close()
	g.Slots = slots
	return g.Generate(ctx, prompts, opts)
}
