package dataset

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFold(t *testing.T) {
	for in, want := range map[string]string{
		"":                            "",
		" ¿? ":                        "",
		"Projectes d'energia EÒLICA…": "projectes d energia eolica",
		"col·laboració, ｆｕｌｌ ﬁ":       "col laboracio full fi",
		"e\u0301té  2018-2020":        "ete 2018 2020",
	} {
		require.Equal(t, want, essence(in))
		require.Equal(t, want, essence(want), "folding twice changes nothing")
	}
}

func TestNearIndexFind(t *testing.T) {
	texts := []string{
		"projectes sobre hidrogen verd a Catalunya",
		"projectes sobre energia eòlica a Catalunya",
		"PROJECTES SOBRE HIDROGEN VERD A CATALUNYA?",
		"", "x",
	}
	x, err := newNearIndex(texts, nearSimilarity)
	require.NoError(t, err)
	for _, row := range []struct {
		name, text string
		want       []int
	}{
		{name: "itself and its copy", text: texts[0], want: []int{0, 2}},
		{name: "a slip", text: "projectes sobre hidrogne verd a Catalunya", want: []int{0, 2}},
		{name: "another topic", text: texts[1], want: []int{1}},
		{name: "unknown runs", text: "quantum computing in Denmark"},
		{name: "nothing", text: "...", want: []int{3}},
		{name: "one letter", text: "X", want: []int{4}},
	} {
		t.Run(row.name, func(t *testing.T) {
			var got []int
			for _, n := range x.resembling(row.text) {
				got = append(got, n.index)
			}
			require.Equal(t, row.want, got)
		})
	}
	require.Equal(t, 1.0, x.resembling(texts[2])[0].similarity)
	for _, bad := range []float64{0, -1, 1.01} {
		_, err := newNearIndex(nil, bad)
		require.ErrorContains(t, err, "want above 0")
		_, err = nearGroups(nil, bad)
		require.ErrorContains(t, err, "want above 0")
	}
}

// randomTexts are sentences of few words, so that many resemble one another.
func randomTexts(rng *rand.Rand, n int) []string {
	words := strings.Fields("projectes de sobre recerca hidrogen verd eòlica a Catalunya 2018 2019 UPC des")
	texts := make([]string, n)
	for i := range texts {
		var b strings.Builder
		for range rng.IntN(7) {
			b.WriteString(words[rng.IntN(len(words))] + " ")
		}
		texts[i] = b.String()
	}
	return texts
}

// TestNearIsExact compares with the similarity of every pair, for thresholds at
// which rounding could lose a pair.
func TestNearIsExact(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	similarity := func(a, b string) float64 {
		runs := runsOf(a)
		both := 0
		for _, r := range runsOf(b) {
			if slices.Contains(runs, r) {
				both++
			}
		}
		return float64(both) / float64(len(runs)+len(runsOf(b))-both)
	}
	for _, threshold := range []float64{.05, .3, 1. / 3, .5, 2. / 3, .8, .95, 1} {
		texts, others := randomTexts(rng, 120), randomTexts(rng, 30)
		x, err := newNearIndex(texts, threshold)
		require.NoError(t, err)
		for _, other := range append(others, texts...) {
			want := map[int]float64{}
			for i, text := range texts {
				if s := similarity(other, text); s >= threshold {
					want[i] = s
				}
			}
			got := map[int]float64{}
			for _, n := range x.resembling(other) {
				got[n.index] = n.similarity
			}
			require.Equal(t, want, got, "%q at %v", other, threshold)
		}
		checkGroups(t, texts, threshold, similarity)
	}
}

// checkGroups compares groups with those of joining every pair.
func checkGroups(t *testing.T, texts []string, threshold float64, similarity func(a, b string) float64) {
	t.Helper()
	f := newForest(len(texts))
	for i := range texts {
		for j := range i {
			if similarity(texts[i], texts[j]) >= threshold {
				f.join(i, j)
			}
		}
	}
	groups, err := nearGroups(texts, threshold)
	require.NoError(t, err)
	grouped := map[int]int{}
	for g, group := range groups {
		require.GreaterOrEqual(t, len(group), 2)
		require.True(t, slices.IsSorted(group))
		for _, i := range group {
			grouped[i] = g + 1
		}
	}
	for i := range texts {
		for j := range i {
			together := grouped[i] == grouped[j] && grouped[i] > 0
			require.Equal(t, f.root(i) == f.root(j), together, "%q and %q", texts[i], texts[j])
		}
	}
}

func TestNearGroupsOfCopies(t *testing.T) {
	texts := slices.Repeat([]string{"Hidrogen verd", "hidrogen  verd!"}, 20_000)
	groups, err := nearGroups(texts, nearSimilarity)
	require.NoError(t, err)
	require.Len(t, groups, 1)
	require.Len(t, groups[0], len(texts))
}

func FuzzNearIndex(f *testing.F) {
	f.Add("hidrogen verd", "hidrògen vert", .5)
	f.Add("\xff\u0301", "", 1.)
	f.Fuzz(func(t *testing.T, a, b string, threshold float64) {
		x, err := newNearIndex([]string{a, b}, threshold)
		if err != nil {
			require.ErrorContains(t, err, "want above 0")
			return
		}
		find := func(text string) map[int]float64 {
			found := map[int]float64{}
			for _, n := range x.resembling(text) {
				found[n.index] = n.similarity
			}
			return found
		}
		inA, inB := find(a), find(b)
		require.Equal(t, 1.0, inA[0], "a text finds itself")
		require.Equal(t, 1.0, inB[1])
		require.Equal(t, inA[1], inB[0], "similarity has no direction")
	})
}

func BenchmarkNearGroups(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 2))
	topics := randomTexts(rng, 10_000)
	for i := range topics {
		topics[i] = fmt.Sprintf("%s %x sobre %x", topics[i], rng.Uint32(), rng.Uint32())
	}
	for _, n := range []int{1000, 10_000} {
		b.Run(fmt.Sprintf("texts=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := nearGroups(topics[:n], nearSimilarity); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
