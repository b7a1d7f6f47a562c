package update

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// dense returns all rows of an update, [Out, In].
func dense(u *Update) []float32 {
	row := u.evaluator()
	update := make([]float32, u.Out*u.In)
	for i := range u.Out {
		row.compute(i, update[i*u.In:(i+1)*u.In])
	}
	return update
}

// elected is the dense update of Elect.
func elected(t *testing.T, density float64, parts ...Part) []float32 {
	t.Helper()
	u, err := Elect(t.Context(), parts, density)
	require.NoError(t, err)
	return dense(u)
}

// ofRows returns a part whose update is these rows of two: A is the identity.
func ofRows(weight float64, update ...float32) Part {
	f := Factors{Name: "q", In: 2, Out: len(update) / 2, Rank: 2, A: []float32{1, 0, 0, 1}, B: update}
	return Part{f, 1, weight}
}

func TestSumByHand(t *testing.T) {
	parts := []Part{ofRows(0.5, 2, 4), ofRows(-2, 1, 0)}
	require.Equal(t, []float32{-1, 2}, dense(Sum(parts)), "0.5*2 - 2*1, 0.5*4")
	require.Equal(t, []float32{-1, 2}, dense(Sum([]Part{{Concatenate(parts), 1, 1}})), "the same sum")
}

func TestElectByHand(t *testing.T) {
	for _, row := range []struct {
		name, reason string
		density      float64
		parts        []Part
		want         []float32
	}{
		{
			name: "elects", density: 1, parts: []Part{ofRows(1, 3, 1), ofRows(1, -1, 2), ofRows(1, -1, 0)}, want: []float32{3, 1.5},
			reason: "3 outweighs -1 and -1; zeros do not count in the mean",
		},
		{
			name: "trims", density: 0.5, parts: []Part{ofRows(1, 4, 1, -3, 2), ofRows(1, 1, 5, 6, -2)}, want: []float32{4, 5, 6, 0},
			reason: "of each the two largest are left: 4 and -3, 5 and 6; 6 outweighs -3",
		},
		{
			name: "weighs", density: 1, parts: []Part{ofRows(1, 3, 3), ofRows(2, -2, 2)}, want: []float32{-4, 3.5},
			reason: "-4 outweighs 3; the mean of 3 and 4",
		},
		{
			name: "negative weight", density: 1, parts: []Part{ofRows(1, 1, 1), ofRows(-1, -3, 3)}, want: []float32{2, -3},
			reason: "the mean of 1 and 3; -3 outweighs 1",
		},
		{
			name: "undecided", density: 1, parts: []Part{ofRows(1, 1, 0), ofRows(-1, 1, 0)}, want: []float32{0, 0},
			reason: "no sign has the majority",
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			require.Equal(t, row.want, elected(t, row.density, row.parts...), row.reason)
		})
	}
}

// random is a part of out 70 and in 41: more than one block of rows.
func random(rng *rand.Rand, rank int, weight float64) Part {
	f := Factors{Name: "q", In: 41, Out: 70, Rank: rank, A: make([]float32, rank*41), B: make([]float32, 70*rank)}
	for i := range f.A {
		f.A[i] = float32(rng.NormFloat64())
	}
	for i := range f.B {
		f.B[i] = float32(rng.NormFloat64())
	}
	return Part{f, 0.5, weight}
}

// One part at full density and rank is itself; the order does not matter.
func TestUpdateLaws(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 0))
	a, b, c := random(rng, 3, 1), random(rng, 5, -0.7), random(rng, 2, 0.3)
	one := dense(Sum([]Part{a}))
	require.InDeltaSlice(t, one, dense(Sum([]Part{{Nearest([]Part{a}, 3), 1, 1}})), 1e-6)
	for name, of := range map[string]func(density float64, rank int, parts ...Part) []float32{
		"sum":   func(_ float64, _ int, parts ...Part) []float32 { return dense(Sum(parts)) },
		"elect": func(density float64, _ int, parts ...Part) []float32 { return elected(t, density, parts...) },
		"drop":  func(density float64, _ int, parts ...Part) []float32 { return dense(Drop(parts, density, 5)) },
		"nearest": func(_ float64, rank int, parts ...Part) []float32 {
			if len(parts) == 1 {
				return dense(Sum(parts)) // which is compared above
			}
			return dense(Sum([]Part{{Nearest(parts, rank), 1, 1}}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, one, of(1, 3, a), "bit for bit")
			first, second := []Part{a, b, c}, []Part{c, a, b}
			Sort(first)
			Sort(second)
			require.Equal(t, of(0.4, 4, first...), of(0.4, 4, second...), "bit for bit")
		})
	}
}

// Drop keeps about density of the entries, each divided by it, and the choice
// depends only on seed, name and part.
func TestDrop(t *testing.T) {
	rng := rand.New(rand.NewPCG(12, 0))
	a, b := random(rng, 3, 1), random(rng, 3, 1)
	dropped := func(seed uint64, parts ...Part) []float32 { return dense(Drop(parts, 0.25, seed)) }
	whole, first := dense(Sum([]Part{a})), dropped(1, a)
	kept := 0
	for i, v := range first {
		if v != 0 {
			kept++
			require.InDelta(t, 4*whole[i], v, 1e-5)
		}
	}
	require.InDelta(t, 0.25, float64(kept)/float64(len(whole)), 0.03)
	require.Equal(t, first, dropped(1, a), "same seed, same choice")

	both, second := dropped(1, a, b), dropped(1, b)
	for i := range both {
		require.InDelta(t, first[i]+second[i], both[i], 1e-5, "the choice for one does not depend on the other")
	}
	require.NotEqual(t, first, dropped(2, a), "seed")
	a.Name += "2"
	require.NotEqual(t, first, dropped(1, a), "name")
}

// The threshold found by counting is that of sorting.
func TestElectKeepsTheLargest(t *testing.T) {
	rng := rand.New(rand.NewPCG(13, 0))
	a := random(rng, 4, 1)
	whole := dense(Sum([]Part{a}))
	for _, density := range []float64{1e-9, 0.01, 0.5, 0.99} {
		smallest, largestLost, kept := math.Inf(1), 0.0, 0
		for i, v := range elected(t, density, a) {
			if v != 0 {
				kept++
				require.Equal(t, whole[i], v)
				smallest = min(smallest, math.Abs(float64(v)))
			} else {
				largestLost = max(largestLost, math.Abs(float64(whole[i])))
			}
		}
		require.Equal(t, max(1, int(density*70*41)), kept, "density %v", density)
		require.Greater(t, smallest, largestLost)
	}
}

func TestSquareNorm(t *testing.T) {
	rng := rand.New(rand.NewPCG(16, 0))
	parts := []Part{random(rng, 3, 1), random(rng, 5, -0.7)}
	want := 0.0
	for _, x := range dense(Sum(parts)) {
		want += float64(x) * float64(x)
	}
	require.InEpsilon(t, want, SquareNorm(parts), 1e-6)
}
