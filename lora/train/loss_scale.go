package train

import (
	"fmt"
	"math"
)

// lossScale multiplies the loss before its gradient is taken in float16, whose
// small numbers would be lost, and adapts: half after a step that overflows, which
// is skipped, and twice after many that do not.
// Source: Micikevicius et al. 2018, arXiv:1710.03740, with the rule and the numbers
// of torch.amp.GradScaler.
type lossScale struct {
	Scale   float64 `json:"scale"`
	Good    int     `json:"good_steps"`    // since the scale changed
	Skipped int     `json:"skipped_steps"` // of the run
}

const (
	// firstScale is GradScaler's 65536 over 1024: it is the sum over the trained
	// tokens that is scaled here, and their mean there.
	firstScale = 64
	// growthInterval is how many steps without overflow double the scale.
	growthInterval = 2000
	// leastScale is where a gradient that overflows is not the scale's fault.
	leastScale = 1. / 1024
)

// update takes notice of a step: whether its gradient overflowed.
func (l *lossScale) update(overflowed bool) {
	if overflowed {
		l.Scale, l.Good = l.Scale/2, 0
		l.Skipped++
		return
	}
	if l.Good++; l.Good == growthInterval {
		l.Scale, l.Good = 2*l.Scale, 0
	}
}

// skips reports whether a step is left out: its gradient overflowed, its loss did
// not. It fails where no scale would help.
func (l *lossScale) skips(s Step) (bool, error) {
	if l == nil || finite(s.GradNorm) {
		return false, nil
	}
	if !finite(s.Loss) {
		return false, fmt.Errorf("the forward pass leaves float16's range of ±65504: train in bfloat16 or float32 (dtype)")
	}
	if l.Scale <= leastScale {
		return false, fmt.Errorf("the gradient leaves float16's range at every scale of the loss: train in bfloat16 or float32 (dtype)")
	}
	return true, nil
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }
