package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/term"

	"github.com/impulse-salamandra/finetune"
	"github.com/impulse-salamandra/finetune/internal/runlog"
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

// screen shows how a run goes: progress on log, one line that changes on a
// terminal and else a line now and then; what counts afterwards on out. A clock
// shows what takes long.
type screen struct {
	describe func(train.Evaluation) string
	memory   func() int64
	now      func() time.Time
	width    func() int // of the terminal, 0 without one
	out, log io.Writer
	resume   bool // the run was to go on
	answers  int  // how many times an epoch's end asks for them

	planned *finetune.TrainPlan

	mu     sync.Mutex // the clock ticks on another goroutine
	stop   func()     // stops it
	last   train.Step
	losses []float64
	rates  []float64 // tokens per second of recent steps
	left   timeLeft
	phase  string    // what goes on, "" for a step
	since  time.Time // it has
	shown  time.Time
	drawn  bool // there is a line on the terminal
	url    atomic.Pointer[string]
}

func newScreen(o *trainOptions, out, log io.Writer) *screen {
	s := &screen{
		describe: func(e train.Evaluation) string { return o.describe(e.Loss, e.Score) }, memory: func() int64 { return 0 },
		now: time.Now, width: terminalWidth(log), resume: o.Resume, out: out, log: log, stop: func() {},
	}
	if o.Samples > 0 {
		s.answers++
	}
	if o.Metric != "loss" {
		s.answers++
	}
	return s
}

// plan takes note of what will be computed.
func (s *screen) plan(p *finetune.TrainPlan) { s.planned = p }

// start says where the run begins, and starts the clock.
func (s *screen) start(r finetune.TrainStart) error {
	s.sayStart(r)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left = newTimeLeft(s.planned, r.Status, s.answers)
	s.last.Step, s.last.Epoch = r.Step, r.Epoch
	s.losses = r.Losses // a resumed run's loss does not jump
	s.memory = r.Memory
	s.since, s.shown = s.now(), s.now()
	ticks, end := time.NewTicker(time.Second), make(chan struct{})
	s.stop = sync.OnceFunc(func() {
		ticks.Stop()
		close(end)
	})
	go func() {
		for {
			select {
			case <-ticks.C:
				s.tick()
			case <-end:
				return
			}
		}
	}()
	return nil
}

func (s *screen) sayStart(r finetune.TrainStart) {
	fmt.Fprintf(s.out, "%d numbers to train in %d layers, %.2f %% of the model's %d\n", r.Parameters, r.Layers, 100*float64(r.Parameters)/float64(r.ModelParameters), r.ModelParameters)
	if r.WandBDir != "" {
		fmt.Fprintf(s.out, "Weights & Biases: wandb sync %s uploads the run\n", r.WandBDir)
	}
	switch {
	case r.Resumed != nil:
		for _, d := range r.Resumed.Differences {
			fmt.Fprintf(s.out, "warning: changed since: %s\n", flagDifference(d))
		}
		fmt.Fprintf(s.out, "going on after step %d of %d, from %s\n", r.Step, r.TotalSteps, r.Resumed.Dir)
	case s.resume:
		fmt.Fprintln(s.out, "there is no checkpoint yet: starting from the beginning")
	}
}

// address notes where an uploaded run is seen, for the next step to say. It may be
// called from any goroutine.
func (s *screen) address(url string) { s.url.Store(&url) }

func (s *screen) sayAddress() {
	if url := s.url.Swap(nil); url != nil {
		s.say("Weights & Biases: %s", *url)
	}
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
			s.say("after %.2f epochs, %d steps: %s%s", e.Epoch, e.Step, s.describe(e), mark)
			return nil
		},
		Epoch: func(e train.Epoch) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.left.epoch(e, s.now())
			s.begin("")
			return nil
		},
	}
}

// say prints a line that stays.
func (s *screen) say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clear()
	fmt.Fprintf(s.out, format+"\n", args...)
}

// step notes a step and shows it, not too often.
func (s *screen) step(step train.Step) {
	s.sayAddress()
	s.mu.Lock()
	defer s.mu.Unlock()
	first := s.rates == nil
	s.last = step
	s.left.step(step, s.now())
	s.losses = append(s.losses, step.Loss)
	s.rates = recent(s.rates, step.TokensPerSecond())
	s.begin("")
	since := s.now().Sub(s.shown)
	if width := s.width(); width > 0 && (first || since >= redrawPeriod) || width == 0 && (first || since >= logPeriod || step.Step == s.left.steps) {
		s.show(s.line())
	}
}

