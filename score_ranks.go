package finetune

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

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

// answered is an answer on its way to rank 0.
type answered struct {
	Case   int
	Answer Answer
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
	rank, size := opts.Ranks.Rank(), opts.Ranks.Size()
	mine, elsewhere := make([]*string, len(cases)), ""
	for i := range mine {
		mine[i] = &elsewhere
	}
	for j := rank; j < len(left); j += size {
		mine[left[j]] = nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var mu sync.Mutex
	take := func(i int, a Answer) error {
		mu.Lock()
		defer mu.Unlock()
		given[i] = &a.Text
		if opts.OnAnswer != nil {
			defer opts.OnAnswer(i, a)
		}
		if added == nil {
			return nil
		}
		return added(i, a.Text)
	}
	if rank > 0 {
		take = func(i int, a Answer) error { return tellRank(ctx, opts.Ranks, 0, answered{i, a}) }
	}
	own := opts.AskOptions
	own.OnAnswer = func(i int, a Answer) {
		if err := take(i, a); err != nil {
			cancel(err)
		}
	}
	var others sync.WaitGroup
	for from := 1; rank == 0 && from < size; from++ {
		others.Go(func() {
			for j := from; j < len(left); j += size {
				var a answered
				err := hearRank(ctx, opts.Ranks, from, &a)
				if err == nil {
					err = take(a.Case, a.Answer)
				}
				if err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	_, err := m.askCases(ctx, cases, own, nil, mine...)
	if err != nil {
		cancel(err)
	}
	others.Wait()
	return given, context.Cause(ctx)
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
		if err := tellRank(ctx, r, 0, mine); err != nil {
			return err
		}
		return hearRank(ctx, r, 0, left)
	}
	for rank := 1; rank < r.Size(); rank++ {
		var theirs map[string]string
		if err := hearRank(ctx, r, rank, &theirs); err != nil {
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
		if err := tellRank(ctx, r, rank, *left); err != nil {
			return err
		}
	}
	return nil
}

// tellRank sends a value to a process, hearRank receives one.
func tellRank(ctx context.Context, r train.Ranks, to int, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return r.Send(ctx, to, text)
}

func hearRank(ctx context.Context, r train.Ranks, from int, value any) error {
	text, err := r.Receive(ctx, from)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, value)
}
