package dataset

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// NearSimilarity is the similarity from which two questions count as near
// duplicates where nothing else is asked for: a slip or two, another ending, a
// word put before or left out.
const NearSimilarity = 0.8

// Fold returns the text that near duplicates are told by: letters and digits in
// lower case without their accents (compatibility forms decomposed, combining
// marks dropped), everything between them one space.
func Fold(text string) string {
	var b strings.Builder
	gap := false
	for _, r := range norm.NFKD.String(text) {
		switch {
		case unicode.Is(unicode.Mn, r):
		case unicode.IsLetter(r) || unicode.IsNumber(r):
			if gap && b.Len() > 0 {
				b.WriteByte(' ')
			}
			gap = false
			b.WriteRune(unicode.ToLower(r))
		default:
			gap = true
		}
	}
	return b.String()
}

// Near is a text of a [NearIndex] that resembles a given one.
type Near struct {
	// Index is the text's place among those of the index.
	Index int
	// Similarity is from the index's threshold to 1, which it is for all texts
	// that [Fold] to the same or have the same runs of characters.
	Similarity float64
}

// NearIndex finds near duplicates among texts. Two texts are near duplicates if
// the Jaccard similarity of their sets of runs of three characters, after
// [Fold], reaches the threshold: of all the runs that are in one of them, the
// share that is in both. The result is exact, nothing is estimated, and depends
// on the texts alone.
//
// Every set is ordered by how rare its runs are. Two sets that are similar
// enough must share one of the first few, so only those are looked up (Bayardo,
// Ma & Srikant 2007, Scaling Up All Pairs Similarity Search). Memory is 4 bytes
// for each run of each text. Time grows with the number of texts that share
// rare runs: 10,000 questions of one line against one another take about a
// second, while n texts that nearly all resemble one another take n² steps.
type NearIndex struct {
	threshold float64
	rank      map[uint64]uint32 // of each run, the rarest first
	sets      [][]uint32        // ranks of each text, rising
	postings  [][]int32         // by rank: the texts that have it among their first
}

// NewNearIndex makes an index of texts. It fails with [ErrOption] if the
// threshold is not above 0 and at most 1.
func NewNearIndex(texts []string, threshold float64) (*NearIndex, error) {
	if !(threshold > 0 && threshold <= 1) {
		return nil, fmt.Errorf("dataset: %w: similarity %v of near duplicates, want above 0 and at most 1", ErrOption, threshold)
	}
	x := &NearIndex{threshold: threshold, rank: map[uint64]uint32{}}
	var runs []uint64   // in the order they were first seen
	var counts []uint32 // of texts, by that order
	for _, text := range texts {
		set := runsOf(text)
		numbers := make([]uint32, len(set))
		for i, run := range set {
			n, known := x.rank[run]
			if !known {
				n = uint32(len(runs))
				x.rank[run] = n
				runs, counts = append(runs, run), append(counts, 0)
			}
			counts[n]++
			numbers[i] = n
		}
		x.sets = append(x.sets, numbers)
	}
	x.sortByRarity(runs, counts)
	x.postings = make([][]int32, len(runs))
	for i, set := range x.sets {
		for _, r := range set[:x.prefix(len(set))] {
			x.postings[r] = append(x.postings[r], int32(i))
		}
	}
	return x, nil
}

// sortByRarity numbers the runs anew, rarest first; equally rare ones by their
// characters, so that the order of the texts makes no difference.
func (x *NearIndex) sortByRarity(runs []uint64, counts []uint32) {
	order := make([]uint32, len(runs))
	for i := range order {
		order[i] = uint32(i)
	}
	slices.SortFunc(order, func(a, b uint32) int {
		return cmp.Or(cmp.Compare(counts[a], counts[b]), cmp.Compare(runs[a], runs[b]))
	})
	renamed := make([]uint32, len(runs))
	for rank, n := range order {
		renamed[n] = uint32(rank)
		x.rank[runs[n]] = uint32(rank)
	}
	for _, set := range x.sets {
		for i, n := range set {
			set[i] = renamed[n]
		}
		slices.Sort(set)
	}
}

