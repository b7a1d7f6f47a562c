package generate

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/impulse-salamandra/finetune/salamandra/constrain"
)

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

// Generation is a finished answer.
type Generation struct {
	IDs     []int32 // without the stop token
	Stopped bool    // it ended by a stop token or with its constraint, not at MaxNewTokens

	PromptTokens int           // tokens of the prompt
	CachedTokens int           // of these, taken from the prefix cache
	ForcedTokens int           // of IDs, appended without a choice because the constraint left none
	Steps        int           // passes through the model
	FirstToken   time.Duration // from the request to the first token that was chosen
}

// task is a request in the engine, or a job for it.
type task struct {
	Request
	job    func(v *variant) error // done by the engine in place of a request
	stream uint64                 // of the draws, so that equal seeds draw differently within a batch

	ctx   context.Context
	start time.Time
	done  chan struct{} // closed when out and err are final
	out   Generation
	err   error

	mu   sync.Mutex
	left bool // the caller has returned: OnToken must not be called any more
}

// submit queues a task and wakes the engine.
func (g *Generator) submit(ctx context.Context, t *task) (*task, error) {
	t.ctx, t.start, t.done = ctx, time.Now(), make(chan struct{})
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil, errClosed
	}
	g.waiting = append(g.waiting, t)
	if !g.running {
		g.running = true
		go g.run()
	}
	return t, nil
}

// wait returns the answer, or the context's error if that ends first.
func (t *task) wait() (Generation, error) {
	select {
	case <-t.done:
		return t.out, t.err
	case <-t.ctx.Done():
	}
	t.mu.Lock()
	t.left = true
	t.mu.Unlock()
	return Generation{}, context.Cause(t.ctx)
}

// emit hands a token to the caller. A panic there ends the request.
func (t *task) emit(id int32) (err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.OnToken == nil || t.left {
		return nil
	}
	defer func() {
		if x := recover(); x != nil {
			err = fmt.Errorf("generate: OnToken: %v", x)
		}
	}()
	t.OnToken(id)
	return nil
}

// finish makes the outcome known.
func (t *task) finish(err error) {
	t.err = err
	if err != nil {
		t.out = Generation{}
	}
	close(t.done)
}
