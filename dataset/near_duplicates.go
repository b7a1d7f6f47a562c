package dataset

import (
	"cmp"
	"fmt"
	"math"
	"math/bits"
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
// Ma & Srikant 2007, Scaling Up All Pairs Similarity Search), and of those only
// sets compared whose sketches do not differ too much already. Memory is 4 bytes
// for each run of each text. Time grows with the number of texts that share
// rare runs.
type nearIndex struct {
	threshold float64
	rank      map[uint64]uint32 // of each run, the rarest first
	sets      [][]uint32        // ranks of each text, rising
	sketches  []uint32          // of each text
	postings  [][]posting       // by rank: the texts that have it among their first
}

// posting is a text, and its sketch.
type posting struct {
	text   int32
	sketch uint32
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
		x.sets, x.sketches = append(x.sets, numbers), append(x.sketches, sketch(set))
	}
	x.sortByRarity(runs, counts)
	x.postings = make([][]posting, len(runs))
	for i, set := range x.sets {
		for _, r := range set[:x.prefix(len(set))] {
			x.postings[r] = append(x.postings[r], posting{int32(i), x.sketches[i]})
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
	q := x.query(set, len(runs), sketch(runs))
	for _, r := range x.first(q) {
		for _, p := range x.postings[r] {
			if q.far(p.sketch) || seen[p.text] {
				continue
			}
			seen[p.text] = true
			if s := jaccard(set, len(runs), x.sets[p.text]); s >= x.threshold {
				found = append(found, near{int(p.text), s})
			}
		}
	}
	slices.SortFunc(found, func(a, b near) int {
		return cmp.Or(cmp.Compare(b.similarity, a.similarity), cmp.Compare(a.index, b.index))
	})
	return found
}

// query is a set of size runs, of which the known ones are given by rank, the sketch
// of all, and how many runs may be in one only of it and a set like it.
type query struct {
	known  []uint32
	size   int
	sketch uint32
	apart  int
}

func (x *nearIndex) query(known []uint32, size int, sketch uint32) query {
	// The larger set has at most size/threshold runs, the threshold of all in both.
	return query{known, size, sketch, int(float64(size)*(1-x.threshold)/x.threshold + 1e-9)}
}

// far reports whether a set with this sketch cannot be similar enough.
func (q query) far(sketch uint32) bool { return bits.OnesCount32(q.sketch^sketch) > q.apart }

// first are the runs to look up. Those that no text has are the rarest of all: they
// take places among the first and find nothing.
func (x *nearIndex) first(q query) []uint32 {
	return q.known[:min(len(q.known), max(0, x.prefix(q.size)-(q.size-len(q.known))))]
}

// sketch is a set of runs in 32 bits, each run one of them: of two sets at least as
// many runs are in one only as bits of their sketches differ.
func sketch(runs []uint64) (s uint32) {
	for _, run := range runs {
		s ^= 1 << (run * 0x9E3779B97F4A7C15 >> 59)
	}
	return s
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
// similarity of 0 there are none.
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
	joined := x.join()
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

// join joins the texts that resemble one another, and those that resemble these.
func (x *nearIndex) join() forest {
	joined := newForest(len(x.sets))
	// What is joined needs no comparison, of which there may be n²: from place p to
	// ends[r][p] the texts of a run r are joined with one another.
	ends := make([][]int32, len(x.postings))
	for i, set := range x.sets {
		q := x.query(set, len(set), x.sketches[i])
		for _, r := range x.first(q) {
			if ends[r] == nil {
				ends[r] = make([]int32, len(x.postings[r]))
			}
			x.joinRun(joined, q, i, x.postings[r], ends[r])
		}
	}
	return joined
}

// joinRun joins a text with those before it among the texts of a run of both.
func (x *nearIndex) joinRun(joined forest, q query, i int, texts []posting, ends []int32) {
	same := func(p int32) bool { return joined.root(int(texts[p].text)) == joined.root(i) }
	for p := int32(0); int(texts[p].text) < i; {
		if ends[p] <= p+1 && q.far(texts[p].sketch) {
			p++
			continue
		}
		if !same(p) {
			if jaccard(q.known, q.size, x.sets[texts[p].text]) < x.threshold {
				p++
				continue
			}
			joined.join(int(texts[p].text), i)
		}
		end := max(p+1, ends[p])
		for int(texts[end].text) < i && same(end) {
			end = max(end+1, ends[end])
		}
		ends[p], p = end, end
	}
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
