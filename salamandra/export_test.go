package salamandra

// Compiled counts the programs that were compiled for g and the generators it
// shares them with.
func (g *Generator) Compiled() int { return int(g.programs.built.Load()) }

// KeptBytes is the memory of the prefixes of g, which must have no requests.
func (g *Generator) KeptBytes() int64 {
	n := int64(0)
	for _, p := range g.variant.kept {
		n += p.bytes
	}
	return n
}
