package prompt

import (
	"context"
	"time"

	"github.com/impulse-salamandra/finetune/salamandra/generate"
)

// Engine computes answers; *generate.Generator is one.
type Engine interface {
	// Do answers one request, together with those that run already. It ends
	// early with ctx's error.
	Do(ctx context.Context, r generate.Request) (generate.Generation, error)
	// Warm keeps what a prefix of later prompts computes to.
	Warm(ctx context.Context, prefix []int32) error
	// Compile compiles what requests can ask for, and calls progress after each
	// program.
	Compile(ctx context.Context, progress func(phase string, done, total int64)) error
}

// warmAnswer is how long an answer is computed for nothing but to warm up.
const warmAnswer = 2 * time.Second

// Warming says what questions may ask for.
type Warming struct {
	Context      int // most tokens of a prompt and its answer
	MaxNewTokens int // most tokens of an answer
	// Progress, if not nil, is called after each program.
	Progress func(phase string, done, total int64)
}

// Warm brings an engine to the speed that it has later for the questions of the
// contract: it computes the prefix, compiles programs, and answers a question for
// what is made on first use, as the schema's masks are.
func (p *Prompt) Warm(ctx context.Context, e Engine, w Warming) error {
	if len(p.prefix) > 1 {
		if err := e.Warm(ctx, p.prefix); err != nil {
			return err
		}
	}
	compiled := int64(0)
	err := e.Compile(ctx, func(phase string, done, total int64) {
		compiled = done
		if w.Progress != nil {
			w.Progress(phase, done, total)
		}
	})
	if err != nil {
		return err
	}
	if compiled == 0 { // as on the Go backend, whose first answers are as fast as any
		w.MaxNewTokens = min(2, w.MaxNewTokens)
	}
	return p.answer(ctx, e, w)
}

// answer answers a question, for some time.
func (p *Prompt) answer(ctx context.Context, e Engine, w Warming) error {
	ids, err := p.Question("a")
	if err != nil {
		return err
	}
	r := generate.Request{Prompt: ids, Sampling: generate.Greedy(), StopTokens: p.Tokens.Stop}
	r.MaxNewTokens = min(w.MaxNewTokens, w.Context-len(ids))
	if r.MaxNewTokens < 1 {
		return nil // no question fits
	}
	if m, err := p.Constraint("a", ""); err == nil && m.Shortest() <= r.MaxNewTokens {
		r.Constraint = m
	}
	some, cancel := context.WithTimeout(ctx, warmAnswer)
	defer cancel()
	if _, err = e.Do(some, r); ctx.Err() == nil && some.Err() != nil {
		return nil // slow, but warm
	}
	return err
}
