package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune"
	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/lora/train"
)

// watched is a screen of a run of 2 epochs of 3 steps, fed by hand.
func watched(width int) (s *screen, out, log *strings.Builder, tick func(time.Duration)) {
	out, log = &strings.Builder{}, &strings.Builder{}
	now := time.Unix(1000, 0)
	memory := int64(3 << 29)
	s = &screen{
		left: timeLeft{steps: 6, perEpoch: 3, trainShapes: 2, evalShapes: 1, evaluation: 1}, stop: func() {},
		now: func() time.Time { return now }, width: func() int { return width }, out: out, log: log,
		memory:   func() int64 { return memory },
		describe: func(e train.Evaluation) string { return fmt.Sprintf("loss %.4f on held-out examples", e.Loss) },
	}
	return s, out, log, func(d time.Duration) { now = now.Add(d) }
}

// feed gives a screen steps, the first of which compiles for 18 seconds, and of
// evaluations that take 4 seconds, the first of which compiles for 6 more.
func feed(t *testing.T, s *screen, tick func(time.Duration)) {
	t.Helper()
	h := s.hooks()
	for i := 1; i <= 6; i++ {
		step := train.Step{Step: i, Epoch: float64(i) / 3, Loss: 1 / float64(i), SequenceTokens: 3000, Duration: 2 * time.Second}
		if i == 1 {
			s.progress("compiling shape", 1, 2)
			for range 18 {
				tick(time.Second)
				s.tick()
			}
			step.Compiling = 18 * time.Second
			step.Duration += step.Compiling
		}
		tick(2 * time.Second)
		require.NoError(t, h.Step(step))
		if i%3 == 0 {
			s.progress("evaluating", 0, 2)
			e := train.Epoch{}
			if i == 3 {
				s.progress("compiling shape to evaluate", 1, 1)
				e.Compiling = 6 * time.Second
				tick(e.Compiling)
				s.tick()
			}
			tick(4 * time.Second)
			s.progress("evaluating", 1, 2)
			s.tick()
			require.NoError(t, h.Evaluation(train.Evaluation{Step: i, Epoch: float64(i) / 3, Loss: 0.5, Best: i == 3}))
			require.NoError(t, h.Epoch(e))
		}
	}
	s.close()
}

// TestScreenLog: without a terminal there are plain lines, one at least every ten
// seconds.
func TestScreenLog(t *testing.T) {
	s, out, log, tick := watched(0)
	s.shown = s.now()
	feed(t, s, tick)
	require.Equal(t, ""+
		"compiling shape 1 of 2 (10 s)\n"+
		// 5 steps of 2 s, two more shapes of 18 s, and two evaluations as long as a step.
		"step 1/6  epoch 0.33/2  loss 1.0000 (smoothed 1.0000)  1500 tokens/s  1.5 GiB  50s left\n"+
		// 3 steps, the other shape, for which (18 s + 0 s)/2 is the mean so far, and two
		// evaluations, the first of which has lasted longer than it should.
		"compiling shape to evaluate 1 of 1 (6 s)  step 3/6  epoch 1.00/2  17s left\n"+
		// The smoothed loss is (0.59049 + 0.6561/2 + 0.729/3 + 0.81/4 + 0.9/5 + 1/6) over
		// the sum of the weights. An evaluation of 4 s is to come.
		"step 6/6  epoch 2.00/2  loss 0.1667 (smoothed 0.3651)  1500 tokens/s  1.5 GiB  4s left\n", log.String())
	require.Equal(t, ""+
		"after 1.00 epochs, 3 steps: loss 0.5000 on held-out examples, the best so far\n"+
		"after 2.00 epochs, 6 steps: loss 0.5000 on held-out examples\n"+
		"loss 0.1667 after 6 steps, smoothed 0.3651\n", out.String())
}

