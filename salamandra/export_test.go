package salamandra

// Compiled counts the programs that were compiled for g and the generators it
// shares them with.
func (g *Generator) Compiled() int { return int(g.programs.built.Load()) }
