package serve

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/impulse-salamandra/finetune"
)

// errTimeout is why a request's context ends once its time is over.
var errTimeout = errors.New("timeout")

// answer is a model's, and how long it took from admission to its end.
type answer struct {
	finetune.Answer
	total time.Duration
}

var errDraining = &failure{status: http.StatusServiceUnavailable, code: "shutting_down", message: "the server is shutting down", retry: time.Second}

// admit takes one of the places of requests that are computed or wait.
func (s *Server) admit() (leave func(), err error) {
	if s.draining.Load() {
		return nil, errDraining
	}
	if s.inFlight.Add(1) > int64(s.opts.InFlight) {
		s.inFlight.Add(-1)
		return nil, &failure{status: http.StatusServiceUnavailable, code: "overloaded", message: "too many requests are waiting", retry: time.Second}
	}
	return func() { s.inFlight.Add(-1) }, nil
}

// enter admits a request to the model of this name, until it leaves.
func (s *Server) enter(name string, e *entry) (v *served, leave func(), err error) {
	out, err := s.admit()
	if err != nil {
		return nil, nil, err
	}
	if v = s.models.find(name); v == nil {
		out()
		return nil, nil, errNoModel
	}
	e.model = v.name
	return v, out, nil
}

// ask has an answer computed, in the time there is for it.
func (s *Server) ask(ctx context.Context, e *entry, compute func(ctx context.Context) (finetune.Answer, error)) (answer, error) {
	start := time.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, s.opts.Timeout, errTimeout)
	defer cancel()
	a, err := compute(ctx)
	if err != nil {
		return answer{}, err
	}
	e.usage = a
	s.metrics.answered(a)
	return answer{a, time.Since(start)}, nil
}
