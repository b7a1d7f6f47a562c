package salamandra

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/impulse-salamandra/finetune/salamandra/constrain"
)

// Generator writes answers with a model, or with a model and an adapter.
//
// Requests run together: each step of the model takes the next tokens of all
// that are under way, be it one token, a forced run or a prompt, and a request
// joins at the next step if one of Slots is free. What an answer is does not
// depend on the others. The work is done by one goroutine, which exists only
// while there are requests.
//
// The keys and values of what prompts have in common, as a system prompt, are
// computed once and kept: for the prefixes given to [Generator.Warm], for the
// common beginning of the prompts of one [Generator.Generate], and for what a
// prompt shares with one of the last 8 if that is 64 tokens more than is kept
// already. A prompt uses the longest one that it begins with.
//
// Programs are compiled when first needed, for few shapes: one or Slots
// requests; 16, 64 or 256 tokens of one, 1 or 4 where guesses fail; Slots, 4, 8 or
// 16 times as many tokens together; 512, 1024, ... places.
// The fields are set before first use.
type Generator struct {
	// Slots is the most requests computed together; 8 by default.
	Slots int
	// MaxLength is the most tokens of a prompt and its answer together, 0 for
	// the model's context, which is the default.
	MaxLength int
	// PrefixBytes bounds the memory of kept prefixes, 1 GiB by default. A
	// prefix takes 2 · layers · key heads · head size numbers of the model's
	// dtype for each token, 216 KiB in Salamandra 2B. Those used longest ago are
	// dropped; the one computed last, and those in use, are kept in any case.
	PrefixBytes int64
	// Guess is how many tokens a step of one request has places for at least,
	// 16 by default: those that are not certain yet are guessed from what came
	// before, in other requests too, and kept where the model chooses the same.
	// What an answer is does not depend on it. 0 is for no guesses.
	Guess int

	model    *Model
	programs *programs
	engine   engine // belongs to the goroutine that runs it

	mu      sync.Mutex // guards what follows
	idle    sync.Cond  // running has become false
	running bool
	closed  bool
	waiting []*task
	variant *variant   // of the requests to come
	retired []*variant // replaced by Swap
	warmed  [][]int32  // prefixes that a new variant computes too
}

// Request is one prompt to continue.
type Request struct {
	// Prompt is the ids to continue, at least one.
	Prompt []int32
	Sampling
	// MaxNewTokens ends an answer that does not end by itself.
	MaxNewTokens int
	// StopTokens end the answer; they are not part of it.
	StopTokens []int32
	// Constraint, if not nil, keeps the answer to a grammar; see package
	// constrain. The answer ends where the grammar does, at the latest within
	// MaxNewTokens. It belongs to the request from here on.
	Constraint *constrain.Matcher
	// OnToken, if not nil, is called with each new token in order, never after
	// [Generator.Do] has returned. All requests wait meanwhile, and it must not
	// wait for one itself.
	OnToken func(id int32)
}

// Generation is one answer.
type Generation struct {
	IDs     []int32 // without the stop token
	Stopped bool    // it came to its end: a stop token, or that of its constraint; not at MaxNewTokens

	PromptTokens int           // tokens of the prompt
	CachedTokens int           // of these, taken from a prefix kept before
	ForcedTokens int           // of IDs, appended without a choice because the constraint left none
	Steps        int           // passes through the model
	FirstToken   time.Duration // from the request to the first token that was chosen
}

// GenerateOptions bounds and steers one call of [Generator.Generate].
type GenerateOptions struct {
	Sampling
	// MaxNewTokens ends an answer that does not end by itself.
	MaxNewTokens int
	// StopTokens end an answer; they are not part of it.
	StopTokens []int32
	// Constrain, if not nil, gives the constraint that the answer to prompt
	// number row is kept to, or nil for none; see [Request].
	Constrain func(row int) (*constrain.Matcher, error)
	// OnToken, if not nil, is called with each new token of prompt number row,
	// never twice at the same time.
	OnToken func(row int, id int32)
	// OnAnswer, if not nil, is called with the answer to each prompt, in the
	// order of the prompts, when it and those before it are there.
	OnAnswer func(row int, answer Generation)
}

// DefaultGenerateOptions returns greedy decoding of at most 512 tokens and no
// stop token.
func DefaultGenerateOptions() GenerateOptions {
	return GenerateOptions{Sampling: Greedy(), MaxNewTokens: 512}
}

var (
	// ErrPrompt marks a prompt that cannot be continued.
	ErrPrompt = errors.New("prompt")
	// ErrClosed is the error of requests to a generator that is closed.
	ErrClosed = errors.New("salamandra: generator closed")
)

// NewGenerator makes a generator; a nil adapter gives the base model. Tensors of
// the adapter are read at each step; after they have changed, as in training,
// [Generator.Swap] drops what was computed with the old ones.
func NewGenerator(m *Model, adapter Adapter) *Generator {
	g := &Generator{Slots: 8, PrefixBytes: 1 << 30, Guess: 16, model: m, programs: newPrograms(m), variant: newVariant(adapter)}
	g.idle.L = &g.mu
	return g
}

// With returns a generator for another adapter on the same model, nil for the
// base, with the same settings. It shares the compiled programs where the
// adapters allow, see [Adapter], and has requests and prefixes of its own.
// Both are to be closed.
func (g *Generator) With(adapter Adapter) (*Generator, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil, ErrClosed
	}
	h := &Generator{Slots: g.Slots, MaxLength: g.MaxLength, PrefixBytes: g.PrefixBytes, Guess: g.Guess, model: g.model, programs: g.programs.share(), variant: newVariant(adapter)}
	h.idle.L = &h.mu
	h.warmed = slices.Clone(g.warmed)
	h.variant.warm = slices.Clone(g.warmed)
	return h, nil
}

