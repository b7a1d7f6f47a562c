package serve

import (
	"cmp"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/impulse-salamandra/finetune/chatml"
)

// people is what a model says of itself to people.
type people struct {
	Title       string   `json:"title,omitempty"`
	Description string   `json:"description,omitempty"`
	Examples    []string `json:"examples,omitempty"`
}

// or fills what is empty from others.
func (p people) or(o people) people {
	p.Title, p.Description = cmp.Or(p.Title, o.Title), cmp.Or(p.Description, o.Description)
	if len(p.Examples) == 0 {
		p.Examples = o.Examples
	}
	return p
}

// modelList is the answer of /v1/models.
type modelList struct {
	Object string        `json:"object"`
	Data   []modelDetail `json:"data"`
}

type modelDetail struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int64  `json:"created"`
	OwnedBy string `json:"owned_by"`
	// Parse reports whether the model answers /parse; Adapter is the one it has.
	Parse   bool   `json:"parse"`
	Adapter string `json:"adapter,omitempty"`
	people
}

// modelContract is the answer of /v1/models/{model}: how the model answers, too.
type modelContract struct {
	modelDetail
	Schema        json.RawMessage                `json:"schema"`
	RequestValues map[string]chatml.RequestValue `json:"request_values"`
}

func (v *served) detail() modelDetail {
	v.mu.Lock()
	defer v.mu.Unlock()
	c := v.Contract()
	return modelDetail{
		v.name, "model", v.since.Unix(), "local", v.CheckAsk() == nil, v.adapter,
		v.texts.or(people{c.Title, c.Description, c.Examples}),
	}
}

func (s *Server) listModels(w http.ResponseWriter, _ *http.Request, _ *entry) error {
	list := modelList{Object: "list", Data: []modelDetail{}}
	for _, v := range s.models.all() {
		list.Data = append(list.Data, v.detail())
	}
	writeJSON(w, http.StatusOK, list)
	return nil
}

// showModel answers for the one model that the path names.
func (s *Server) showModel(w http.ResponseWriter, r *http.Request, _ *entry) error {
	name := strings.TrimPrefix(r.URL.Path, modelPath)
	if name == "" { // which would be the first model
		return errNoModel
	}
	v := s.models.find(name)
	if v == nil {
		return errNoModel
	}
	c := v.Contract()
	writeJSON(w, http.StatusOK, modelContract{v.detail(), c.Schema, c.RequestValues})
	return nil
}
