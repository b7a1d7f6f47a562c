package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/impulse-salamandra/finetune/lora/train"
)

const (
	// redrawPeriod and logPeriod are the least time between two lines on a
	// terminal and elsewhere.
	redrawPeriod = 100 * time.Millisecond
	logPeriod    = 10 * time.Second
	// recentSteps are those that speed is judged by.
	recentSteps = 20
)

// screen tells how a run goes: progress on log, one line that changes on a
// terminal and else a line now and then; what counts afterwards on out.
type screen struct {
	steps, perEpoch int // of the run, of an epoch
	describe        func(train.Evaluation) string
	memory          func() *int64
	now             func() time.Time
	width           func() int // of the terminal, 0 without one
	out, log        io.Writer

	last     train.Step
	smoothed smoother
	times    []float64 // seconds of recent steps
	rates    []float64 // their tokens per second
	ended    time.Time // of the last step
	between  float64   // seconds from the last step of an epoch to its end
	shown    time.Time
	drawn    bool // there is a line on the terminal
}

func newScreen(r *trainRun) *screen {
	s := &screen{
		steps: r.trainer.TotalSteps(), perEpoch: r.trainer.StepsPerEpoch(), describe: r.o.describe, memory: r.memory,
		now: time.Now, width: terminalWidth(r.log), out: r.out, log: r.log,
	}
	for _, line := range r.metrics.steps { // a resumed run's loss does not jump
		s.smoothed.add(line.Loss)
	}
	return s
}

// terminalWidth measures a terminal; it may change its size.
func terminalWidth(w io.Writer) func() int {
	file, _ := w.(*os.File)
	if file == nil || !isTerminal(w) {
		return func() int { return 0 }
	}
	return func() int {
		width, _, err := term.GetSize(int(file.Fd()))
		if err != nil || width < 2 {
			return 80
		}
		return width
	}
}

func (s *screen) hooks() train.Hooks {
	return train.Hooks{
		Step: func(step train.Step) error {
			s.step(step)
			return nil
		},
		Evaluation: func(e train.Evaluation) error {
			mark := ""
			if e.Best {
				mark = ", the best so far"
			}
			s.clear()
			fmt.Fprintf(s.out, "after %.2f epochs, %d steps: %s%s\n", e.Epoch, e.Step, s.describe(e), mark)
			return nil
		},
		Epoch: func(train.Epoch) error {
			s.between = s.now().Sub(s.ended).Seconds()
			return nil
		},
	}
}

func (s *screen) step(step train.Step) {
	first := s.last.Step == 0
	s.last, s.ended = step, s.now()
	s.smoothed.add(step.Loss)
	s.times = recent(s.times, step.Duration.Seconds())
	s.rates = recent(s.rates, perSecond(step))
	since := s.ended.Sub(s.shown)
	switch width := s.width(); {
	case width > 0 && (first || since >= redrawPeriod):
		line := []rune(s.line())
		// A full line would make the terminal begin another.
		fmt.Fprintf(s.log, "\r\x1b[K%s", string(line[:min(len(line), width-1)]))
		s.shown, s.drawn = s.ended, true
	case width == 0 && (first || since >= logPeriod || step.Step == s.steps):
		fmt.Fprintln(s.log, s.line())
		s.shown = s.ended
	}
}

// line is how far the run is, how well and how fast it goes.
func (s *screen) line() string {
	parts := []string{
		fmt.Sprintf("step %d/%d", s.last.Step, s.steps),
		fmt.Sprintf("epoch %.2f/%.3g", s.last.Epoch, float64(s.steps)/float64(s.perEpoch)),
		fmt.Sprintf("loss %.4f (smoothed %.4f)", s.last.Loss, s.smoothed.value()),
		fmt.Sprintf("%.0f tokens/s", median(s.rates)),
	}
	if n := s.memory(); n != nil {
		parts = append(parts, fmt.Sprintf("%.1f GiB", float64(*n)/(1<<30)))
	}
	return strings.Join(append(parts, s.left()+" left"), "  ")
}

// left estimates the time to the end from the middle of recent steps, since
// those with a new shape have compiled, and from what the last epoch's end took.
func (s *screen) left() string {
	steps := s.steps - s.last.Step
	epochs := math.Ceil(float64(steps) / float64(s.perEpoch))
	return roundTime(time.Duration((float64(steps)*median(s.times) + epochs*s.between) * float64(time.Second)))
}

// roundTime leaves seconds out where they do not matter.
func roundTime(d time.Duration) string {
	if d >= time.Hour {
		return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	}
	return d.Round(time.Second).String()
}

// clear takes the line off the terminal.
func (s *screen) clear() {
	if s.drawn {
		fmt.Fprint(s.log, "\r\x1b[K")
		s.drawn = false
	}
}

// close clears the terminal and says how the run ended.
func (s *screen) close() {
	s.clear()
	if s.last.Step > 0 {
		fmt.Fprintf(s.out, "loss %.4f after %d steps, smoothed %.4f\n", s.last.Loss, s.last.Step, s.smoothed.value())
	}
}

// recent adds a value to the newest ones.
func recent(values []float64, v float64) []float64 {
	if len(values) == recentSteps {
		values = values[1:]
	}
	return append(values, v)
}

// median is the middle value, 0 of none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

// smoother is an exponential moving average whose first values are not drawn
// towards zero.
type smoother struct{ sum, weight float64 }

const smoothing = 0.9

func (s *smoother) add(v float64) {
	s.sum, s.weight = smoothing*s.sum+(1-smoothing)*v, smoothing*s.weight+(1-smoothing)
}

// value is the average so far.
func (s *smoother) value() float64 { return s.sum / s.weight }
