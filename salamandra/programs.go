package salamandra

import (
	"fmt"
	"sync"

	. "github.com/gomlx/gomlx/core/graph"
)

// programs are the compiled programs of a model, shared by the generators made
// from one by [Generator.With].
type programs struct {
	model *Model
	mu    sync.Mutex
	known map[string]*Program
	users int
}

func newPrograms(m *Model) *programs {
	return &programs{model: m, known: map[string]*Program{}, users: 1}
}

func (ps *programs) share() *programs {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	ps.users++
	return ps
}

// close frees the programs when the last user is gone.
func (ps *programs) close() {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if ps.users--; ps.users > 0 {
		return
	}
	for _, p := range ps.known {
		p.Close()
	}
	clear(ps.known)
}

// get returns the program called name for the adapter of v, made at the first
// call and compiled when it first runs.
func (ps *programs) get(v *variant, name string, build func(t Transformer, args []*Node) []*Node) (*Program, error) {
	key := name + v.structure
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if p, ok := ps.known[key]; ok {
		return p, nil
	}
	p, err := ps.model.NewProgram(name, v.adapter, build)
	if err == nil {
		ps.known[key] = p
	}
	return p, err
}

// structure tells adapters apart that build different graphs.
func structure(a Adapter) string {
	switch a := a.(type) {
	case nil:
		return ""
	case interface{ Structure() string }:
		return a.Structure()
	default:
		return fmt.Sprintf(" %T %p", a, a)
	}
}
