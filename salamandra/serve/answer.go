package serve

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/impulse-salamandra/finetune/salamandra"
	"github.com/impulse-salamandra/finetune/salamandra/constrain"
)

// errTimeout is why a request's context ends once its time is over.
var errTimeout = errors.New("timeout")

// question is what a model is asked.
type question struct {
	model      *served
	field      string // of the request, that the prompt came from
	prompt     []int32
	sampling   salamandra.Sampling
	most       int // new tokens
	constraint *constrain.Matcher
	stops      []string
}

// usage counts tokens.
type usage struct {
	Prompt, Cached, New, Forced int
}

// answer is what came of it.
type answer struct {
	text     string
	complete bool // it ended by itself, not at the most tokens
	usage    usage
	first    time.Duration // to the first token that was chosen
	total    time.Duration
}

// admit takes one of the places of requests that are computed or wait.
func (s *Server) admit() (leave func(), err error) {
	if s.draining.Load() {
		return nil, &failure{status: http.StatusServiceUnavailable, code: "shutting_down", message: "the server is shutting down", retry: time.Second}
	}
	if s.inFlight.Add(1) > int64(s.opts.InFlight) {
		s.inFlight.Add(-1)
		return nil, &failure{status: http.StatusServiceUnavailable, code: "overloaded", message: "too many requests are waiting", retry: time.Second}
	}
	return func() { s.inFlight.Add(-1) }, nil
}

// enter admits a request and gives it the model of this name, until it leaves.
func (s *Server) enter(name string, e *entry) (model *served, leave func(), err error) {
	out, err := s.admit()
	if err != nil {
		return nil, nil, err
	}
	if model, err = s.models.use(name); err != nil {
		out()
		return nil, nil, err
	}
	e.model = model.Name
	return model, func() { model.release(); out() }, nil
}

// check refuses a prompt that leaves too little room for the answer.
func (s *Server) check(q question) error {
	if room := s.opts.Context - q.most; len(q.prompt) > room {
		return fail(http.StatusBadRequest, "context_length_exceeded", q.field, "the prompt has %d tokens; with an answer of up to %d there is room for %d", len(q.prompt), q.most, room)
	}
	if q.constraint == nil {
		return nil
	}
	if n := q.constraint.Shortest(); n > q.most {
		return fail(http.StatusUnprocessableEntity, "answer_too_long", "max_tokens", "the shortest answer that keeps to the schema takes up to %d tokens, more than the %d allowed", n, q.most)
	}
	return nil
}

// ask computes an answer. Emit gets its text piece by piece, always whole
// characters; its error, or the end of ctx, ends the computation.
func (s *Server) ask(ctx context.Context, q question, emit func(piece string) error) (answer, error) {
	if err := s.check(q); err != nil {
		return answer{}, err
	}
	start := time.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, s.opts.Timeout, errTimeout)
	defer cancel()
	// The engine never waits for a client: there is room for all tokens.
	tokens := make(chan int32, q.most)
	var generated salamandra.Generation
	var failed error
	go func() {
		defer close(tokens)
		generated, failed = q.model.Engine.Do(ctx, salamandra.Request{
			Prompt: q.prompt, Sampling: q.sampling, MaxNewTokens: q.most, StopTokens: s.opts.StopTokens, Constraint: q.constraint,
			OnToken: func(id int32) { tokens <- id },
		})
	}()
	a := answer{usage: usage{Prompt: len(q.prompt)}}
	pieces, all := text{stops: q.stops}, strings.Builder{}
	var emitted error
	give := func(piece string) {
		all.WriteString(piece)
		if piece != "" && emit != nil && emitted == nil {
			emitted = emit(piece)
		}
	}
	for id := range tokens {
		if a.first == 0 {
			a.first = time.Since(start)
		}
		if pieces.stopped || emitted != nil {
			continue
		}
		a.usage.New++
		bytes, _ := s.opts.Tokenizer.TokenBytes(id)
		if give(pieces.add(bytes)); pieces.stopped || emitted != nil {
			cancel()
		}
	}
	if emitted == nil {
		give(pieces.end())
	}
	a.text, a.total = all.String(), time.Since(start)
	a.complete = generated.Stopped || pieces.stopped
	if generated.FirstToken > 0 { // what a schema forces before it took no time
		a.first = generated.FirstToken
	}
	a.usage.Cached, a.usage.Forced = generated.CachedTokens, generated.ForcedTokens
	switch {
	case emitted != nil:
		return a, emitted
	case failed != nil && !pieces.stopped:
		if errors.Is(failed, context.DeadlineExceeded) || errors.Is(failed, context.Canceled) {
			failed = context.Cause(ctx)
		}
		if errors.Is(failed, constrain.ErrTooLarge) {
			failed = schemaTooLarge(failed)
		}
		return a, failed
	}
	s.metrics.answered(a)
	return a, nil
}