// Swap puts another adapter in the place of the present one, nil for the base
// model. Requests under way end with the old one, those that wait begin with
// the new one. Kept prefixes are computed anew when a prompt first needs them,
// also where the adapter is the one it was.
func (g *Generator) Swap(adapter Adapter) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return ErrClosed
	}
	g.retired = append(g.retired, g.variant)
	g.variant = newVariant(adapter)
	g.variant.warm = slices.Clone(g.warmed)
	if !g.running {
		g.engine.retire(g.takeRetired())
	}
	return nil
}

// Close ends all requests with [ErrClosed] and frees what the generator holds.
func (g *Generator) Close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return
	}
	g.closed = true
	for g.running {
		g.idle.Wait()
	}
	g.engine.retire(append(g.takeRetired(), g.variant))
	g.engine.cache.free()
	g.programs.close()
}

// takeRetired hands the replaced variants to the engine. The caller holds mu.
func (g *Generator) takeRetired() []*variant {
	list := g.retired
	g.retired = nil
	return list
}

// Do continues one prompt. It may be called from many goroutines. When ctx ends
// it returns ctx's error, and the slot becomes free after the step under way.
func (g *Generator) Do(ctx context.Context, r Request) (Generation, error) {
	if err := g.check(r); err != nil {
		return Generation{}, fmt.Errorf("salamandra: %w", err)
	}
	t, err := g.submit(ctx, &task{Request: r})
	if err != nil {
		return Generation{}, err
	}
	return t.wait()
}

// Warm computes the keys and values of a prefix and keeps them for the prompts
// that begin with it.
func (g *Generator) Warm(ctx context.Context, prefix []int32) error {
	if err := g.checkPrompt(prefix, 0); err != nil {
		return fmt.Errorf("salamandra: prefix: %w", err)
	}
	prefix = slices.Clone(prefix)
	g.mu.Lock()
	g.warmed = slices.DeleteFunc(g.warmed, func(old []int32) bool { return slices.Equal(old, prefix) })
	g.warmed = append(g.warmed, prefix)
	g.warmed = g.warmed[max(0, len(g.warmed)-recentPrompts):]
	g.mu.Unlock()
	t, err := g.submit(ctx, &task{Request: Request{Prompt: prefix}, warm: true})
	if err != nil {
		return err
	}
	_, err = t.wait()
	return err
}

// Generate continues each prompt, given as ids. Prompts of any length may be
// mixed; the answer to one does not depend on the others. It stops early with
// ctx's error.
func (g *Generator) Generate(ctx context.Context, prompts [][]int32, opts GenerateOptions) ([]Generation, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	tasks := make([]*task, len(prompts))
	var faults []error
	for i, p := range prompts {
		r := Request{Prompt: p, Sampling: opts.Sampling, MaxNewTokens: opts.MaxNewTokens, StopTokens: opts.StopTokens}
		if opts.OnToken != nil {
			r.OnToken = func(id int32) { opts.OnToken(i, id) }
		}
		var err error
		if opts.Constrain != nil {
			r.Constraint, err = opts.Constrain(i)
		}
		if err = errors.Join(err, g.check(r)); err != nil {
			faults = append(faults, fmt.Errorf("salamandra: prompt %d: %w", i, err))
		}
		tasks[i] = &task{Request: r, stream: uint64(i)}
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	if shared := sharedPrefix(prompts); len(shared) >= prefixStep/2 {
		if err := g.Warm(ctx, shared); err != nil {
			return nil, err
		}
	}
	for _, t := range tasks {
		if _, err := g.submit(ctx, t); err != nil {
			return nil, err
		}
	}
	answers := make([]Generation, len(prompts))
	for i, t := range tasks {
		var err error
		if answers[i], err = t.wait(); err != nil {
			cancel(err)
			return nil, err
		}
		if opts.OnAnswer != nil {
			opts.OnAnswer(i, answers[i])
		}
	}
	return answers, nil
}

// sharedPrefix is the longest beginning of all of two or more prompts that
// leaves each at least one token of its own.
func sharedPrefix(prompts [][]int32) []int32 {
	if len(prompts) < 2 {
		return nil
	}
	shared := prompts[0]
	for _, p := range prompts {
		shared = shared[:common(shared, p[:len(p)-1])]
	}
	return shared
}

// check reports everything about a request that cannot work.
func (g *Generator) check(r Request) error {
	faults := []error{r.Sampling.Validate()}
	if r.MaxNewTokens < 1 {
		faults = append(faults, fmt.Errorf("max new tokens %d, want 1 or more", r.MaxNewTokens))
	}
	faults = append(faults, g.checkPrompt(r.Prompt, r.MaxNewTokens))
	if r.Constraint != nil {
		if n := r.Constraint.Shortest(); n > r.MaxNewTokens {
			faults = append(faults, fmt.Errorf("constraint: its shortest answer has %d tokens, more than the %d allowed", n, r.MaxNewTokens))
		}
	}
	return errors.Join(faults...)
}

func (g *Generator) checkPrompt(ids []int32, more int) error {
	limit := g.model.Config.MaxPositionEmbeddings
	if g.MaxLength > 0 {
		limit = min(limit, g.MaxLength)
	}
	if len(ids) == 0 {
		return fmt.Errorf("%w is empty", ErrPrompt)
	}
	if err := g.model.checkIDs(ids); err != nil {
		return fmt.Errorf("%w: %w", ErrPrompt, err)
	}
	if len(ids)+more > limit {
		return fmt.Errorf("%w: %d tokens and up to %d new ones exceed the limit of %d", ErrPrompt, len(ids), more, limit)
	}
	return nil
}
