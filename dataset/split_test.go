package dataset

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// prompts makes examples whose prompts are the given numbers, ids their places.
func prompts(ps ...int) []Example {
	var es []Example
	for i, p := range ps {
		es = append(es, Example{ID: fmt.Sprint(i), IDs: []int32{1, int32(p), int32(100 + i)}, Train: []bool{false, false, true}})
	}
	return es
}

func numbers(n int) []int {
	ns := make([]int, n)
	for i := range ns {
		ns[i] = i
	}
	return ns
}

func ids(es []Example) []string {
	var names []string
	for _, e := range es {
		names = append(names, e.ID)
	}
	return names
}

func TestSplitSizes(t *testing.T) {
	for _, row := range []struct {
		name, reason string
		prompts      []int
		fraction     float64
		want         int // evaluated
	}{
		{name: "tenth", prompts: numbers(700), fraction: .1, want: 70},
		{name: "rounded", prompts: numbers(16), fraction: .1, want: 2},
		{name: "at least one", prompts: numbers(3), fraction: .01, want: 1},
		{name: "none", prompts: numbers(3), fraction: 0, want: 0},
		{name: "one example", prompts: numbers(1), fraction: .5, want: 0, reason: "training comes first"},
		{name: "nearly all", prompts: numbers(4), fraction: .99, want: 3, reason: "one group is left to train on"},
		{name: "one prompt", prompts: []int{7, 7, 7, 7}, fraction: .5, want: 0, reason: "equal prompts are not parted"},
		{name: "pairs", prompts: []int{1, 1, 2, 2, 3, 3, 4, 4}, fraction: .4, want: 2, reason: "three do not come in pairs"},
		{name: "pairs, one asked", prompts: []int{1, 1, 2, 2}, fraction: .1, want: 2, reason: "something to evaluate on is better than the exact share"},
		{name: "no examples", fraction: .5},
	} {
		t.Run(row.name, func(t *testing.T) {
			train, eval, err := Split(prompts(row.prompts...), row.fraction, 42)
			require.NoError(t, err)
			require.Len(t, eval, row.want, row.reason)
			require.Len(t, train, len(row.prompts)-row.want)
		})
	}
	for _, bad := range []float64{-.1, 1, math.NaN()} {
		_, _, err := Split(prompts(1, 2), bad, 42)
		require.ErrorIs(t, err, ErrOption)
	}
}

func TestSplitLaws(t *testing.T) {
	var ps []int
	for i := range 300 {
		ps = append(ps, i*i%97) // many equal prompts
	}
	examples := prompts(ps...)
	train, eval, err := Split(examples, .2, 1)
	require.NoError(t, err)
	require.True(t, slices.IsSortedFunc(train, func(a, b Example) int { return int(a.IDs[2] - b.IDs[2]) }), "order is kept")
	for _, e := range eval {
		require.False(t, slices.ContainsFunc(train, func(o Example) bool { return o.IDs[1] == e.IDs[1] }), "no evaluated prompt is trained")
	}
	require.ElementsMatch(t, ids(examples), append(ids(train), ids(eval)...))

	reversed := slices.Clone(examples)
	slices.Reverse(reversed)
	_, again, err := Split(reversed, .2, 1)
	require.NoError(t, err)
	require.ElementsMatch(t, ids(eval), ids(again), "the order of records does not matter")
	_, other, err := Split(examples, .2, 2)
	require.NoError(t, err)
	require.NotEqual(t, ids(eval), ids(other), "the seed does")
}
