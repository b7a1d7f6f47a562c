package finetune

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/gomlx/gomlx/core/tensors"

	"github.com/impulse-salamandra/finetune/internal/prompt"
	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/salamandra/constrain"
	"github.com/impulse-salamandra/finetune/salamandra/generate"
)

// answering is requests that are computed together, and what becomes of them.
type answering struct {
	variant  *variant
	requests []request
	stops    []string // text that ends the answer to a single request
	onText   func(i int, piece string)
	onAnswer func(i int, a Answer)

	answers []Answer
	ended   []bool    // by request
	told    int       // answers that were given to onAnswer
	parts   []partial // by request; nil if nobody wants pieces
	start   time.Time
}

// partial is an answer under way.
type partial struct {
	prompt.Text
	written strings.Builder
	tokens  int
	first   time.Duration
}

// event is a token of an answer or, with id -1, the whole.
type event struct {
	row    int
	id     int32
	answer generate.Generation
}

// run computes the answers. The callbacks run here, while the generator goes on:
// it waits for nobody.
func (a *answering) run(ctx context.Context, opts generate.Options) ([]Answer, error) {
	ctx, cancel := context.WithCancel(ctx)
	events := newQueue[event]()
	defer events.drain() // also where a callback panics
	defer cancel()
	prompts := make([][]int32, len(a.requests))
	for i, r := range a.requests {
		prompts[i] = r.prompt
	}
	a.answers, a.ended, a.start = make([]Answer, len(prompts)), make([]bool, len(prompts)), time.Now()
	if a.onText != nil || a.stops != nil {
		a.parts = make([]partial, len(prompts))
		for i := range a.parts {
			a.parts[i].Stops = a.stops
		}
		opts.OnToken = func(row int, id int32) { events.put(event{row: row, id: id}) }
	}
	opts.OnAnswer = func(row int, g generate.Generation) { events.put(event{row: row, id: -1, answer: g}) }
	var err error
	go func() {
		defer events.close()
		_, err = a.variant.generate(ctx, prompts, opts)
	}()
	for e, ok := events.next(); ok; e, ok = events.next() {
		if e.id < 0 {
			a.end(e.row, e.answer)
		} else if a.add(e.row, e.id) {
			a.cut(e.row)
			return a.answers, nil
		}
	}
	if errors.Is(err, constrain.ErrTooLarge) {
		err = &RequestError{"schema", err}
	}
	return a.answers, err
}

// add takes a token. It reports whether a stop string came.
func (a *answering) add(row int, id int32) (stopped bool) {
	p := &a.parts[row]
	if p.tokens++; p.first == 0 {
		p.first = time.Since(a.start)
	}
	bytes, _ := a.variant.base.tokenizer.TokenBytes(id) // control tokens have none
	a.give(row, p.Add(bytes))
	return p.Stopped
}

func (a *answering) give(row int, piece string) {
	if piece == "" {
		return
	}
	a.parts[row].written.WriteString(piece)
	if a.onText != nil {
		a.onText(row, piece)
	}
}

// end takes an answer that came to its end.
func (a *answering) end(row int, g generate.Generation) {
	answer := Answer{
		Complete: g.Stopped, PromptTokens: g.PromptTokens, CachedTokens: g.CachedTokens, NewTokens: len(g.IDs),
		ForcedTokens: g.ForcedTokens, Steps: g.Steps, FirstToken: g.FirstToken,
	}
	if a.parts == nil {
		answer.Text = a.variant.base.text(g.IDs)
	} else {
		a.give(row, a.parts[row].End())
		answer.Text = a.parts[row].written.String()
	}
	a.finish(row, answer)
}

// cut takes an answer that a stop string ended.
func (a *answering) cut(row int) {
	p := &a.parts[row]
	a.finish(row, Answer{
		Text: p.written.String(), Complete: true, PromptTokens: len(a.requests[row].prompt), NewTokens: p.tokens, FirstToken: p.first,
	})
}

// finish keeps an answer, and gives out those that have all before them.
func (a *answering) finish(row int, answer Answer) {
	a.answers[row], a.ended[row] = answer, true
	for ; a.onAnswer != nil && a.told < len(a.ended) && a.ended[a.told]; a.told++ {
		a.onAnswer(a.told, a.answers[a.told])
	}
}

// text is the text of an answer.
func (b *sharedBase) text(ids []int32) string {
	var all prompt.Text
	var text strings.Builder
	for _, id := range ids {
		bytes, _ := b.tokenizer.TokenBytes(id) // control tokens have none
		text.WriteString(all.Add(bytes))
	}
	text.WriteString(all.End())
	return text.String()
}

// generate continues the prompts. Where the model has replicas each device takes some
// of them. The Go backend computes what is small in a step on one core: there, as
// many generators as there are cores share the prompts. Answers that are drawn depend
// on their place in the batch and stay together.
func (v *variant) generate(ctx context.Context, prompts [][]int32, opts generate.Options) ([]generate.Generation, error) {
	n := min(1+len(v.replicas), len(prompts))
	if v.base.device.IsGo() {
		n = min(runtime.GOMAXPROCS(0), len(prompts)/2)
	}
	if opts.Temperature > 0 || n < 2 {
		return v.generator.Generate(ctx, prompts, opts)
	}
	answers := make([]generate.Generation, len(prompts))
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var mu sync.Mutex // one callback at a time
	var group sync.WaitGroup
	for k := range n {
		from, to := k*len(prompts)/n, (k+1)*len(prompts)/n
		part := rowsFrom(opts, from, &mu)
		group.Go(func() {
			some, err := v.generatePart(ctx, k, (v.generator.Slots+n-1)/n, prompts[from:to], part)
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

// rowsFrom are the options of some of the rows, which call back one at a time.
func rowsFrom(opts generate.Options, from int, mu *sync.Mutex) generate.Options {
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
		part.OnAnswer = func(row int, g generate.Generation) {
			mu.Lock()
			defer mu.Unlock()
			opts.OnAnswer(from+row, g)
		}
	}
	return part
}

// generatePart continues part k of the prompts with a generator of its own, on replica
// k if there are replicas; 0 is the model itself.
func (v *variant) generatePart(ctx context.Context, k, slots int, prompts [][]int32, opts generate.Options) ([]generate.Generation, error) {
	m, adapter := v.base.model, v.adapter()
	if len(v.replicas) > 0 {
		slots = v.generator.Slots // each device has its own memory
	}
	if len(v.replicas) > 0 && k > 0 {
		m = v.replicas[k-1]
		if v.layers != nil {
			params, err := m.Copy(v.layers.Params())
			if err != nil {
				return nil, err
			}
			defer func() { _ = params.FinalizeAll() }()
			adapter = elsewhere{v.layers, params}
		}
	}
	g, err := v.generator.On(m, adapter)
	if err != nil {
		return nil, err
	}
	defer g.Close()
	g.Slots = slots
	return g.Generate(ctx, prompts, opts)
}

// elsewhere is an adapter whose numbers were copied to another device.
type elsewhere struct {
	*lora.Layers
	params *tensors.Tensor
}

// Tensors implements [salamandra.Adapter].
func (e elsewhere) Tensors() []*tensors.Tensor { return []*tensors.Tensor{e.params} }