// started reports whether the run has begun.
func (s *screen) started() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.left.steps > 0
}

// progress notes what goes on beside steps.
func (s *screen) progress(phase string, done, total int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := fmt.Sprintf("%s %d/%d", phase, done, total)
	if strings.HasPrefix(phase, "compiling") {
		text = fmt.Sprintf("%s %d of %d", phase, done, total)
		s.left.compiling(phase)
		s.begin(text)
	} else if !strings.HasPrefix(s.phase, phase+" ") {
		s.begin(text)
	}
	s.phase = text
	if s.width() > 0 && s.now().Sub(s.shown) >= redrawPeriod {
		s.show(s.phaseLine())
	}
}

// begin notes that something else goes on from now.
func (s *screen) begin(phase string) { s.phase, s.since = phase, s.now() }

// tick shows that what takes long still goes on.
func (s *screen) tick() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := s.now(); s.width() > 0 && now.Sub(s.since) >= time.Second || now.Sub(s.shown) >= logPeriod {
		s.show(s.phaseLine())
	}
}

// show shows a line, which on a terminal is in the place of the one before.
func (s *screen) show(text string) {
	s.shown = s.now()
	width := s.width()
	if width == 0 {
		fmt.Fprintln(s.log, text)
		return
	}
	line := []rune(text)
	// A full line would make the terminal begin another.
	fmt.Fprintf(s.log, "\r\x1b[K%s", string(line[:min(len(line), width-1)]))
	s.drawn = true
}

// line is how far the run is, how well and how fast it goes.
func (s *screen) line() string {
	parts := []string{
		s.place(), fmt.Sprintf("loss %.4f (smoothed %.4f)", s.last.Loss, s.smoothed()), fmt.Sprintf("%.0f tokens/s", median(s.rates)),
	}
	if s.last.Busy != nil {
		parts = append(parts, busyDevices(s.last))
	}
	if n := s.memory(); n > 0 {
		parts = append(parts, fmt.Sprintf("%.1f GiB", float64(n)/(1<<30)))
	}
	return strings.Join(append(parts, s.timeLeft()), "  ")
}

// busyDevices is the part of a step for which each device computed, those of one
// process after those of another; of many devices the least and the most.
func busyDevices(step train.Step) string {
	const most = 8
	var all []float64
	var processes []string
	for _, devices := range step.Busy {
		var own []string
		for _, b := range devices {
			share := 100 * b.Seconds() / max(step.Duration, time.Microsecond).Seconds()
			all, own = append(all, share), append(own, fmt.Sprintf("%.0f", share))
		}
		processes = append(processes, strings.Join(own, " "))
	}
	if n := len(all); n > most {
		return fmt.Sprintf("%d devices %.0f to %.0f %% busy", n, slices.Min(all), slices.Max(all))
	}
	return "devices " + strings.Join(processes, " | ") + " % busy"
}

// place is how far the run is.
func (s *screen) place() string {
	return fmt.Sprintf("step %d/%d  epoch %.2f/%.3g", s.last.Step, s.left.steps, s.last.Epoch, float64(s.left.steps)/float64(s.left.perEpoch))
}

// phaseLine is what goes on, and for how long it has.
func (s *screen) phaseLine() string {
	phase := s.phase
	if phase == "" {
		phase = "computing the next step"
	}
	if took := s.now().Sub(s.since); took >= time.Second {
		phase += fmt.Sprintf(" (%s)", seconds(took))
	}
	if s.rates == nil {
		return phase
	}
	return phase + "  " + s.place() + "  " + s.timeLeft()
}

func (s *screen) timeLeft() string { return roundTime(s.left.after(s.last.Step, s.now())) + " left" }

// seconds is a time as a person says it, below a minute with a space.
func seconds(d time.Duration) string {
	if d < time.Minute {
		return fmt.Sprintf("%.0f s", d.Seconds())
	}
	return roundTime(d)
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

// close stops the clock, clears the terminal and says how the run ended.
func (s *screen) close() {
	s.stop()
	s.sayAddress()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clear()
	if s.rates != nil {
		fmt.Fprintf(s.out, "loss %.4f after %d steps, smoothed %.4f\n", s.last.Loss, s.last.Step, s.smoothed())
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

// smoothed is the loss without its ups and downs.
func (s *screen) smoothed() float64 {
	return runlog.Smooth(s.losses)[len(s.losses)-1]
}
