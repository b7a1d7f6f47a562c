package train

import (
	"fmt"
	"math"
)

// Names of the learning rate schedules, as Transformers calls them.
const (
	linear   = "linear"   // falls in a straight line to zero
	cosine   = "cosine"   // falls along half a cosine to zero
	constant = "constant" // stays
)

// schedule gives the learning rate of each optimiser step: it rises in a
// straight line over warmupSteps, then follows kind until totalSteps.
// Source: get_scheduler of Transformers; its constant_with_warmup is Constant.
type schedule struct {
	kind                    string
	learningRate            float64 // the highest rate
	warmupSteps, totalSteps int
}

// validate reports a schedule that makes no sense.
func (s schedule) validate() error {
	switch {
	case s.kind != linear && s.kind != cosine && s.kind != constant:
		return fmt.Errorf("train: schedule %q, want %s, %s or %s", s.kind, linear, cosine, constant)
	case !(s.learningRate > 0) || math.IsInf(s.learningRate, 1):
		return fmt.Errorf("train: learning rate %v, want a positive number", s.learningRate)
	case s.warmupSteps < 0 || s.totalSteps < 1:
		return fmt.Errorf("train: %d warm-up steps of %d, want 0 or more of 1 or more", s.warmupSteps, s.totalSteps)
	}
	return nil
}

// at returns the learning rate of a step, counted from 0.
func (s schedule) at(step int) float64 {
	if step < s.warmupSteps {
		return s.learningRate * float64(step) / float64(s.warmupSteps)
	}
	progress := float64(step-s.warmupSteps) / float64(max(1, s.totalSteps-s.warmupSteps))
	switch s.kind {
	case linear:
		return s.learningRate * max(0, 1-progress)
	case cosine:
		return s.learningRate * max(0, 0.5*(1+math.Cos(math.Pi*progress)))
	}
	return s.learningRate
}
