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
	Fraction float64 `json:"fraction"`
	// Seed chooses.
	Seed uint64 `json:"seed"`
	// Similarity, from 0 to 1, is what makes near duplicates of two questions;
	// see [NearGroups]. With 0 only equal prompts are kept together.
	Similarity float64 `json:"similarity"`
	// Near, if not nil, are the near duplicates, as NearGroups returned them; then
	// Similarity is of no account.
	Near [][]int
}

// DefaultSplitOptions returns a tenth, seed 42, and a similarity of 0.8: a slip or
// two, another ending, a word put before or left out.
func DefaultSplitOptions() SplitOptions {
	return SplitOptions{Fraction: 0.1, Seed: 42, Similarity: nearSimilarity}
}

// Split parts examples into a training and an evaluation set, each in the order
// given. The size of the latter is round(Fraction*n), and at least 1 if Fraction
// is not 0.
//
// Examples with the same prompt (all ids before the first trained one) or with
// questions that are near duplicates are never parted, so that no evaluated
// question was trained; see [NearGroups], also for the time this takes. Nor are the
// variants of an example and the example itself. Each
// language gets its share, by [Example.Lang] and for a group by that of most of
// its examples. Where groups do not fill a share exactly it stays smaller, and
// with a single group there is nothing to evaluate on. At least one group is left
// to train on.
//
// The choice depends on the seed and on each group's prompts, those of variants left
// out, not on the order of examples: records added later move few of the others. It fails if an option is
// out of range.
func Split(examples []Example, opts SplitOptions) (train, eval []Example, err error) {
	if !(opts.Fraction >= 0 && opts.Fraction < 1) {
		return nil, nil, fmt.Errorf("fraction to evaluate on is %v, want 0 to below 1", opts.Fraction)
	}
	near := opts.Near
	if near == nil {
		if near, err = NearGroups(examples, opts.Similarity); err != nil {
			return nil, nil, err
		}
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
	joinVariants(joined, examples)
	members := map[int][]int{}
	for i := range examples {
		members[joined.root(i)] = append(members[joined.root(i)], i)
	}
	var groups []group
	for _, m := range members {
		g := group{members: m, digest: digests[sources(examples, m)[0]], lang: mainLanguage(examples, m)}
		for _, i := range sources(examples, m) {
			if bytes.Compare(digests[i][:], g.digest[:]) < 0 {
				g.digest = digests[i]
			}
		}
		groups = append(groups, g)
	}
	slices.SortFunc(groups, func(a, b group) int { return bytes.Compare(a.digest[:], b.digest[:]) })
	return groups
}

// joinVariants joins examples with their variants.
func joinVariants(joined forest, examples []Example) {
	first := map[string]int{} // of the examples with an id, or variants of it
	for i, e := range examples {
		for _, id := range []string{e.ID, e.VariantOf} {
			if id == "" {
				continue
			}
			if at, known := first[id]; known {
				joined.join(at, i)
			} else {
				first[id] = i
			}
		}
	}
}

// sources returns the members that are variants of no other, all if there are none.
func sources(examples []Example, members []int) []int {
	list := slices.DeleteFunc(slices.Clone(members), func(i int) bool { return examples[i].VariantOf != "" })
	if len(list) == 0 {
		return members
	}
	return list
}

// mainLanguage is the language of most members, of equally frequent ones the first in
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
