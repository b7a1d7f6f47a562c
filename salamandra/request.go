package salamandra

import (
	"context"
	"time"

	"github.com/impulse-salamandra/finetune/salamandra/constrain"
)

// Request is one prompt to continue.
type Request struct {
	// Prompt is the ids to continue.
	Prompt []int32
	Sampling
	// MaxNewTokens ends an answer that does not end by itself.
	MaxNewTokens int
	// StopTokens end the answer; they are not part of it.
	StopTokens []int32
	// Constraint, if not nil, keeps the answer to a grammar; see package
	// constrain. It belongs to the request from here on.
	Constraint *constrain.Matcher
	// OnToken, if not nil, is called with each new token in order. Other
	// requests wait meanwhile.
	OnToken func(id int32)
}

// Do continues one prompt. It may be called from many goroutines. It stops
// early with ctx's error.
func (g *Generator) Do(ctx context.Context, r Request) (Generation, error) {
	start := time.Now()
	var first time.Duration
	opts := DefaultGenerateOptions()
	opts.Sampling, opts.MaxNewTokens, opts.StopTokens = r.Sampling, r.MaxNewTokens, r.StopTokens
	opts.Constrain = func(int) (*constrain.Matcher, error) { return r.Constraint, nil }
	opts.OnToken = func(_ int, id int32) {
		if first == 0 {
			first = time.Since(start)
		}
		if r.OnToken != nil {
			r.OnToken(id)
		}
	}
	answers, err := g.Generate(ctx, [][]int32{r.Prompt}, opts)
	if err != nil {
		return Generation{}, err
	}
	answers[0].PromptTokens, answers[0].FirstToken = len(r.Prompt), first
	return answers[0], nil
}

// Warm computes the keys and values of a prefix and keeps them for the prompts
// that begin with it.
func (g *Generator) Warm(ctx context.Context, prefix []int32) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.usePrefix([][]int32{prefix, prefix})
}

// Swap puts another adapter in the place of the present one, nil for the base
// model. Requests under way end with the old one. What is cached of prefixes is
// dropped, also where the adapter is the same one: training changes it.
func (g *Generator) Swap(adapter Adapter) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, p := range g.programs {
		p.Close()
	}
	clear(g.programs)
	g.dropPrefix()
	g.adapter = adapter
	return nil
}

// With returns a generator for another adapter on the same model.
func (g *Generator) With(adapter Adapter) (*Generator, error) {
	other := NewGenerator(g.model, adapter)
	other.Slots = g.Slots
	return other, nil
}
