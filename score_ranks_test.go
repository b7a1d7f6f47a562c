package finetune_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/impulse-salamandra/finetune"
	"github.com/impulse-salamandra/finetune/evalx"
	"github.com/impulse-salamandra/finetune/salamandra/generate"
	"github.com/impulse-salamandra/finetune/salamandra/salamandratest"
)

// line is a rank of one process: messages go from one to another by channels.
type line struct {
	rank  int
	lines [][]chan []byte // from, to
}

func (l line) Rank() int            { return l.rank }
func (l line) Size() int            { return len(l.lines) }
func (l line) Host(rank int) string { return fmt.Sprint("host", rank) }

func (l line) Send(ctx context.Context, to int, message []byte) error {
	select {
	case l.lines[l.rank][to] <- slices.Clone(message):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l line) Receive(ctx context.Context, from int) ([]byte, error) {
	select {
	case m := <-l.lines[from][l.rank]:
		return m, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// together calls a function for each of n ranks at once. The first error ends all.
func together(ctx context.Context, n int, do func(ctx context.Context, l line) error) error {
	lines := make([][]chan []byte, n)
	for from := range lines {
		for range n {
			lines[from] = append(lines[from], make(chan []byte))
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var group sync.WaitGroup
	for rank := range n {
		group.Go(func() {
			if err := do(ctx, line{rank, lines}); err != nil {
				cancel(fmt.Errorf("rank %d: %w", rank, err))
			}
		})
	}
	group.Wait()
	return context.Cause(ctx)
}

// TestScoreInRanks: one, two and three processes give the results of one, also after
// an interruption, and only rank 0 keeps a journal; what is asked otherwise is refused
// with both sides, as are drawn answers.
func TestScoreInRanks(t *testing.T) {
	base := salamandratest.Reference(t, "models", "tiny-mha")
	c := contract(t, base)
	m, _ := open(t, copyDir(t, base, &c), finetune.Options{Slots: 1})
	task, err := evalx.NewTask(evalx.TaskOptions{Schema: schemaOf(t, ticketSchema), Ignore: []string{"question"}})
	check(t, err)
	var cases []finetune.Case
	for i := range 11 {
		q := fmt.Sprintf("%02d", i)
		cases = append(cases, finetune.Case{ID: q, Question: q, Want: `{"topic": "other", "urgent": false, "question": ""}`})
	}
	want, err := m.Score(t.Context(), task, cases, finetune.ScoreOptions{})
	check(t, err)
	journal := filepath.Join(t.TempDir(), "answers.jsonl")
	for n := 1; n <= 3; n++ {
		answered := 0
		ask := func(resume bool, stop int) (results []evalx.Result, err error) {
			err = together(t.Context(), n, func(ctx context.Context, l line) error {
				ctx, cancel := context.WithCancel(ctx)
				defer cancel()
				opts := finetune.ScoreOptions{Ranks: l, Journal: journal, Resume: resume}
				opts.OnAnswer = func(int, finetune.Answer) {
					if l.rank > 0 {
						t.Error("rank 0 alone calls back")
					}
					if answered++; answered == stop {
						cancel()
					}
				}
				got, err := m.Score(ctx, task, cases, opts)
				if l.rank == 0 {
					results = got
				} else if got != nil {
					t.Errorf("rank %d has results", l.rank)
				}
				return err
			})
			return results, err
		}
		part, err := ask(false, 4)
		whole := err == nil && len(part) == len(cases) // all were answered before the interruption came
		if !whole && !errors.Is(err, context.Canceled) || len(part) < 4 {
			t.Errorf("%d processes, interrupted: %d results, %v", n, len(part), err)
		}
		got, err := ask(true, 0)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%d processes: %v\n%+v\nwant %+v", n, err, got, want)
		}
		if answered < len(cases) {
			t.Errorf("%d processes: told of %d answers", n, answered)
		}
		check(t, os.Remove(journal))
	}

	err = together(t.Context(), 2, func(ctx context.Context, l line) error {
		_, err := m.Score(ctx, task, cases[l.rank:], finetune.ScoreOptions{Ranks: l})
		return err
	})
	if err == nil || !strings.Contains(err.Error(), "rank 1 (host1) does not ask what rank 0 (host0) asks:\n  questions: ") {
		t.Error(err)
	}
	err = together(t.Context(), 2, func(ctx context.Context, l line) error {
		opts := finetune.ScoreOptions{Ranks: l}
		opts.Sampling = &generate.Sampling{Temperature: 1, TopP: 1, RepetitionPenalty: 1}
		_, err := m.Score(ctx, task, cases, opts)
		return err
	})
	if err == nil || !strings.Contains(err.Error(), "ask for them in one process") {
		t.Error(err)
	}
}
