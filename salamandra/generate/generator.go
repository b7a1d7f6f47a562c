package generate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/gomlx/compute"

	"github.com/impulse-salamandra/finetune/salamandra"
	"github.com/impulse-salamandra/finetune/salamandra/constrain"
)

// Generator continues prompts with a model, or with a model and an adapter.
//
// Requests are batched continuously: each step of the model takes the next tokens
// of all that are under way, be it one token, a forced run or a prompt, and a
// request joins at the next step if a slot is free. Answers are independent of
// batching. One goroutine does the work; it exists only while there are requests.
//
// The keys and values of what prompts begin with, as a system prompt, are computed
// once and kept in a prefix cache: for the prefixes given to [Generator.Warm], for
// the common beginning of the prompts of one [Generator.Generate], and for what a
// prompt shares with one of the last 8 if that is 64 tokens more than is kept
// already. A prompt uses the longest prefix that it begins with.
//
// Programs are compiled when first needed, or ahead of time by
// [Generator.Compile], for few shapes; see there.
//
// The fields are set before first use.
type Generator struct {
	// Slots is the most requests computed together; 8 by default.
	Slots int
	// MaxLength is the most tokens of a prompt and its answer together, 0 for
	// the model's context, which is the default.
	MaxLength int
	// PrefixBytes bounds the memory of the prefix cache, 1 GiB by default. A
	// prefix takes 2 · layers · key heads · head size numbers for each token, of
	// float32 on a CPU and of the model's dtype elsewhere: 216 KiB in Salamandra 2B
	// on a GPU. The least recently used are dropped; the one computed last, and
	// those in use, are kept in any case.
	PrefixBytes int64
	// SpeculativeTokens is how many tokens of one request a step has at most,
	// certain and drafted ones together, once drafts are among them; 32 by default.
	// Drafts are predicted from earlier tokens, of other requests too, as far as they
	// are likely enough to save time, and are kept as far as the model chooses the
	// same, so that answers do not depend on them. 0 turns speculation off.
	SpeculativeTokens int

	model    *salamandra.Model
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

	// prefixPlaces is the length of all prefixes once programs are compiled ahead
	// of time, -1 before. The engine changes it, and reads it without mu.
	prefixPlaces int
}

// Options bounds and steers one call of [Generator.Generate].
type Options struct {
	Sampling
	// MaxNewTokens ends an answer that does not end by itself. One whose prompt
	// leaves less room ends with that.
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

// DefaultOptions returns greedy decoding of at most 512 tokens and no
// stop token.
func DefaultOptions() Options {
	return Options{Sampling: Greedy(), MaxNewTokens: 512}
}

var (
	// errPrompt marks a prompt that cannot be continued.
	errPrompt = errors.New("prompt")
	// errClosed is the error of requests to a generator that is closed.
	errClosed = errors.New("generate: generator closed")
)

// New makes a generator; a nil adapter gives the base model. Tensors of
// the adapter are read at each step; after they have changed, as in training,
// [Generator.Swap] drops what was computed with the old ones.
func New(m *salamandra.Model, adapter salamandra.Adapter) *Generator {
	g := &Generator{
		Slots: 8, PrefixBytes: 1 << 30, SpeculativeTokens: 32,
		model: m, programs: newPrograms(m), variant: &variant{adapter: adapter}, prefixPlaces: -1,
	}
	g.idle.L = &g.mu
	return g
}

// With returns a generator for another adapter on the same model, nil for the
// base, with the same settings. It shares the compiled programs where the
// adapters allow, see [salamandra.Adapter], and has requests and prefixes of its own.
// Both are to be closed.
func (g *Generator) With(adapter salamandra.Adapter) (*Generator, error) {
	return g.On(g.model, adapter)
}

// On is [Generator.With] on a replica of the model, where the adapter's tensors are as
// well.
func (g *Generator) On(replica *salamandra.Model, adapter salamandra.Adapter) (*Generator, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil, errClosed
	}
	h := &Generator{
		Slots: g.Slots, MaxLength: g.MaxLength, PrefixBytes: g.PrefixBytes, SpeculativeTokens: g.SpeculativeTokens,
		model: replica, programs: g.programs.share(replica), variant: &variant{adapter: adapter}, prefixPlaces: g.prefixPlaces,
	}
	h.idle.L = &h.mu
	h.warmed = slices.Clone(g.warmed)
	h.variant.warm = slices.Clone(g.warmed)
	return h, nil
}

