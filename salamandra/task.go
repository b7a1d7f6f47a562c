package salamandra

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// task is a request on its way through the engine.
type task struct {
	Request
	warm   bool   // only keep Prompt as a prefix
	stream uint64 // of the draws, so that equal seeds draw differently within a batch

	ctx   context.Context
	start time.Time
	done  chan struct{} // closed when out and err are final
	out   Generation
	err   error

	mu   sync.Mutex
	left bool // the caller has gone: no more calls of OnToken
}

// submit queues a task and wakes the engine.
func (g *Generator) submit(ctx context.Context, t *task) (*task, error) {
	t.ctx, t.start, t.done = ctx, time.Now(), make(chan struct{})
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil, ErrClosed
	}
	g.waiting = append(g.waiting, t)
	if !g.running {
		g.running = true
		go g.run()
	}
	return t, nil
}

// wait returns the answer, or the error of the context where that ends first.
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

// emit hands a token to the caller. What panics there ends the request.
func (t *task) emit(id int32) (err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.OnToken == nil || t.left {
		return nil
	}
	defer func() {
		if x := recover(); x != nil {
			err = fmt.Errorf("salamandra: OnToken: %v", x)
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
