package main

import (
	"math"
	"strings"
	"time"

	"github.com/impulse-salamandra/finetune"
	"github.com/impulse-salamandra/finetune/lora/train"
)

// timeLeft estimates how long a run still takes: its steps, the shapes that are
// still to compile, and what each epoch ends with, evaluation and answers.
type timeLeft struct {
	steps, perEpoch int // of the run, of an epoch
	// trainShapes and evalShapes are still to compile.
	trainShapes, evalShapes int
	// evaluation is the work of one in parts of that of a step; answers is how
	// many times an epoch's end asks for them.
	evaluation float64
	answers    int

	times    []float64 // seconds of recent steps, compilation left out
	compiled int       // shapes
	compile  float64   // seconds they took
	ends     []float64 // seconds of each epoch's end, compilation left out
	ended    time.Time // of the last step
	ending   bool      // an epoch's end is under way
}

// Of what an epoch's end takes before one was measured: a forward pass is a third
// of a step, and sample answers are bounded by a tenth of the epoch.
const (
	forwardShare = 1. / 3
	answerShare  = 1. / 10
)

// newTimeLeft takes from a plan and from where the run begins what is to be
// computed.
func newTimeLeft(p *finetune.TrainPlan, s train.Status, answers int) timeLeft {
	l := timeLeft{steps: s.TotalSteps, perEpoch: s.StepsPerEpoch, trainShapes: len(p.Train.Shapes)}
	if p.Eval != nil {
		l.answers, l.evalShapes = answers, len(p.Eval.Shapes)
		l.evaluation = forwardShare * float64(p.Eval.Slots) * float64(s.StepsPerEpoch) / float64(p.Train.Slots)
	}
	return l
}

// compiling counts a shape whose compilation begins.
func (l *timeLeft) compiling(phase string) {
	l.compiled++
	if strings.HasSuffix(phase, "to evaluate") {
		l.evalShapes = max(0, l.evalShapes-1)
	} else {
		l.trainShapes = max(0, l.trainShapes-1)
	}
}

// step counts a step that ended now.
func (l *timeLeft) step(s train.Step, now time.Time) {
	l.ended, l.ending = now, s.Step%l.perEpoch == 0 || s.Step == l.steps
	l.times = recent(l.times, (s.Duration - s.Compiling).Seconds())
	l.compile += s.Compiling.Seconds()
}

// epoch counts the end of an epoch, which came now.
func (l *timeLeft) epoch(e train.Epoch, now time.Time) {
	l.ending = false
	l.ends = append(l.ends, now.Sub(l.ended).Seconds()-e.Compiling.Seconds())
	l.compile += e.Compiling.Seconds()
}

// after estimates the time from now to the end when step is the last one done.
func (l *timeLeft) after(step int, now time.Time) time.Duration {
	steps := l.steps - step
	ends := math.Ceil(float64(steps) / float64(l.perEpoch))
	end := l.epochEnd()
	seconds := float64(steps)*median(l.times) + ends*end
	shapes := min(l.trainShapes, steps)
	if l.ending {
		seconds += max(0, end-now.Sub(l.ended).Seconds())
	}
	if l.ending || ends > 0 {
		shapes += l.evalShapes
	}
	if l.compiled > 0 {
		seconds += l.compile / float64(l.compiled) * float64(shapes)
	}
	return time.Duration(seconds * float64(time.Second))
}

// epochEnd is what the end of an epoch takes, in seconds, by those that there were
// or, before the first, by the time of a step.
func (l *timeLeft) epochEnd() float64 {
	if len(l.ends) > 0 {
		return median(l.ends)
	}
	return median(l.times) * (l.evaluation + float64(l.answers)*answerShare*float64(l.perEpoch))
}
