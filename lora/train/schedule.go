package train

import (
	"fmt"
	"math"
)

// Names of the learning rate schedules, as Transformers calls them.
const (
	Linear   = "linear"   // falls in a straight line to zero
	Cosine   = "cosine"   // falls along half a cosine to zero
	Constant = "constant" // stays
)

// Schedule gives the learning rate of each optimiser step: it rises in a
// straight line over WarmupSteps, then follows Kind until TotalSteps.
// Source: get_scheduler of Transformers; its constant_with_warmup is Constant.
type Schedule struct {
	Kind         string
	LearningRate float64 // the highest rate
	WarmupSteps  int
	TotalSteps   int
}

// Validate reports a schedule that makes no sense.
func (s Schedule) Validate() error {
	switch {
	case s.Kind != Linear && s.Kind != Cosine && s.Kind != Constant:
		return fmt.Errorf("train: schedule %q, want %s, %s or %s", s.Kind, Linear, Cosine, Constant)
	case !(s.LearningRate > 0) || math.IsInf(s.LearningRate, 1):
		return fmt.Errorf("train: learning rate %v, want a positive number", s.LearningRate)
	case s.WarmupSteps < 0 || s.TotalSteps < 1:
		return fmt.Errorf("train: %d warm-up steps of %d, want 0 or more of 1 or more", s.WarmupSteps, s.TotalSteps)
	}
	return nil
}

// At returns the learning rate of a step, counted from 0.
func (s Schedule) At(step int) float64 {
	if step < s.WarmupSteps {
		return s.LearningRate * float64(step) / float64(s.WarmupSteps)
	}
	progress := float64(step-s.WarmupSteps) / float64(max(1, s.TotalSteps-s.WarmupSteps))
	switch s.Kind {
	case Linear:
		return s.LearningRate * max(0, 1-progress)
	case Cosine:
		return s.LearningRate * max(0, 0.5*(1+math.Cos(math.Pi*progress)))
	}
	return s.LearningRate
}
