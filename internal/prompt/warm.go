package prompt

import (
	"context"
	"errors"
	"sync"
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

// warmAnswers is how long answers are computed for nothing but to warm up.
const warmAnswers = 10 * time.Second

// warmTogether is how many answers are computed together to warm up.
const warmTogether = 8

// Warming says what questions may ask for.
type Warming struct {
	Context      int // most tokens of a prompt and its answer
	MaxNewTokens int // most tokens of an answer
	// Progress, if not nil, is called after each program.
	Progress func(phase string, done, total int64)
}

// Warm brings an engine to the speed that it has later for the questions of the
// contract: it computes the prefix, compiles all programs, and answers questions,
// one alone and several at once, for what is made on first use: the schema's
// masks, and the memory of programs.
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
		return p.answer(ctx, e, w, 1)
	}
	return errors.Join(p.answer(ctx, e, w, 1), p.answer(ctx, e, w, warmTogether))
}

// answer answers n questions at once, for some time.
func (p *Prompt) answer(ctx context.Context, e Engine, w Warming, n int) error {
	some, cancel := context.WithTimeout(ctx, warmAnswers)
	defer cancel()
	faults := make([]error, n)
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() {
			question := string(rune('a' + i))
			ids, err := p.Question(question)
			if err != nil {
				faults[i] = err
				return
			}
			r := generate.Request{Prompt: ids, Sampling: generate.Greedy(), StopTokens: p.Tokens.Stop}
			r.MaxNewTokens = min(w.MaxNewTokens, w.Context-len(ids))
			if r.MaxNewTokens < 1 {
				return // no question fits
			}
			if m, err := p.Constraint(question, ""); err == nil && m.Shortest() <= r.MaxNewTokens {
				r.Constraint = m
			}
			_, faults[i] = e.Do(some, r)
		})
	}
	group.Wait()
	if ctx.Err() == nil && some.Err() != nil {
		return nil // slow, but warm
	}
	return errors.Join(faults...)
}
