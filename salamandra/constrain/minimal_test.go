package constrain

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// A minimised automaton accepts what it did before, and no two of its states are
// alike: some string tells each pair apart.
func TestMinimal(t *testing.T) {
	const seed = 5
	r := rand.New(rand.NewPCG(seed, 5))
	for _, pattern := range []string{
		`^[a-z ]+$`, `^\S+$`, `foo`, `^(a|b)*abb$`, `^([a-z][0-9]){2,5}$`, `^(?!abc)[a-c]*$`, `a$|^b`, `^$`, `[^x]`, `^\d{3}-\d{2}$`, `(ab|cd)+`, `\bword\b`,
	} {
		d, _, err := compileECMA(pattern, 10_000, nil)
		require.NoError(t, err)
		m := d.minimal()
		require.LessOrEqual(t, m.states(), d.states(), pattern)
		require.LessOrEqual(t, m.width, d.width, pattern)
		for range 500 {
			var text []rune
			for range r.IntN(10) {
				text = append(text, d.cuts[r.IntN(len(d.cuts))]+r.Int32N(2))
			}
			require.Equal(t, d.matches(string(text)), m.matches(string(text)), "%s of %q, seed %d", pattern, string(text), seed)
		}
		require.False(t, alike(m), pattern)
	}
}

// alike reports whether two states of a dfa accept the same strings: no string of
// fewer classes than there are states tells them apart.
func alike(d *dfa) bool {
	n := d.states()
	apart := make([]bool, n*n)
	for more := true; more; {
		more = false
		for p := range n {
			for q := range n {
				was := apart[p*n+q]
				now := was || d.accept[p] != d.accept[q]
				for c := range d.width {
					now = now || apart[int(d.row(p)[c])*n+int(d.row(q)[c])]
				}
				apart[p*n+q], more = now, more || now != was
			}
		}
	}
	for p := range n {
		for q := range p {
			if !apart[p*n+q] {
				return true
			}
		}
	}
	return false
}
