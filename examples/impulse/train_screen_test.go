package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/lora/train"
)

// watched is a screen of a run of 2 epochs of 3 steps, fed by hand.
func watched(width int) (s *screen, out, log *strings.Builder, tick func(time.Duration)) {
	out, log = &strings.Builder{}, &strings.Builder{}
	now := time.Unix(1000, 0)
	memory := int64(3 << 29)
	s = &screen{
		steps: 6, perEpoch: 3, now: func() time.Time { return now }, width: func() int { return width }, out: out, log: log,
		memory:   func() *int64 { return &memory },
		describe: func(e train.Evaluation) string { return fmt.Sprintf("loss %.4f on held-out examples", e.Loss) },
	}
	return s, out, log, func(d time.Duration) { now = now.Add(d) }
}

// feed tells a screen of steps, the first of which compiles, and of an
// evaluation that takes 4 seconds.
func feed(t *testing.T, s *screen, tick func(time.Duration)) {
	t.Helper()
	h := s.hooks()
	for i := 1; i <= 6; i++ {
		d := 2 * time.Second
		if i == 1 {
			d = 20 * time.Second
		}
		tick(d)
		require.NoError(t, h.Step(train.Step{Step: i, Epoch: float64(i) / 3, Loss: 1 / float64(i), SequenceTokens: 3000, Duration: d}))
		if i%3 == 0 {
			tick(4 * time.Second)
			require.NoError(t, h.Evaluation(train.Evaluation{Step: i, Epoch: float64(i) / 3, Loss: 0.5, Best: i == 3}))
			require.NoError(t, h.Epoch(train.Epoch{}))
		}
	}
	s.close()
}

// TestScreenLog: without a terminal there are plain lines, not too many of them.
func TestScreenLog(t *testing.T) {
	s, out, log, tick := watched(0)
	feed(t, s, tick)
	require.Equal(t, ""+
		"step 1/6  epoch 0.33/2  loss 1.0000 (smoothed 1.0000)  150 tokens/s  1.5 GiB  1m40s left\n"+
		// (0.729 + 0.81/2 + 0.9/3 + 1/4)/(0.729 + 0.81 + 0.9 + 1) is smoothed. 2 steps of 2 s, and an end of an
		// epoch of 4 s. The first step is an exception and not reckoned with.
		"step 4/6  epoch 1.33/2  loss 0.2500 (smoothed 0.4897)  1500 tokens/s  1.5 GiB  8s left\n"+
		"step 6/6  epoch 2.00/2  loss 0.1667 (smoothed 0.3651)  1500 tokens/s  1.5 GiB  0s left\n", log.String())
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
	require.Contains(t, lines[1], "step 4/6  epoch 1.33/2  loss 0.2500 (sm\r")
	require.Equal(t, 3, strings.Count(lines[0], "\rstep"), "each step is slower than the period")
}

func TestScreenLeft(t *testing.T) {
	s := screen{steps: 10_000, perEpoch: 5_000, times: []float64{2}}
	require.Equal(t, "5h33m", s.left())
	s.steps = 30
	require.Equal(t, "1m0s", s.left())
}
