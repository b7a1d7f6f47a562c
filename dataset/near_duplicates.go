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

// nearSimilarity is the similarity from which two questions count as near
// duplicates where nothing else is asked for: a slip or two, another ending, a
// word put before or left out.
const nearSimilarity = 0.8

// essence returns the text that near duplicates are recognised by: letters and digits in
// lower case without their accents (compatibility forms decomposed, combining
// marks dropped), everything between them one space.
func essence(text string) string {
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

// near is a text of a nearIndex that resembles a given one.
type near struct {
	// index is the text's place among those of the index.
	index int
	// similarity is from the index's threshold to 1, which it is for all texts
	// that fold to the same or have the same runs of characters.
	similarity float64
}

// nearIndex finds near duplicates among texts. Two texts are near duplicates if
// the Jaccard similarity of their sets of runs of three characters, after
// fold, reaches the threshold: of all the runs that are in one of them, the
// share that is in both. The result is exact, nothing is estimated, and depends
// only on the texts.
//
// Every set is ordered by how rare its runs are. Two sets that are similar
// enough must share one of the first few, so only those are looked up (Bayardo,
// Ma & Srikant 2007, Scaling Up All Pairs Similarity Search). Memory is 4 bytes
// for each run of each text. Time grows with the number of texts that share
// rare runs: 10,000 questions of one line against one another take about a
// second, while n texts that nearly all resemble one another take n² steps.
type nearIndex struct {
	threshold float64
	rank      map[uint64]uint32 // of each run, the rarest first
	sets      [][]uint32        // ranks of each text, rising
	postings  [][]int32         // by rank: the texts that have it among their first
}

// newNearIndex makes an index of texts. It fails if the threshold is
// not above 0 and at most 1.
func newNearIndex(texts []string, threshold float64) (*nearIndex, error) {
	if !(threshold > 0 && threshold <= 1) {
		return nil, fmt.Errorf("similarity %v of near duplicates, want above 0 and at most 1", threshold)
	}
	x := &nearIndex{threshold: threshold, rank: map[uint64]uint32{}}
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
func (x *nearIndex) sortByRarity(runs []uint64, counts []uint32) {
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

// resembling returns the texts that text is a near duplicate of, the most similar
// first and equal ones by their place. A text of the index finds itself.
func (x *nearIndex) resembling(text string) []near {
	runs := runsOf(text)
	set := make([]uint32, 0, len(runs))
	for _, run := range runs {
		if r, known := x.rank[run]; known {
			set = append(set, r)
		}
	}
	slices.Sort(set)
	seen := map[int32]bool{}
	var found []near
	x.find(set, len(runs), len(x.sets), func(i int32) bool {
		again := seen[i]
		seen[i] = true
		return again
	}, func(n near) { found = append(found, n) })
	slices.SortFunc(found, func(a, b near) int {
		return cmp.Or(cmp.Compare(b.similarity, a.similarity), cmp.Compare(a.index, b.index))
	})
	return found
}

// find calls found with the texts before the place end that resemble a set of size runs,
// of which known ones are given by rank. Runs that no text has are the rarest
// of all: they take places among the first and find nothing. Texts for which leave
// is true are left out; it is asked once for each run that a text shares.
func (x *nearIndex) find(known []uint32, size, end int, leave func(i int32) bool, found func(near)) {
	first := min(len(known), max(0, x.prefix(size)-(size-len(known))))
	for _, r := range known[:first] {
		for _, i := range x.postings[r] {
			if int(i) >= end {
				break
			}
			if leave(i) {
				continue
			}
			if s := jaccard(known, size, x.sets[i]); s >= x.threshold {
				found(near{int(i), s})
			}
		}
	}
}

// prefix is how many of the rarest runs of a set of this size must be looked
// at: a set that is similar enough shares at least the share of the threshold,
// so it cannot miss that many. The sum is rounded so that no error of floating
// point loses a pair.
func (x *nearIndex) prefix(size int) int {
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

// runsOf returns the set of runs of a text after fold, in no order that
// matters. A text of fewer characters is one run, and so is one without letters
// and digits.
func runsOf(text string) []uint64 {
	characters := []rune(essence(text))
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

// NearGroups parts examples into groups such that those whose questions are near
// duplicates are in the same one, as are the near duplicates of these and so on.
// Two questions are near duplicates if the Jaccard similarity of their sets of
// runs of three characters reaches similarity, above 0 and at most 1: of all the
// runs that are in one of them, the share that is in both. Case, accents and
// punctuation do not count.
//
// It returns the groups of two or more, as rising places of examples, in the order
// of their first ones. Examples without a question are in none, and with a
// similarity of 0 there are none. 10,000 questions of one line take about a
// second, while n that nearly all resemble one another take n² steps.
func NearGroups(examples []Example, similarity float64) ([][]int, error) {
	if similarity == 0 {
		return nil, nil
	}
	var at []int
	var questions []string
	for i, e := range examples {
		if e.Question != "" {
			at, questions = append(at, i), append(questions, e.Question)
		}
	}
	groups, err := nearGroups(questions, similarity)
	for _, g := range groups {
		for k, i := range g {
			g[k] = at[i]
		}
	}
	return groups, err
}

// nearGroups are the groups of texts.
func nearGroups(texts []string, threshold float64) ([][]int, error) {
	// Equal texts are joined first: a thousand copies would be half a million
	// pairs.
	places := map[string][]int{}
	var distinct []string
	for i, text := range texts {
		folded := essence(text)
		if places[folded] == nil {
			distinct = append(distinct, folded)
		}
		places[folded] = append(places[folded], i)
	}
	x, err := newNearIndex(distinct, threshold)
	if err != nil {
		return nil, err
	}
	joined := newForest(len(distinct))
	asked := make([]int, len(distinct)) // the text after the last one that each was compared with
	for i, set := range x.sets {
		x.find(set, len(set), i, func(j int32) bool {
			// What is joined already needs no comparison, of which there may be n².
			again := asked[j] > i || joined.root(int(j)) == joined.root(i)
			asked[j] = i + 1
			return again
		}, func(n near) { joined.join(n.index, i) })
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
