package main

import (
	"fmt"
	"io"

	"github.com/impulse-salamandra/finetune/lora/train"
)

// screen tells the terminal how a run goes: progress on log, what counts
// afterwards on out.
type screen struct {
	total int
	out   io.Writer
	bar   *progress
	last  train.Step

	describe func(train.Evaluation) string
}

func newScreen(total int, describe func(train.Evaluation) string, out, log io.Writer) *screen {
	return &screen{total: total, out: out, bar: newProgress(log, "training"), describe: describe}
}

func (s *screen) hooks() train.Hooks {
	return train.Hooks{
		Step: func(step train.Step) error {
			s.last = step
			s.bar.set(int64(step.Step), int64(s.total), fmt.Sprintf("loss %.4f", step.Loss))
			return nil
		},
		Evaluation: func(e train.Evaluation) error {
			mark := ""
			if e.Best {
				mark = ", the best so far"
			}
			fmt.Fprintf(s.out, "after %.2f epochs, %d steps: %s%s\n", e.Epoch, e.Step, s.describe(e), mark)
			return nil
		},
	}
}

// close takes the bar away and says how the run ended.
func (s *screen) close() {
	s.bar.done()
	if s.last.Step > 0 {
		fmt.Fprintf(s.out, "loss %.4f after %d steps\n", s.last.Loss, s.last.Step)
	}
}
