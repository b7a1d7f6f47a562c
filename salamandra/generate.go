package salamandra

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/impulse-salamandra/finetune/salamandra/constrain"
)

// Generator writes answers with a model, or with a model and an adapter.
//
// Three programs share the work: the common beginning of the prompts (the
// system prompt) goes through the model once and its keys and values are kept;
// then the rest of the prompts of a batch; then one token at a time. Its
// methods may be called from several goroutines; calls take turns.
type Generator struct {
	// Slots is the number of requests computed together. Set before first use.
	Slots int

	model   *Model
	adapter Adapter

	mu       sync.Mutex // one call of Generate at a time
	programs map[string]*Program
	building sync.Mutex        // guards programs
	prefix   []int32           // the tokens prefixKV was computed from
	prefixKV []*tensors.Tensor // keys and values of each layer, [K, 1, P, D]
}

// GenerateOptions bounds and steers one call.
type GenerateOptions struct {
	Sampling
	// MaxNewTokens ends an answer that does not end by itself.
	MaxNewTokens int
	// StopTokens end an answer; they are not part of it.
	StopTokens []int32
	// BatchSize is the largest number of prompts computed together.
	BatchSize int
	// Parallel is how many batches are computed side by side. More than 1 helps
	// where small products run on one thread, as in the Go backend.
	Parallel int
	// Constrain, if not nil, gives the constraint that the answer to prompt
	// number row is kept to, or nil for none; see package constrain. An answer
	// under a constraint ends where the constraint does, at the latest within
	// MaxNewTokens.
	Constrain func(row int) (*constrain.Matcher, error)
	// OnToken, if not nil, is called with each new token of prompt number row,
	// never twice at the same time.
	OnToken func(row int, id int32)
}

// DefaultGenerateOptions returns greedy decoding of at most 512 tokens, 8
// prompts together, one batch at a time, and no stop token.
func DefaultGenerateOptions() GenerateOptions {
	return GenerateOptions{Sampling: Greedy(), MaxNewTokens: 512, BatchSize: 8, Parallel: 1}
}

// Generation is one answer.
type Generation struct {
	IDs     []int32 // without the stop token
	Stopped bool    // it came to its end: a stop token, or that of its constraint; not at MaxNewTokens

	PromptTokens int           // tokens of the prompt
	CachedTokens int           // of these, taken from the prefix cache
	ForcedTokens int           // of IDs, appended without a choice because the constraint left none
	FirstToken   time.Duration // from the request to its first token
}

// ErrPrompt marks a prompt that cannot be continued.
var ErrPrompt = errors.New("prompt")

// NewGenerator makes a generator; a nil adapter gives the base model.
func NewGenerator(m *Model, adapter Adapter) *Generator {
	return &Generator{Slots: 8, model: m, adapter: adapter, programs: map[string]*Program{}}
}

// Close frees the compiled programs and the cached prefix.
func (g *Generator) Close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, p := range g.programs {
		p.Close()
	}
	clear(g.programs)
	g.dropPrefix()
}

