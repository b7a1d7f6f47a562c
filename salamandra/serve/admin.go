package serve

import (
	"net/http"
	"time"
)

// maxModels bounds the models that /admin/adapter puts side by side: each keeps
// its prefix on the device.
const maxModels = 16

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

// swapAdapter puts an adapter behind a model's name: in the place of the one
// there, or beside the others under a new name. Its prefix is computed before
// requests come to it; those that run finish with what they began with.
func (s *Server) swapAdapter(w http.ResponseWriter, r *http.Request, e *entry) error {
	data, err := s.readBody(w, r)
	if err != nil {
		return err
	}
	var ask swapRequest
	if err := decode(data, &ask); err != nil {
		return err
	}
	if ask.Model == "" {
		first, err := s.models.use("")
		if err != nil {
			return err
		}
		ask.Model = first.Name
		first.release()
	}
	if !goodName(ask.Model) || !goodName(ask.Adapter) {
		return fail(http.StatusUnprocessableEntity, "invalid_name", "adapter", "adapter and model: want names of up to 64 letters, digits, '.', '_' and '-', without a directory")
	}
	start := time.Now()
	m, err := s.opts.Load(r.Context(), ask.Adapter)
	if err != nil {
		return err
	}
	m.Name, m.Adapter = ask.Model, ask.Adapter
	v, err := s.prepare(m)
	if err != nil {
		if m.Close != nil {
			m.Close()
		}
		return fail(http.StatusUnprocessableEntity, "unusable_adapter", "adapter", "%v", err)
	}
	if err := s.warmModel(r.Context(), v); err != nil {
		v.release()
		return err
	}
	if !s.models.replace(v, maxModels) {
		v.release()
		return fail(http.StatusUnprocessableEntity, "too_many_models", "model", "there are %d models already; name one of them to take its place", maxModels)
	}
	s.metrics.swapped()
	e.model = ask.Model
	writeJSON(w, http.StatusOK, swapAnswer{ask.Model, ask.Adapter, milliseconds(time.Since(start)), m.Warning})
	return nil
}

// goodName tells whether a name is safe as one element of a path.
func goodName(name string) bool {
	if name == "" || len(name) > 64 || name[0] == '.' {
		return false
	}
	for _, c := range []byte(name) {
		ok := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-'
		if !ok {
			return false
		}
	}
	return true
}