// Find returns the texts that text is a near duplicate of, the most similar
// first and equal ones by their place. A text of the index finds itself.
func (x *NearIndex) Find(text string) []Near {
	runs := runsOf(text)
	set := make([]uint32, 0, len(runs))
	for _, run := range runs {
		if r, known := x.rank[run]; known {
			set = append(set, r)
		}
	}
	slices.Sort(set)
	found := x.find(set, len(runs), len(x.sets))
	slices.SortFunc(found, func(a, b Near) int {
		return cmp.Or(cmp.Compare(b.Similarity, a.Similarity), cmp.Compare(a.Index, b.Index))
	})
	return found
}

// find returns the texts before the place end that resemble a set of size runs,
// of which known ones are given by rank. Runs that no text has are the rarest
// of all: they take places among the first and find nothing.
func (x *NearIndex) find(known []uint32, size, end int) []Near {
	first := min(len(known), max(0, x.prefix(size)-(size-len(known))))
	var found []Near
	seen := map[int32]bool{}
	for _, r := range known[:first] {
		for _, i := range x.postings[r] {
			if int(i) >= end {
				break
			}
			if seen[i] {
				continue
			}
			seen[i] = true
			if s := jaccard(known, size, x.sets[i]); s >= x.threshold {
				found = append(found, Near{int(i), s})
			}
		}
	}
	return found
}

// prefix is how many of the rarest runs of a set of this size must be looked
// at: a set that is similar enough shares at least the share of the threshold,
// so it cannot miss that many. The sum is rounded so that no error of floating
// point loses a pair.
func (x *NearIndex) prefix(size int) int {
	return min(size, size-int(math.Ceil(x.threshold*float64(size)-1e-9))+1)
}

// jaccard is the similarity of a set of size runs, of which a are known, and of
// b.
func jaccard(a []uint32, size int, b []uint32) float64 {
	both := 0
	for i, j := 0, 0; i < len(a) && j < len(b); {
		switch {
		case a[i] < b[j]:
			i++
		case a[i] > b[j]:
			j++
		default:
			both, i, j = both+1, i+1, j+1
		}
	}
	return float64(both) / float64(size+len(b)-both)
}

// runLength is the number of characters of a run.
const runLength = 3

// runsOf returns the set of runs of a text after [Fold], in no order that
// matters. A text of fewer characters is one run, and so is one without letters
// and digits.
func runsOf(text string) []uint64 {
	characters := []rune(Fold(text))
	for len(characters) < runLength {
		characters = append(characters, 0)
	}
	runs := make([]uint64, 0, len(characters)-runLength+1)
	for i := range len(characters) - runLength + 1 {
		var run uint64
		for _, c := range characters[i : i+runLength] {
			run = run<<21 | uint64(c) // a character has 21 bits
		}
		runs = append(runs, run)
	}
	slices.Sort(runs)
	return slices.Compact(runs)
}

// NearGroups parts texts into groups such that near duplicates, by the measure
// of [NearIndex], are in the same one, as are the near duplicates of these and so
// on. It returns the groups of two or more, as rising places of texts, in the
// order of their first ones. It fails as [NewNearIndex] does.
func NearGroups(texts []string, threshold float64) ([][]int, error) {
	// Equal texts are joined first: a thousand copies would be half a million
	// pairs.
	places := map[string][]int{}
	var distinct []string
	for i, text := range texts {
		folded := Fold(text)
		if places[folded] == nil {
			distinct = append(distinct, folded)
		}
		places[folded] = append(places[folded], i)
	}
	x, err := NewNearIndex(distinct, threshold)
	if err != nil {
		return nil, err
	}
	joined := newForest(len(distinct))
	for i, set := range x.sets {
		for _, near := range x.find(set, len(set), i) {
			joined.join(near.Index, i)
		}
	}
	members := map[int][]int{}
	for i, text := range distinct {
		root := joined.root(i)
		members[root] = append(members[root], places[text]...)
	}
	var groups [][]int
	for _, m := range members {
		if len(m) > 1 {
			slices.Sort(m)
			groups = append(groups, m)
		}
	}
	slices.SortFunc(groups, func(a, b []int) int { return cmp.Compare(a[0], b[0]) })
	return groups, nil
}

// forest holds disjoint sets of numbers: each has a parent in its set, roots
// themselves.
type forest []int

func newForest(n int) forest {
	f := make(forest, n)
	for i := range f {
		f[i] = i
	}
	return f
}

// root is the same for all of a set. It shortens the ways it goes.
func (f forest) root(i int) int {
	for f[i] != i {
		f[i] = f[f[i]]
		i = f[i]
	}
	return i
}

func (f forest) join(a, b int) { f[f.root(a)] = f.root(b) }
