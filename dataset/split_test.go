package dataset

import (
	"crypto/sha256"
	"fmt"
	"math"
	"slices"
	"strings"
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
			train, eval, err := Split(prompts(row.prompts...), SplitOptions{Fraction: row.fraction, Seed: 42, Similarity: nearSimilarity})
			require.NoError(t, err)
			require.Len(t, eval, row.want, row.reason)
			require.Len(t, train, len(row.prompts)-row.want)
		})
	}
	for _, bad := range []float64{-.1, 1, math.NaN()} {
		_, _, err := Split(prompts(1, 2), SplitOptions{Fraction: bad})
		require.Error(t, err)
	}
}

func TestSplitLaws(t *testing.T) {
	var ps []int
	for i := range 300 {
		ps = append(ps, i*i%97) // many equal prompts
	}
	examples := prompts(ps...)
	train, eval, err := Split(examples, SplitOptions{Fraction: .2, Seed: 1, Similarity: nearSimilarity})
	require.NoError(t, err)
	require.True(t, slices.IsSortedFunc(train, func(a, b Example) int { return int(a.IDs[2] - b.IDs[2]) }), "order is kept")
	for _, e := range eval {
		require.False(t, slices.ContainsFunc(train, func(o Example) bool { return o.IDs[1] == e.IDs[1] }), "no evaluated prompt is trained")
	}
	require.ElementsMatch(t, ids(examples), append(ids(train), ids(eval)...))

	reversed := slices.Clone(examples)
	slices.Reverse(reversed)
	_, again, err := Split(reversed, SplitOptions{Fraction: .2, Seed: 1, Similarity: nearSimilarity})
	require.NoError(t, err)
	require.ElementsMatch(t, ids(eval), ids(again), "the order of records does not matter")
	_, other, err := Split(examples, SplitOptions{Fraction: .2, Seed: 2, Similarity: nearSimilarity})
	require.NoError(t, err)
	require.NotEqual(t, ids(eval), ids(other), "the seed does")
}

// asked makes examples of questions in languages, "ca: Hola".
func asked(questions ...string) []Example {
	es := prompts(numbers(len(questions))...)
	for i, q := range questions {
		es[i].Lang, es[i].Question, _ = strings.Cut(q, ": ")
	}
	return es
}

func TestSplitNear(t *testing.T) {
	var questions []string
	for i := range 40 {
		topic := fmt.Sprintf("%x", sha256.Sum256([]byte{byte(i)}))[:12]
		questions = append(questions, "ca: projectes sobre "+topic, "es: Projectes sobre "+topic+"?", "en: projects about energy and "+topic[6:]+topic[:6])
	}
	examples := asked(questions...)
	for seed := range uint64(5) {
		train, eval, err := Split(examples, SplitOptions{Fraction: .25, Seed: seed, Similarity: nearSimilarity})
		require.NoError(t, err)
		require.InDelta(t, 30, len(eval), 1)
		for _, e := range eval {
			require.False(t, slices.ContainsFunc(train, func(o Example) bool { return essence(o.Question) == essence(e.Question) }), "%s has a near duplicate in training", e.Question)
		}
	}
	without, _, err := Split(examples, SplitOptions{Fraction: .25, Seed: 1})
	require.NoError(t, err)
	with, _, err := Split(examples, SplitOptions{Fraction: .25, Seed: 1, Similarity: nearSimilarity})
	require.NoError(t, err)
	require.NotEqual(t, ids(without), ids(with))
	_, _, err = Split(examples, SplitOptions{Similarity: 2})
	require.Error(t, err)
}

func TestSplitLanguages(t *testing.T) {
	var questions []string
	for i := range 100 { // 70 in one, 20 in another, 10 in a third
		lang := "ca"
		if i >= 70 {
			lang = "es"
		}
		if i >= 90 {
			lang = "en"
		}
		questions = append(questions, fmt.Sprintf("%s: %x", lang, sha256.Sum256([]byte{byte(i)})))
	}
	for seed := range uint64(20) {
		_, eval, err := Split(asked(questions...), SplitOptions{Fraction: .1, Seed: seed, Similarity: nearSimilarity})
		require.NoError(t, err)
		counts := map[string]int{}
		for _, e := range eval {
			counts[e.Lang]++
		}
		require.Equal(t, map[string]int{"ca": 7, "es": 2, "en": 1}, counts)
	}
	require.Equal(t, map[string]int{"a": 2, "b": 1, "c": 1}, shares([]group{{members: make([]int, 5), lang: "a"}, {members: make([]int, 5), lang: "b"}, {members: make([]int, 5), lang: "c"}}, 4, 15),
		"what is left over goes by remainder, then by name")
}