// Generate continues each prompt, given as ids. Prompts of any length may be
// mixed; the answer to one does not depend on the others. It stops early with
// ctx's error.
func (g *Generator) Generate(ctx context.Context, prompts [][]int32, opts GenerateOptions) ([]Generation, error) {
	if err := g.check(prompts, opts); err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.usePrefix(prompts); err != nil {
		return nil, err
	}
	// Batches of like lengths pad little.
	order := make([]int, len(prompts))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return len(prompts[a]) - len(prompts[b]) })
	answers := make([]Generation, len(prompts))
	if onToken := opts.OnToken; onToken != nil {
		var one sync.Mutex
		opts.OnToken = func(row int, id int32) {
			one.Lock()
			defer one.Unlock()
			onToken(row, id)
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var running sync.WaitGroup
	free := make(chan struct{}, opts.Parallel)
	for rows := range slices.Chunk(order, opts.BatchSize) {
		free <- struct{}{}
		running.Go(func() {
			defer func() { <-free }()
			b := &batch{g: g, opts: opts, prompts: prompts, answers: answers, rows: rows, size: min(opts.BatchSize, len(prompts))}
			defer b.free()
			if err := b.run(ctx); err != nil {
				cancel(err)
			}
		})
	}
	running.Wait()
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	return answers, nil
}

// check reports every prompt and option that cannot work.
func (g *Generator) check(prompts [][]int32, opts GenerateOptions) error {
	faults := []error{opts.Sampling.Validate()}
	if opts.MaxNewTokens < 1 || opts.BatchSize < 1 || opts.Parallel < 1 {
		faults = append(faults, fmt.Errorf("salamandra: max new tokens %d, batch size %d, parallel %d, want 1 or more", opts.MaxNewTokens, opts.BatchSize, opts.Parallel))
	}
	limit := g.model.Config.MaxPositionEmbeddings
	for i, p := range prompts {
		if len(p) == 0 {
			faults = append(faults, fmt.Errorf("salamandra: %w %d is empty", ErrPrompt, i))
		} else if err := g.model.checkIDs(p); err != nil {
			faults = append(faults, fmt.Errorf("salamandra: %w %d: %w", ErrPrompt, i, err))
		} else if len(p)+opts.MaxNewTokens > limit {
			faults = append(faults, fmt.Errorf("salamandra: %w %d: %d tokens and up to %d new ones exceed the model's context of %d", ErrPrompt, i, len(p), opts.MaxNewTokens, limit))
		}
	}
	return errors.Join(faults...)
}

// commonPrefix is the longest beginning of all prompts that leaves each at
// least one token of its own.
func commonPrefix(prompts [][]int32) []int32 {
	if len(prompts) == 0 {
		return nil
	}
	n := len(prompts[0])
	for _, p := range prompts {
		n = min(n, len(p)-1)
		for i := range n {
			if p[i] != prompts[0][i] {
				n = i
				break
			}
		}
	}
	return prompts[0][:n]
}

// usePrefix makes prefixKV hold a common beginning of the prompts: the one it
// holds if they all begin with it, else a new one. One prompt alone tells
// nothing about what later ones share, so all of it but the last token is kept.
func (g *Generator) usePrefix(prompts [][]int32) error {
	common := commonPrefix(prompts)
	if n := len(g.prefix); n > 0 && n <= len(common) && slices.Equal(g.prefix, common[:n]) && n >= len(common)/2 {
		return nil
	}
	g.dropPrefix()
	if len(common) == 0 {
		return nil
	}
	p, err := g.program(fmt.Sprintf("prefix P=%d", len(common)), func(t Transformer, args []*Node) []*Node {
		layout := &recorder{Attention: SharedPrefix{B: 1, S: len(common)}, rows: 1}
		t.Blocks(t.Embed(args[0]), layout.Attention.(SharedPrefix).Positions(args[0].Graph()), layout)
		return layout.kv
	})
	if err != nil {
		return err
	}
	if g.prefixKV, err = p.Call(common); err != nil {
		return err
	}
	g.prefix = slices.Clone(common)
	return nil
}

func (g *Generator) dropPrefix() {
	finalize(g.prefixKV)
	g.prefix, g.prefixKV = nil, nil
}

// program returns the program called name, made at the first call.
func (g *Generator) program(name string, build func(t Transformer, args []*Node) []*Node) (*Program, error) {
	g.building.Lock()
	defer g.building.Unlock()
	if p, ok := g.programs[name]; ok {
		return p, nil
	}
	p, err := g.model.NewProgram(name, g.adapter, build)
	if err == nil {
		g.programs[name] = p
	}
	return p, err
}

// recorder is an Attention that keeps the keys and values of each layer,
// [K, rows, T, D], on the way.
type recorder struct {
	Attention
	rows int
	kv   []*Node
}

// Attend implements [Attention].
func (r *recorder) Attend(layer int, q, k, v *Node) *Node {
	r.kv = append(r.kv, splitRows(k, r.rows), splitRows(v, r.rows))
	return r.Attention.Attend(layer, q, k, v)
}

// afterPrefix is the attention of B prompts of S tokens that follow a prefix
// whose keys and values are given.
type afterPrefix struct {
	prefixKV []*Node // two per layer; empty for none
	b, s     int
}

// Attend implements [Attention].
func (a afterPrefix) Attend(layer int, q, k, v *Node) *Node {
	own := keyValues{splitRows(k, a.b), splitRows(v, a.b), causal(q.Graph(), a.s, a.s)}
	if len(a.prefixKV) == 0 {
		return attend(q, a.b, own)
	}
	return attend(q, a.b, keyValues{a.prefixKV[2*layer], a.prefixKV[2*layer+1], nil}, own)
}

// oneMore is the attention of one new token in each of B rows: it sees the
// prefix, its own prompt, and the tokens written so far.
type oneMore struct {
	prefixKV, promptKV, newKV []*Node // two per layer; newKV is [K, B, M, D]
	promptBias, newBias       *Node
	step                      *Node // scalar int32: which of the M places is written
	inPlace                   bool
	updated                   []*Node
}

// Attend implements [Attention].
func (a *oneMore) Attend(layer int, q, k, v *Node) *Node {
	b := q.Shape().Dim(0)
	kAll := a.write(a.newKV[2*layer], splitRows(k, b))
	vAll := a.write(a.newKV[2*layer+1], splitRows(v, b))
	a.updated = append(a.updated, kAll, vAll)
	stretches := []keyValues{
		{a.promptKV[2*layer], a.promptKV[2*layer+1], a.promptBias},
		{kAll, vAll, a.newBias},
	}
	if len(a.prefixKV) > 0 {
		stretches = append(stretches, keyValues{a.prefixKV[2*layer], a.prefixKV[2*layer+1], nil})
	}
	return attend(q, b, stretches...)
}

// write puts x [K, B, 1, D] at place step of cache [K, B, M, D].
func (a *oneMore) write(cache, x *Node) *Node {
	g := x.Graph()
	if a.inPlace {
		zero := Const(g, int32(0))
		return DynamicUpdateSlice(cache, x, []*Node{zero, zero, a.step, zero})
	}
	// The place still holds zero, so that adding writes it.
	m := cache.Shape().Dim(2)
	here := Equal(Iota(g, shapes.Make(dtypes.Int32, 1, 1, m, 1), 2), a.step)
	return Add(cache, Mul(ConvertDType(here, x.DType()), x))
}

// hideFrom is the bias [rows, 1, 1, n] that hides the places from limits [rows]
// on.
func hideFrom(limits *Node, n int) *Node {
	g, rows := limits.Graph(), limits.Shape().Dim(0)
	place := Iota(g, shapes.Make(dtypes.Int32, rows, 1, 1, n), 3)
	hidden := GreaterOrEqual(place, Reshape(limits, rows, 1, 1, 1))
	return MulScalar(ConvertDType(hidden, dtypes.Float32), masked)
}

// batch is the work on the prompts computed together.
type batch struct {
	g       *Generator
	opts    GenerateOptions
	prompts [][]int32
	answers []Generation
	rows    []int // numbers of the prompts
	size    int   // rows of the arrays, the last ones empty if there are fewer prompts

	lengths         []int32              // tokens of each row after the prefix
	matchers        []*constrain.Matcher // of each row; nil for none
	promptKV, newKV []*tensors.Tensor
}

// Lengths of arrays are multiples of these, so that few programs are compiled.
const (
	promptStep = 32
	answerStep = 64
)

func roundUp(n, step int) int { return (n + step - 1) / step * step }

// run writes the answers.
func (b *batch) run(ctx context.Context) error {
	if err := b.constrain(); err != nil {
		return err
	}
	logits, err := b.prefill()
	if err != nil {
		return err
	}
	draws := make([]*rand.Rand, len(b.rows))
	for i, row := range b.rows {
		draws[i] = rand.New(rand.NewPCG(b.opts.Seed, uint64(row)))
	}
	next := make([]int32, b.size)
	for step := 0; ; step++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		open, err := b.choose(logits, draws, next)
		if err != nil || !open || step == b.opts.MaxNewTokens-1 {
			return err
		}
		if logits, err = b.decode(step, next); err != nil {
			return err
		}
	}
}

