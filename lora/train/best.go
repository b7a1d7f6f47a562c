package train

// judge compares an evaluation with the best so far: by score, the higher the
// better, if evaluations are scored, else by loss. The first of equals is the
// best. It reports whether the run should stop.
func (t *Trainer) judge(e *Evaluation) (stop bool) {
	best := t.state.Best
	e.Best = best == nil || e.Score != nil && (best.Score == nil || *e.Score > *best.Score) || e.Score == nil && e.Loss < best.Loss
	if e.Best {
		kept := *e
		t.state.Best, t.state.Worse = &kept, 0
		return false
	}
	t.state.Worse++
	return t.config.EarlyStoppingPatience > 0 && t.state.Worse >= t.config.EarlyStoppingPatience
}

// Best returns the best evaluation so far; ok is false if there was none. Its
// adapter is that of the checkpoint of the same step.
func (t *Trainer) Best() (e Evaluation, ok bool) {
	if t.state.Best == nil {
		return e, false
	}
	e = *t.state.Best
	e.Best = true // a checkpoint does not say it
	return e, true
}

// StoppedEarly tells whether the run ended because evaluations did not get
// better.
func (t *Trainer) StoppedEarly() bool { return t.state.stopped }
