package generate

// Compiled counts the programs that were compiled for g and the generators it
// shares them with.
func (g *Generator) Compiled() int {
	g.programs.mu.Lock()
	defer g.programs.mu.Unlock()
	n := 0
	for _, p := range g.programs.known {
		n += p.Compiled()
	}
	return n
}

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