// Swap puts another adapter in the place of the present one, nil for the base
// model. Requests under way end with the old one, those that wait begin with
// the new one. Kept prefixes are computed anew when a prompt first needs them,
// also where the adapter is the one it was.
func (g *Generator) Swap(adapter salamandra.Adapter) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return errClosed
	}
	g.retired = append(g.retired, g.variant)
	g.variant = &variant{adapter: adapter}
	g.variant.warm = slices.Clone(g.warmed)
	if !g.running {
		g.engine.retire(g.takeRetired())
	}
	return nil
}

// Close ends all requests with an error and frees what the generator holds.
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
	g.engine.spare = nil
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
		return Generation{}, fmt.Errorf("generate: %w", err)
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
		return fmt.Errorf("generate: prefix: %w", err)
	}
	prefix = slices.Clone(prefix)
	g.mu.Lock()
	g.warmed = slices.DeleteFunc(g.warmed, func(old []int32) bool { return slices.Equal(old, prefix) })
	g.warmed = append(g.warmed, prefix)
	g.warmed = g.warmed[max(0, len(g.warmed)-recentPrompts):]
	g.mu.Unlock()
	return g.do(ctx, func(v *variant) error { return g.keep(v, prefix) })
}

// do has the engine do a job between two steps.
func (g *Generator) do(ctx context.Context, job func(v *variant) error) error {
	t, err := g.submit(ctx, &task{job: job})
	if err == nil {
		_, err = t.wait()
	}
	return err
}

// Generate continues each prompt, given as ids. Prompts of any length may be
// mixed; the answer to one does not depend on the others. It stops early with
// ctx's error.
func (g *Generator) Generate(ctx context.Context, prompts [][]int32, opts Options) ([]Generation, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	tasks := make([]*task, len(prompts))
	var faults []error
	for i, p := range prompts {
		r := Request{Prompt: p, Sampling: opts.Sampling, MaxNewTokens: opts.MaxNewTokens, StopTokens: opts.StopTokens}
		if room := g.limit() - len(p); room > 0 {
			r.MaxNewTokens = min(r.MaxNewTokens, room)
		}
		if opts.OnToken != nil {
			r.OnToken = func(id int32) { opts.OnToken(i, id) }
		}
		var err error
		if opts.Constrain != nil {
			r.Constraint, err = opts.Constrain(i)
		}
		if err = errors.Join(err, g.check(r)); err != nil {
			faults = append(faults, fmt.Errorf("generate: prompt %d: %w", i, err))
		}
		tasks[i] = &task{Request: r, stream: uint64(i)}
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	if shared := sharedPrefix(prompts); len(shared) > 0 {
		if err := g.do(ctx, func(v *variant) error { return g.share(v, prompts[0][:len(shared)+1], prefixStep/2) }); err != nil {
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
	var faults []error
	for _, fault := range r.Sampling.faults() {
		faults = append(faults, errors.New(fault))
	}
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
	if len(ids) == 0 {
		return fmt.Errorf("%w is empty", errPrompt)
	}
	if err := g.model.Config.CheckIDs(ids); err != nil {
		return fmt.Errorf("%w: %w", errPrompt, err)
	}
	if limit := g.limit(); len(ids)+more > limit {
		return fmt.Errorf("%w: %d tokens and up to %d new ones exceed the limit of %d", errPrompt, len(ids), more, limit)
	}
	return nil
}

// limit is the most tokens of a prompt and its answer.
func (g *Generator) limit() int {
	limit := g.model.Config.MaxPositionEmbeddings
	if g.MaxLength > 0 {
		limit = min(limit, g.MaxLength)
	}
	return limit
}

// exact reports whether a model's backend takes steps of any size without compiling anew.
func exact(m *salamandra.Model) bool {
	return m.Backend().Capabilities().DynamicShapes == compute.DynamicShapesNative
}

// buckets are the sizes that steps have now with a variant. It is for the engine, and
// for holders of mu.
func (g *Generator) buckets(v *variant) buckets {
	b := buckets{exact: exact(g.model), host: g.programs.onHost(v.adapter), limit: g.limit(), prefix: g.prefixPlaces}
	if b.exact {
		c := &g.model.Config
		block := c.HeadDim*(2*c.NumAttentionHeads+2*c.NumKeyValueHeads) + 3*c.IntermediateSize // times HiddenSize
		b.choice = float64(c.VocabSize) / float64(c.NumHiddenLayers*block)
	}
	return b
}
