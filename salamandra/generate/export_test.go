package generate

import (
	"context"
	"runtime"
)

// Compiled counts the programs that were compiled for g and the generators it
// shares them with.
func (g *Generator) Compiled() int { return g.programs.compiled() }

// KeptBytes is the memory of the prefixes of g, which must have no requests.
func (g *Generator) KeptBytes() int64 {
	n := int64(0)
	for _, p := range g.variant.kept {
		n += p.bytes
	}
	return n
}

// Candidates is candidates.
func (s Sampling) Candidates(logits []float32, history []int32) []candidate {
	return s.candidates(logits, history)
}

// Hold has the engine wait until so many requests do.
func (g *Generator) Hold(requests int) (wait func() error, err error) {
	held := make(chan struct{})
	t, err := g.submit(context.Background(), &task{job: func(*variant) error {
		close(held)
		for {
			g.mu.Lock()
			n := len(g.waiting)
			g.mu.Unlock()
			if n >= requests {
				return nil
			}
			runtime.Gosched()
		}
	}})
	if err != nil {
		return nil, err
	}
	<-held
	return func() error { _, err := t.wait(); return err }, nil
}

// CacheRows is how many rows there is a cache for, of a generator without requests.
func (g *Generator) CacheRows() int { return max(g.engine.cache.w, len(g.engine.spare)) }

// GPUGroup is gpuGroup.
var GPUGroup = gpuGroup
