package finetune

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/impulse-salamandra/finetune/internal/ranks"
	"github.com/impulse-salamandra/finetune/lora/train"
)

// several reports whether other processes take a part of the questions.
func (o *ScoreOptions) several() bool { return o.Ranks != nil && o.Ranks.Size() > 1 }

// checkRanks refuses what several processes cannot do together.
func (o *ScoreOptions) checkRanks() error {
	if s := o.Sampling; o.several() && s != nil && s.Temperature > 0 {
		return errors.New("answers drawn at a temperature depend on those before them: ask for them in one process")
	}
	return nil
}

// askInRanks is askCases for several processes, which the cases without an answer are
// dealt to in turn. Rank 0 gets the answers of all, as they come.
func (m *Model) askInRanks(ctx context.Context, cases []Case, opts ScoreOptions, added func(i int, text string) error, kept ...*string) ([]*string, error) {
	given := make([]*string, len(cases))
	copy(given, kept)
	var left []int
	for i := range given {
		if given[i] == nil {
			left = append(left, i)
		}
	}
	if err := m.agree(ctx, cases, opts, &left); err != nil {
		return given, err
	}
	ask := func(ctx context.Context, own []int, answered func(int, Answer)) error {
		elsewhere, mine := "", make([]*string, len(cases))
		for i := range mine {
			mine[i] = &elsewhere
		}
		for _, i := range own {
			mine[i] = nil
		}
		asking := opts.AskOptions
		asking.OnAnswer = answered
		_, err := m.askCases(ctx, cases, asking, nil, mine...)
		return err
	}
	return given, inTurn(ctx, opts.Ranks, left, ask, func(i int, a Answer) error {
		given[i] = &a.Text
		if opts.OnAnswer != nil {
			defer opts.OnAnswer(i, a)
		}
		if added == nil {
			return nil
		}
		return added(i, a.Text)
	})
}

// sent is an answer on its way to rank 0, and the question that it is to.
type sent[T any] struct {
	Question int
	Answer   T
}

// inTurn has questions answered that are dealt to the processes in turn: ask answers
// those of this process. Rank 0 takes the answers of all, one at a time, as they come.
// Without ranks there is one process.
func inTurn[T any](ctx context.Context, r train.Ranks, questions []int, ask func(ctx context.Context, own []int, answered func(int, T)) error, take func(i int, answer T) error) error {
	rank, size := 0, 1
	if r != nil {
		rank, size = r.Rank(), r.Size()
	}
	var own []int
	for j := rank; j < len(questions); j += size {
		own = append(own, questions[j])
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var one sync.Mutex
	answered := func(i int, answer T) {
		one.Lock()
		defer one.Unlock()
		var err error
		if rank > 0 {
			err = ranks.Tell(ctx, r, 0, sent[T]{i, answer})
		} else {
			err = take(i, answer)
		}
		if err != nil {
			cancel(err)
		}
	}
	var others sync.WaitGroup
	for from := 1; rank == 0 && from < size; from++ {
		others.Go(func() {
			for j := from; j < len(questions); j += size {
				var s sent[T]
				if err := ranks.Hear(ctx, r, from, &s); err != nil {
					cancel(err)
					return
				}
				answered(s.Question, s.Answer)
			}
		})
	}
	if len(own) > 0 {
		if err := ask(ctx, own, answered); err != nil {
			cancel(err)
		}
	}
	others.Wait()
	return context.Cause(ctx)
}

// agree has rank 0 say which cases are left, to processes that would ask them as it
// does.
func (m *Model) agree(ctx context.Context, cases []Case, opts ScoreOptions, left *[]int) error {
	mine, err := m.askedAs(cases, opts.AskOptions)
	if err != nil {
		return err
	}
	r := opts.Ranks
	if r.Rank() > 0 {
		if err := ranks.Tell(ctx, r, 0, mine); err != nil {
			return err
		}
		return ranks.Hear(ctx, r, 0, left)
	}
	for rank := 1; rank < r.Size(); rank++ {
		var theirs map[string]string
		if err := ranks.Hear(ctx, r, rank, &theirs); err != nil {
			return err
		}
		var lines []string
		for _, name := range slices.Sorted(maps.Keys(mine)) {
			if mine[name] != theirs[name] {
				lines = append(lines, fmt.Sprintf("\n  %s: %s on rank 0, %s on rank %d", name, mine[name], theirs[name], rank))
			}
		}
		if lines != nil {
			return fmt.Errorf("rank %d (%s) does not ask what rank 0 (%s) asks:%s", rank, r.Host(rank), r.Host(0), strings.Join(lines, ""))
		}
	}
	for rank := 1; rank < r.Size(); rank++ {
		if err := ranks.Tell(ctx, r, rank, *left); err != nil {
			return err
		}
	}
	return nil
}