// constrain makes the matchers of the rows.
func (b *batch) constrain() error {
	b.matchers = make([]*constrain.Matcher, len(b.rows))
	if b.opts.Constrain == nil {
		return nil
	}
	for i, row := range b.rows {
		m, err := b.opts.Constrain(row)
		if err != nil {
			return fmt.Errorf("salamandra: constraint of %w %d: %w", ErrPrompt, row, err)
		}
		if m != nil && m.Shortest() > b.opts.MaxNewTokens {
			return fmt.Errorf("salamandra: %w %d: its shortest answer has %d tokens, more than the %d allowed", ErrPrompt, row, m.Shortest(), b.opts.MaxNewTokens)
		}
		b.matchers[i] = m
	}
	return nil
}

// choose appends a token to every answer that goes on, and tells whether any
// does. Logits are [size, V]; those of tokens that a constraint excludes are
// overwritten.
func (b *batch) choose(logits []float32, draws []*rand.Rand, next []int32) (bool, error) {
	v, open := b.g.model.Config.VocabSize, false
	for i, row := range b.rows {
		a, m := &b.answers[row], b.matchers[i]
		if a.Stopped {
			continue
		}
		scores := logits[i*v : (i+1)*v]
		if m != nil {
			allowed, err := m.Allowed(b.opts.MaxNewTokens - len(a.IDs))
			if err != nil {
				return false, fmt.Errorf("salamandra: %w %d: %w", ErrPrompt, row, err)
			}
			allowed.Apply(scores)
		}
		var history []int32
		if b.opts.RepetitionPenalty != 1 {
			history = slices.Concat(b.prompts[row], a.IDs)
		}
		id := b.opts.next(draws[i], scores, history)
		if slices.Contains(b.opts.StopTokens, id) {
			a.Stopped = true
			continue
		}
		next[i] = id
		a.IDs = append(a.IDs, id)
		if b.opts.OnToken != nil {
			b.opts.OnToken(row, id)
		}
		if m != nil {
			if err := m.Accept(id); err != nil {
				return false, fmt.Errorf("salamandra: %w %d: %w", ErrPrompt, row, err)
			}
			a.Stopped = m.Done()
		}
		open = open || !a.Stopped
	}
	return open, nil
}

