package update

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// Nearest is no worse than the singular values that are left out demand, and
// exact where none is.
func TestNearest(t *testing.T) {
	rng := rand.New(rand.NewPCG(14, 0))
	a, b := random(rng, 3, 1), random(rng, 5, -2)
	nearest := func(rank int, parts ...Part) []float32 {
		return dense(Sum([]Part{{Nearest(parts, rank), 1, 1}}))
	}
	want := dense(Sum([]Part{a, b}))
	last := math.Inf(1)
	for rank := 1; rank <= 9; rank++ {
		require.Equal(t, min(rank, 8), Nearest([]Part{a, b}, rank).Rank)
		got := nearest(rank, a, b)
		squares, inner := 0.0, 0.0
		for i := range want {
			rest := float64(want[i]) - float64(got[i])
			squares += rest * rest
			inner += rest * float64(got[i])
		}
		require.Less(t, squares, last+1e-9)
		require.InDelta(t, 0, inner, 1e-3, "what is left out is orthogonal to what is kept")
		last = squares
	}
	require.Less(t, math.Sqrt(last), 1e-4, "of a norm of several hundred")

	require.InDeltaSlice(t, dense(Sum([]Part{a, a})), nearest(6, a, a), 1e-5, "dependent columns")
	minus := a
	minus.Weight = -1
	require.InDeltaSlice(t, make([]float32, 70*41), nearest(2, minus, a), 1e-5, "they cancel")
	require.InDeltaSlice(t, []float32{3, 0, 0, 0}, nearest(1, ofRows(1, 3, 0, 0, 0), ofRows(-1, 0, 0, 0, 2)), 1e-6,
		"diag(3, -2) without the smaller singular value")
}
