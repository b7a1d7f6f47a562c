package constrain

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// The length of the shortest rest of a multiple is that of a search through all its
// states, from wherever an answer is, and no place without a rest is ever reached.
func TestSieveShortest(t *testing.T) {
	const seed = 9
	r := rand.New(rand.NewPCG(seed, 9))
	for _, step := range []string{"7", "2.5", "0.01", "0.15", "40"} {
		for _, limits := range []string{``, `,"minimum":31`, `,"maximum":-3.5`, `,"exclusiveMinimum":500,"maximum":12345`, `,"not":{"enum":[0,35,1000]}`, `,"not":{"multipleOf":9}`} {
			for _, kind := range []string{"number", "integer"} {
				schema := fmt.Sprintf(`{"type":%q,"multipleOf":%s%s}`, kind, step, limits)
				g := mustCompile(t, schema, DefaultOptions())
				for range 4 {
					n := g.start
					for length := 0; n != nil && length < 22; length++ {
						require.Equal(t, shortestRest(g.b, n), n.min, "%s after %d bytes, seed %d", schema, length, seed)
						n = g.b.after(n, "-0123456789..."[r.IntN(14)])
					}
				}
			}
		}
	}
}

// shortestRest looks for the shortest string of n in the order of length.
func shortestRest(b *builder, n *node) int {
	level, seen := []*node{n}, map[*node]bool{n: true}
	for length := 0; len(level) > 0; length++ {
		var next []*node
		for _, x := range level {
			if x.op == opEmpty || x.op == opAlt && x.alts[0].op == opEmpty {
				return length
			}
			for _, to := range b.stepsOf(x).next {
				if to != nil && !seen[to] {
					seen[to], next = true, append(next, to)
				}
			}
		}
		level = next
	}
	return never
}
