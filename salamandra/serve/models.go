package serve

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/impulse-salamandra/finetune"
	"github.com/impulse-salamandra/finetune/chatml"
)

// model is what the server needs of a model; *finetune.Model is one.
type model interface {
	AskAll(ctx context.Context, questions []string, opts finetune.AskOptions) ([]finetune.Answer, error)
	Chat(ctx context.Context, messages []chatml.Message, opts finetune.ChatOptions) (finetune.Answer, error)
	CheckAsk() error
	Contract() chatml.Contract
	Effect() string
	Ready() bool
	Warm(ctx context.Context) error
	Swap(ctx context.Context, adapterDir string) error
	Close() error
}

// served is a model and its name.
type served struct {
	model
	name  string
	texts people // that take the place of its contract's

	mu      sync.Mutex
	adapter string // that was loaded by name
	since   time.Time
}

// note keeps which adapter the model has now, and logs what it does not do.
func (s *Server) note(v *served, adapter string) {
	v.mu.Lock()
	v.adapter, v.since = adapter, time.Now()
	v.mu.Unlock()
	if effect := v.Effect(); effect != "" {
		s.opts.Logger.Warn(effect, "model", v.name, "adapter", adapter)
	}
}

// fingerprint changes when the adapter behind a name does.
func (v *served) fingerprint() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return "fp_" + v.since.UTC().Format("20060102150405.000")
}

// checkModel refuses a model whose schema cannot be kept to; one without a schema
// does not answer /parse.
func checkModel(name string, m model) error {
	if err := m.CheckAsk(); err != nil && !errors.Is(err, finetune.ErrNoSchema) {
		return fmt.Errorf("serve: model %s: %w", name, err)
	}
	return nil
}

// registry is the models by name.
type registry struct {
	mu     sync.Mutex
	byName map[string]*served
	first  string
}

// add puts a model in, the first one before all others.
func (r *registry) add(v *served) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byName == nil {
		r.byName, r.first = map[string]*served{}, v.name
	}
	r.byName[v.name] = v
}

// find returns a model, the first one for "", and nil for a name that none has.
func (r *registry) find(name string) *served {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.byName[cmp.Or(name, r.first)]
}

// all lists the models by name, the first one first.
func (r *registry) all() []*served {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.SortedFunc(maps.Values(r.byName), func(a, b *served) int {
		switch r.first {
		case a.name:
			return -1
		case b.name:
			return 1
		}
		return cmp.Compare(a.name, b.name)
	})
}

var errNoModel = fail(http.StatusNotFound, "model_not_found", "model", "no model of this name is served; /v1/models lists them")
