package serve

import (
	"cmp"
	"net/http"
	"time"
)

// swapRequest is the body of /admin/adapter.
type swapRequest struct {
	Adapter string `json:"adapter"`
	Model   string `json:"model"`
}

type swapAnswer struct {
	Model   string  `json:"model"`
	Adapter string  `json:"adapter"`
	Took    float64 `json:"took_ms"`
	Warning string  `json:"warning,omitempty"`
}

// swapAdapter puts an adapter behind a model's name, see [Server.LoadAdapter]. Its
// prefix is computed before requests come to it; those that run finish with what
// they began with.
func (s *Server) swapAdapter(w http.ResponseWriter, r *http.Request, e *entry) error {
	data, err := s.readBody(w, r)
	if err != nil {
		return err
	}
	var ask swapRequest
	if err := decode(data, &ask); err != nil {
		return err
	}
	start := time.Now()
	v, err := s.load(r.Context(), ask.Adapter, cmp.Or(ask.Model, s.opts.Name))
	if err != nil {
		return err
	}
	if err := v.Warm(r.Context()); err != nil { // where it was loaded before the others were warm
		return err
	}
	s.metrics.swapped()
	e.model = v.name
	writeJSON(w, http.StatusOK, swapAnswer{v.name, ask.Adapter, milliseconds(time.Since(start)), v.Effect()})
	return nil
}