// prefill computes the prompts and returns the logits [size, V] of the first
// new token.
func (b *batch) prefill() ([]float32, error) {
	g, prefix := b.g, len(b.g.prefix)
	s := 1
	for _, row := range b.rows {
		s = max(s, len(b.prompts[row])-prefix)
	}
	s = roundUp(s, promptStep)
	ids := make([]int32, b.size*s)
	b.lengths = make([]int32, b.size)
	for i := range b.lengths {
		b.lengths[i] = 1
	}
	for i, row := range b.rows {
		b.lengths[i] = int32(copy(ids[i*s:(i+1)*s], b.prompts[row][prefix:]))
	}
	p, err := g.program(fmt.Sprintf("prefill P=%d B=%d S=%d", prefix, b.size, s), func(t Transformer, args []*Node) []*Node {
		ids, lengths, prefixKV := args[0], args[1], args[2:]
		layout := SharedPrefix{B: b.size, S: s}
		rec := &recorder{Attention: afterPrefix{prefixKV: prefixKV, b: b.size, s: s}, rows: b.size}
		x := t.Blocks(t.Embed(ids), AddScalar(layout.Positions(ids.Graph()), prefix), rec)
		first := Iota(ids.Graph(), lengths.Shape(), 0)
		last := AddScalar(Add(MulScalar(first, s), lengths), -1) // place of each row's last token
		x = Gather(x, ExpandAxes(last, -1))
		return append([]*Node{t.Logits(x)}, rec.kv...)
	})
	if err != nil {
		return nil, err
	}
	out, err := p.Call(append([]any{ids, b.lengths}, list(g.prefixKV)...)...)
	if err != nil {
		return nil, err
	}
	b.promptKV = out[1:]
	return b.logits(out[0])
}

// decode computes one token of each row and returns the logits [size, V] of
// the next. Step counts the tokens written before.
func (b *batch) decode(step int, next []int32) ([]float32, error) {
	g, layers := b.g, b.g.model.Config.NumHiddenLayers
	prefix, s := len(g.prefix), b.promptKV[0].Shape().Dim(2)
	m := roundUp(b.opts.MaxNewTokens, answerStep)
	if b.newKV == nil {
		shape := b.promptKV[0].Shape().Clone()
		shape.Dimensions[2] = m
		for range 2 * layers {
			t, err := tensors.FromShapeForBackend(g.model.backend, 0, shape)
			if err != nil {
				return nil, fmt.Errorf("salamandra: %w", err)
			}
			b.newKV = append(b.newKV, t)
		}
	}
	p, err := g.program(fmt.Sprintf("decode P=%d B=%d S=%d M=%d", prefix, b.size, s, m), func(t Transformer, args []*Node) []*Node {
		ids, step, lengths, args := args[0], args[1], args[2], args[3:]
		a := &oneMore{
			promptKV: args[:2*layers], newKV: args[2*layers : 4*layers], prefixKV: args[4*layers:],
			promptBias: hideFrom(lengths, s),
			newBias:    hideFrom(Reshape(AddScalar(step, 1), 1), m),
			step:       step,
			inPlace:    g.model.backend.Capabilities().Operations[compute.OpTypeDynamicUpdateSlice],
		}
		positions := AddScalar(Add(lengths, step), prefix)
		x := t.Blocks(t.Embed(ids), positions, a)
		return append([]*Node{t.Logits(x)}, a.updated...)
	})
	if err != nil {
		return nil, err
	}
	args := append([]any{next, int32(step), b.lengths}, list(b.promptKV)...)
	for _, t := range b.newKV {
		args = append(args, Donate(t))
	}
	out, err := p.Call(append(args, list(g.prefixKV)...)...)
	if err != nil {
		return nil, err
	}
	b.newKV = out[1:]
	return b.logits(out[0])
}

// logits brings a result to the host.
func (b *batch) logits(t *tensors.Tensor) ([]float32, error) {
	x, err := tensors.CopyFlatData[float32](t)
	if err != nil {
		return nil, fmt.Errorf("salamandra: %w", err)
	}
	return x, t.FinalizeAll()
}

func (b *batch) free() {
	finalize(b.promptKV)
	finalize(b.newKV)
}

// finalize frees tensors. An error here means only that they are freed already.
func finalize(list []*tensors.Tensor) {
	for _, t := range list {
		_ = t.FinalizeAll()
	}
}

// list makes tensors arguments of [Program.Call].
func list(ts []*tensors.Tensor) []any {
	args := make([]any, len(ts))
	for i, t := range ts {
		args[i] = t
	}
	return args
}
