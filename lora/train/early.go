package train

import (
	"context"
	"iter"
	"runtime"
	"sync"

	"github.com/gomlx/compute"

	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/internal/quantize"
)

// early is how many shapes are compiled at a time before they are needed, and whether
// beside the first steps: so on a CPU, where compiling takes one core for as long as
// some steps. A GPU's compiler measures kernels, which a step beside it would disturb,
// so there all are compiled before the first. The Go backend has nothing to compile.
func early(b compute.Backend) (shapes int, beside bool) {
	switch {
	case quantize.OnGo(b):
		return 0, true
	case b.HasSharedBuffers():
		return min(3, runtime.GOMAXPROCS(0)-1), true
	}
	return min(4, runtime.GOMAXPROCS(0)), false
}

// compileEarly compiles the programs that the run will need, beside its first steps
// until the function that it returns is called, which waits for those underway; or all
// of them at once. Whatever fails is compiled again, and reported, when it is needed.
func (t *Trainer) compileEarly(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	todo := make(chan func())
	var group sync.WaitGroup
	upcoming := t.upcoming(t.state.position)
	for range t.early {
		group.Go(func() {
			for compile := range todo {
				compile()
			}
		})
	}
	group.Go(func() {
		defer close(todo)
		if t.early == 0 {
			return
		}
		for compile := range upcoming {
			select {
			case todo <- compile:
			case <-ctx.Done():
				return
			}
		}
	})
	if !t.beside {
		group.Wait()
	}
	return func() {
		cancel()
		group.Wait()
	}
}

// upcoming compiles the programs that this process needs from a position on, in the
// order in which it will. Beside the steps, the first is left to the step that waits
// for it.
func (t *Trainer) upcoming(from position) iter.Seq[func()] {
	return func(yield func(func()) bool) {
		known := map[batchShape]bool{}
		for indices := range t.batchesFrom(from) {
			if !newShape(known, t.train, indices) {
				continue
			}
			if (len(known) > 1 || !t.beside) && !yield(func() { t.compileFor(t.train, indices) }) {
				return
			}
			if len(known) == len(t.train.Shapes) {
				break
			}
		}
		if t.eval == nil {
			return
		}
		clear(known)
		for i, indices := range t.eval.Epoch(0, 0) {
			if i%t.ranks.Size() == t.ranks.Rank() && newShape(known, t.eval, indices) && !yield(func() { t.compileFor(t.eval, indices) }) {
				return
			}
		}
	}
}

// batchesFrom are the batches to train on that this process computes from a position
// to the end of the run.
func (t *Trainer) batchesFrom(p position) iter.Seq[[]int] {
	return func(yield func([]int) bool) {
		k := t.config.GradientAccumulationSteps
		for left := t.totalSteps() - p.Step; left > 0; p.Epoch, p.Batch = p.Epoch+1, 0 {
			order := t.train.Epoch(p.Epoch, t.config.Seed)[p.Batch:]
			for i, indices := range order[:min(len(order), left*k)] {
				if i%k%t.ranks.Size() == t.ranks.Rank() && !yield(indices) {
					return
				}
			}
			left -= (len(order) + k - 1) / k
		}
	}
}

// newShape notes the shape of a batch and reports whether it was not known before.
func newShape(known map[batchShape]bool, plan *dataset.Plan, indices []int) bool {
	b, err := plan.Batch(indices)
	s := shapeOf(b)
	if err != nil || known[s] {
		return false
	}
	known[s] = true
	return true
}

// compileFor compiles the program of a batch.
func (t *Trainer) compileFor(plan *dataset.Plan, indices []int) {
	var first []any
	if plan == t.train {
		first = append(first, randomState(0, 0))
	}
	in := t.prepare(plan, indices, first, 0)
	if in.err != nil {
		return
	}
	defer in.free()
	in.early = t.beside
	if plan == t.train {
		_, _ = t.gradientProgram(in)
	} else {
		_, _ = t.lossProgram(in)
	}
}