// TestScreenTerminal: on a terminal one line changes, and is away before
// anything else is printed.
func TestScreenTerminal(t *testing.T) {
	const width = 40
	s, out, log, tick := watched(width)
	s.out = log // the same terminal
	feed(t, s, tick)
	require.Empty(t, out.String())
	lines := strings.Split(strings.ReplaceAll(log.String(), "\r\x1b[K", "\r"), "\n")
	require.Len(t, lines, 4)
	require.Empty(t, lines[3])
	for i, want := range []string{"after 1.00 epochs, 3 steps: loss 0.5000 on held-out examples, the best so far", "after 2.00 epochs, 6 steps: loss 0.5000 on held-out examples", "loss 0.1667 after 6 steps, smoothed 0.3651"} {
		drawn := strings.Split(lines[i], "\r")
		require.Equal(t, want, drawn[len(drawn)-1], "the line is away before")
		for _, text := range drawn[:len(drawn)-1] {
			require.Less(t, len(text), width, "it must not wrap")
		}
	}
	require.Contains(t, lines[0], "\rcompiling shape 1 of 2 (12 s)\r")
	require.Contains(t, lines[0], "\revaluating 1/2  step 3/6  epoch 1.00/2 \r")
	require.Contains(t, lines[1], "\rstep 4/6  epoch 1.33/2  loss 0.2500 (sm\r")
	require.Equal(t, 3, strings.Count(lines[0], "\rstep"), "each step is slower than the period")
}

// TestTimeLeft counts by hand: steps, epochs' ends and shapes.
func TestTimeLeft(t *testing.T) {
	now := time.Unix(1000, 0)
	l := timeLeft{steps: 10_000, perEpoch: 5_000, times: []float64{2}}
	require.Equal(t, "5h33m", roundTime(l.after(0, now)))
	l.steps = 30
	require.Equal(t, "1m0s", roundTime(l.after(0, now)))
	l.evaluation, l.answers = 3, 1 // 6 s for evaluating, a tenth of 5,000 steps for answers
	require.Equal(t, (60+6+1000)*time.Second, l.after(0, now))
	l.ends = []float64{10}
	l.trainShapes, l.evalShapes, l.compiled, l.compile = 1, 1, 2, 30
	require.Equal(t, (60+10+30)*time.Second, l.after(0, now))
	require.Zero(t, l.after(30, now), "nothing is left to compile for")
	l.ending, l.ended = true, now.Add(-4*time.Second)
	require.Equal(t, (15+6)*time.Second, l.after(30, now))
}

// TestNewTimeLeft: an evaluation is a third of the steps that compute as much.
func TestNewTimeLeft(t *testing.T) {
	p := &finetune.TrainPlan{Train: &dataset.Plan{Slots: 6000, Shapes: make([]dataset.Shape, 3)}, Eval: &dataset.Plan{Slots: 1800, Shapes: make([]dataset.Shape, 2)}}
	l := newTimeLeft(p, train.Status{TotalSteps: 100, StepsPerEpoch: 10}, 2)
	require.Equal(t, timeLeft{steps: 100, perEpoch: 10, trainShapes: 3, evalShapes: 2, evaluation: 1, answers: 2}, l)
	p.Eval = nil
	require.Equal(t, timeLeft{steps: 100, perEpoch: 10, trainShapes: 3}, newTimeLeft(p, train.Status{TotalSteps: 100, StepsPerEpoch: 10}, 2))
}

// TestScreenDevices: each of several devices is shown with how much of a step it
// computed.
func TestScreenDevices(t *testing.T) {
	s, _, log, _ := watched(0)
	require.NoError(t, s.hooks().Step(train.Step{Step: 1, Loss: 1, Duration: 2 * time.Second, Busy: [][]time.Duration{{2 * time.Second, 1500 * time.Millisecond}}}))
	require.Contains(t, log.String(), "  devices 100 75 % busy  ")
	step := train.Step{Duration: 4 * time.Second, Busy: [][]time.Duration{{4 * time.Second, 3 * time.Second}, {2 * time.Second}}}
	require.Equal(t, "devices 100 75 | 50 % busy", busyDevices(step), "of two processes")
	step.Busy = slices.Repeat(step.Busy, 3)
	require.Equal(t, "9 devices 50 to 100 % busy", busyDevices(step))
}
