package serve

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/salamandra"
	"github.com/impulse-salamandra/finetune/salamandra/constrain"
)

// Paths of an answer whose values are known from the request.
const (
	queryPath    = "meta.original_query"
	languagePath = "meta.lang"
)

// served is a model and what its requests share.
type served struct {
	Model
	grammar     *constrain.Grammar // of the contract's schema; nil without one
	repeats     bool               // an answer has a place for the query
	since       time.Time
	mu          sync.Mutex
	users       int     // requests that hold it, and the registry
	everyPrompt []int32 // what all prompts begin with
}

// prepare reads a model's schema and finds what its prompts have in common.
func (s *Server) prepare(m Model) (*served, error) {
	if m.Name == "" || m.Engine == nil {
		return nil, fmt.Errorf("serve: model %q: want a name and an engine", m.Name)
	}
	v := &served{Model: m, since: time.Now(), users: 1}
	if m.Contract.Schema != nil {
		opts := constrain.DefaultOptions()
		opts.Indent = m.Contract.Layout.Indent
		var err error
		if v.grammar, err = constrain.Compile(m.Contract.Schema, opts); err != nil {
			return nil, fmt.Errorf("serve: model %s: schema: %w", m.Name, err)
		}
		if _, err := v.grammar.Matcher(s.vocabulary); err != nil {
			return nil, fmt.Errorf("serve: model %s: %w", m.Name, err)
		}
		_, err = v.grammar.With(map[string]json.RawMessage{queryPath: json.RawMessage(`"query"`)})
		v.repeats = err == nil
	}
	var err error
	if v.everyPrompt, err = v.commonPrompt(s.opts.Tokenizer); err != nil {
		return nil, err
	}
	if m.Warning != "" {
		s.opts.Logger.Warn(m.Warning, "model", m.Name, "adapter", m.Adapter)
	}
	return v, nil
}

// commonPrompt returns the ids that the prompts of all queries begin with.
func (v *served) commonPrompt(tok Tokenizer) ([]int32, error) {
	var common []int32
	for i, query := range []string{"a", "1 b", "\u00e9", "\u03a9", "\"", "\n"} {
		ids, err := v.prompt(tok, []chatml.Message{{Role: chatml.User, Content: query}})
		if err != nil {
			return nil, fmt.Errorf("serve: model %s: %w", v.Name, err)
		}
		if i == 0 {
			common = ids
		}
		n := 0
		for n < min(len(common), len(ids)) && common[n] == ids[n] {
			n++
		}
		common = common[:n]
	}
	return common, nil
}

// prompt returns the ids of a conversation. One without a system message has
// that of training.
func (v *served) prompt(tok Tokenizer, messages []chatml.Message) ([]int32, error) {
	c := v.Contract
	if c.SystemPrompt != "" && !slices.ContainsFunc(messages, func(m chatml.Message) bool { return m.Role == chatml.System }) {
		messages = slices.Concat([]chatml.Message{{Role: chatml.System, Content: c.SystemPrompt}}, messages)
	}
	return c.Template().EncodePrompt(tok, messages)
}

// constraint keeps an answer to the schema. The query is given to the answer
// where that repeats it; the language, unless "", has to have a place.
func (v *served) constraint(vocabulary *constrain.Vocabulary, query, language string) (*constrain.Matcher, error) {
	constants := map[string]json.RawMessage{}
	if v.repeats {
		constants[queryPath], _ = json.Marshal(query)
	}
	if language != "" {
		constants[languagePath], _ = json.Marshal(language)
	}
	g := v.grammar
	if len(constants) > 0 {
		var err error
		if g, err = g.With(constants); err != nil {
			return nil, constantFailure(err)
		}
	}
	return g.Matcher(vocabulary)
}

// constantFailure tells which field of the request the schema refuses.
func constantFailure(err error) error {
	var compile *constrain.CompileError
	if !errors.As(err, &compile) {
		return err
	}
	f := compile.Faults[0]
	switch f.Pointer {
	case languagePath:
		return fail(http.StatusUnprocessableEntity, "invalid_language", "language", "the answers of this model cannot have this language: %s", f.Detail)
	case queryPath:
		return fail(http.StatusUnprocessableEntity, "invalid_query", "query", "the answers of this model cannot repeat this query: %s", f.Detail)
	}
	return err
}

// release ends a request's use of the model.
func (v *served) release() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.users--; v.users == 0 && v.Close != nil {
		v.Close()
	}
}

// registry is the models by name. A model that is taken out is closed by the
// last request that uses it.
type registry struct {
	mu     sync.Mutex
	byName map[string]*served
	first  string
}

func newRegistry() *registry { return &registry{byName: map[string]*served{}} }

// add puts a model in, unless there is one of its name.
func (r *registry) add(v *served) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byName[v.Name] != nil {
		return false
	}
	if r.first == "" {
		r.first = v.Name
	}
	r.byName[v.Name] = v
	return true
}

// replace puts a model in the place of the one of its name, or adds it unless
// there are most models already.
func (r *registry) replace(v *served, most int) bool {
	r.mu.Lock()
	old := r.byName[v.Name]
	full := old == nil && len(r.byName) >= most
	if !full {
		r.byName[v.Name] = v
	}
	r.mu.Unlock()
	if old != nil {
		old.release()
	}
	return !full
}

// use returns a model for a request, which has to release it; the first one for
// "".
func (r *registry) use(name string) (*served, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if name == "" {
		name = r.first
	}
	v := r.byName[name]
	if v == nil {
		return nil, fail(http.StatusNotFound, "model_not_found", "model", "no model of this name is served; /v1/models lists them")
	}
	v.hold()
	return v, nil
}

func (v *served) hold() {
	v.mu.Lock()
	v.users++
	v.mu.Unlock()
}

// all returns the models in use for the caller, by name, the first one first.
func (r *registry) all() []*served {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []*served
	for _, v := range r.byName {
		v.hold()
		list = append(list, v)
	}
	slices.SortFunc(list, func(a, b *served) int {
		switch r.first {
		case a.Name:
			return -1
		case b.Name:
			return 1
		}
		return cmp.Compare(a.Name, b.Name)
	})
	return list
}

func (r *registry) close() {
	r.mu.Lock()
	list := r.byName
	r.byName = map[string]*served{}
	r.mu.Unlock()
	for _, v := range list {
		v.release()
	}
}

// warmModel computes what all prompts of a model begin with, and one answer.
func (s *Server) warmModel(ctx context.Context, v *served) error {
	if len(v.everyPrompt) > 0 {
		if err := v.Engine.Warm(ctx, v.everyPrompt); err != nil {
			return err
		}
	}
	prompt, err := v.prompt(s.opts.Tokenizer, []chatml.Message{{Role: chatml.User, Content: "a"}})
	if err != nil {
		return err
	}
	_, err = v.Engine.Do(ctx, salamandra.Request{Prompt: prompt, Sampling: salamandra.Greedy(), MaxNewTokens: 2, StopTokens: s.opts.StopTokens})
	return err
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
	// Parse tells whether the model answers /parse, Adapter which one it has.
	Parse   bool   `json:"parse"`
	Adapter string `json:"adapter,omitempty"`
}

func (s *Server) listModels(w http.ResponseWriter, _ *http.Request, _ *entry) error {
	list := modelList{Object: "list", Data: []modelDetail{}}
	for _, v := range s.models.all() {
		list.Data = append(list.Data, modelDetail{v.Name, "model", v.since.Unix(), "local", v.grammar != nil, v.Adapter})
		v.release()
	}
	writeJSON(w, http.StatusOK, list)
	return nil
}
