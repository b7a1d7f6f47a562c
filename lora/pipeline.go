package lora

import (
	"context"
	"iter"
	"runtime"
	"sync"
)

// A job is an item that is being worked on.
type job[T any] struct {
	item T
	err  error
	done chan struct{} // closed when item and err are final
}

// inOrder has every item worked on by one of the functions that newWorker
// returns, one for each core, and then used, one at a time in the order of the
// items. It ends at the first error in that order; when it returns nothing is
// running any more. At most three items for each core, and two more, are
// between items and use.
func inOrder[T any](ctx context.Context, items iter.Seq2[T, error], newWorker func() func(T) error, use func(T) error) error {
	cores := runtime.GOMAXPROCS(0)
	todo, queue := make(chan *job[T]), make(chan *job[T], 2*cores)
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	group.Go(func() {
		defer close(queue)
		defer close(todo)
		distribute(ctx, items, todo, queue)
	})
	for range cores {
		work := newWorker()
		group.Go(func() {
			for j := range todo {
				j.err = work(j.item)
				close(j.done)
			}
		})
	}
	for j := range queue {
		<-j.done
		if j.err == nil {
			j.err = use(j.item)
		}
		if j.err != nil {
			return j.err
		}
	}
	return ctx.Err()
}

// distribute hands every item to the queue and to whoever works on todo, until
// an item has an error or ctx ends.
func distribute[T any](ctx context.Context, items iter.Seq2[T, error], todo, queue chan<- *job[T]) {
	for item, err := range items {
		j := &job[T]{item, err, make(chan struct{})}
		if err != nil {
			close(j.done)
		}
		select {
		case queue <- j:
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
		select {
		case todo <- j:
		case <-ctx.Done():
			j.err = ctx.Err()
			close(j.done)
			return
		}
	}
}
