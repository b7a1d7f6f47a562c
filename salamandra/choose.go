package salamandra

import (
	"fmt"
	"math"

	"github.com/gomlx/gomlx/core/tensors"
)

// scores is what tokens are chosen from after a step.
type scores struct {
	result stepResult
	plan   *stepPlan
	v      int
	logits []float32 // [R, V], once asked for
}

// choose returns the token after place i of the step. The likeliest one is
// found on the device; drawing and penalties bring the logits to the host.
func (s *scores) choose(r *row, i int) (int32, error) {
	if r.Temperature == 0 && r.RepetitionPenalty == 1 {
		return s.result.best[i], nil
	}
	if s.logits == nil {
		var err error
		if s.logits, err = tensors.CopyFlatData[float32](s.result.logits); err != nil {
			return 0, fmt.Errorf("salamandra: %w", err)
		}
	}
	logits := s.logits[i*s.v : (i+1)*s.v]
	words := len(s.plan.masks) / len(s.plan.last)
	mask := s.plan.masks[i*words : (i+1)*words]
	for id := range logits {
		if mask[id/32]>>(id%32)&1 == 0 {
			logits[id] = float32(math.Inf(-1))
		}
	}
	var history []int32
	if r.RepetitionPenalty != 1 {
		history = r.text
	}
	return r.next(r.draw, logits, history), nil
}
