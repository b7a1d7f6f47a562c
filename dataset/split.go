package dataset

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"
)

// SplitOptions are the choices of [Split]. Start from [DefaultSplitOptions]: a
// zero field means zero.
type SplitOptions struct {
	// Fraction is the share to evaluate on, from 0 to below 1.
	Fraction float64
	// Seed chooses.
	Seed uint64
	// Similarity, from 0 to 1, is what makes near duplicates of two questions;
	// see [NearIndex]. With 0 only equal prompts are kept together.
	Similarity float64
}

// DefaultSplitOptions returns a tenth, seed 42 and [NearSimilarity].
func DefaultSplitOptions() SplitOptions {
	return SplitOptions{Fraction: 0.1, Seed: 42, Similarity: NearSimilarity}
}

// Split parts examples into a training and an evaluation set, each in the order
// given. The size of the latter is round(Fraction*n), and at least 1 if Fraction
// is not 0.
//
// Examples with the same prompt (all ids before the first trained one) or with
// questions that are near duplicates are never parted, so that no evaluated
// question was trained; see [NearGroups], also for the time this takes. Each
// language gets its share, by [Example.Lang] and for a group by that of most of
// its examples. Where groups do not fill a share exactly it stays smaller, and
// with a single group there is nothing to evaluate on. At least one group is left
// to train on.
//
// The choice depends on the seed and on each group's prompts, not on the order of
// examples: records added later move few of the others. It fails with
// [ErrOption] if an option is out of range.
func Split(examples []Example, opts SplitOptions) (train, eval []Example, err error) {
	near, err := NearExamples(examples, opts.Similarity)
	if err != nil {
		return nil, nil, err
	}
	return SplitKnowing(near, examples, opts)
}

// SplitKnowing is [Split] for whoever has the near duplicates already, as
// [NearExamples] returns them; the options' Similarity is of no account.
func SplitKnowing(near [][]int, examples []Example, opts SplitOptions) (train, eval []Example, err error) {
	if !(opts.Fraction >= 0 && opts.Fraction < 1) {
		return nil, nil, fmt.Errorf("dataset: %w: fraction to evaluate on is %v, want 0 to below 1", ErrOption, opts.Fraction)
	}
	groups := groupExamples(examples, near, opts.Seed)
	evaluated := make([]bool, len(examples))
	for _, g := range chooseGroups(groups, len(examples), opts.Fraction) {
		for _, i := range g.members {
			evaluated[i] = true
		}
	}
	for i, e := range examples {
		if evaluated[i] {
			eval = append(eval, e)
		} else {
			train = append(train, e)
		}
	}
	return train, eval, nil
}

// group is examples that stay together. digest is the least of its prompts'.
type group struct {
	members []int
	digest  [sha256.Size]byte
	lang    string
}

// groupExamples joins equal prompts and near duplicates; groups come in the
// order of their digests.
func groupExamples(examples []Example, near [][]int, seed uint64) []group {
	digests := make([][sha256.Size]byte, len(examples))
	joined := newForest(len(examples))
	first := map[[sha256.Size]byte]int{}
	for i, e := range examples {
		digests[i] = promptDigest(e, seed)
		if at, again := first[digests[i]]; again {
			joined.join(at, i)
		} else {
			first[digests[i]] = i
		}
	}
	for _, g := range near {
		for _, i := range g {
			joined.join(g[0], i)
		}
	}
	members := map[int][]int{}
	for i := range examples {
		members[joined.root(i)] = append(members[joined.root(i)], i)
	}
	var groups []group
	for _, m := range members {
		g := group{members: m, digest: digests[m[0]], lang: mainLanguage(examples, m)}
		for _, i := range m {
			if bytes.Compare(digests[i][:], g.digest[:]) < 0 {
				g.digest = digests[i]
			}
		}
		groups = append(groups, g)
	}
	slices.SortFunc(groups, func(a, b group) int { return bytes.Compare(a.digest[:], b.digest[:]) })
	return groups
}

// NearExamples is [NearGroups] of the examples' questions; without a question an
// example is in no group. With a similarity of 0 there are none.
func NearExamples(examples []Example, similarity float64) ([][]int, error) {
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
	near, err := NearGroups(questions, similarity)
	for _, g := range near {
		for k, i := range g {
			g[k] = at[i]
		}
	}
	return near, err
}

// mainLanguage is that of most members, of equally frequent ones the first in
// the alphabet.
func mainLanguage(examples []Example, members []int) string {
	counts := map[string]int{}
	for _, i := range members {
		counts[examples[i].Lang]++
	}
	return slices.MinFunc(slices.Sorted(maps.Keys(counts)), func(a, b string) int { return cmp.Compare(counts[b], counts[a]) })
}

// chooseGroups takes from each language the first groups that fit its share of
// round(fraction*n) examples, of groups in the order of their digests.
func chooseGroups(groups []group, n int, fraction float64) []group {
	room := int(math.Round(fraction * float64(n)))
	if fraction > 0 {
		room = min(max(room, 1), n)
	}
	rooms := shares(groups, room, n)
	var chosen []group
	for _, g := range groups {
		if size := len(g.members); size <= rooms[g.lang] && len(chosen) < len(groups)-1 {
			chosen = append(chosen, g)
			rooms[g.lang] -= size
		}
	}
	if fraction > 0 && len(chosen) == 0 && len(groups) > 1 {
		chosen = append(chosen, slices.MinFunc(groups, func(a, b group) int { return cmp.Compare(len(a.members), len(b.members)) }))
	}
	return chosen
}

// shares parts room among the languages in proportion to their examples, n in
// all: whole parts first, then one more where the remainder is largest.
func shares(groups []group, room, n int) map[string]int {
	counts := map[string]int{}
	for _, g := range groups {
		counts[g.lang] += len(g.members)
	}
	rooms := map[string]int{}
	left := room
	for lang, count := range counts {
		rooms[lang] = room * count / n
		left -= rooms[lang]
	}
	byRemainder := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(cmp.Compare(room*counts[b]%n, room*counts[a]%n), cmp.Compare(a, b))
	})
	for _, lang := range byRemainder[:left] {
		rooms[lang]++
	}
	return rooms
}

func promptDigest(e Example, seed uint64) [sha256.Size]byte {
	prompt := e.IDs
	if i := slices.Index(e.Train, true); i >= 0 {
		prompt = prompt[:min(i, len(prompt))]
	}
	data := binary.LittleEndian.AppendUint64(nil, seed)
	for _, id := range prompt {
		data = binary.LittleEndian.AppendUint32(data, uint32(id))
	}
	return sha256.Sum256(data)
}
