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

// Split parts examples into a training and an evaluation set, each in the order
// given. fraction, from 0 to below 1, is the share to evaluate on: its size is
// round(fraction*n), and at least 1 if fraction > 0.
//
// Examples with the same prompt (all ids before the first trained one) are
// never parted, so that no evaluated question was trained; where such groups do
// not fill the share exactly it stays smaller, and with a single group there is
// nothing to evaluate on. At least one group is left to train on.
//
// The choice depends on seed and on each group's prompt, not on the order of
// examples: records added later move few of the others. It fails with
// [ErrOption] if fraction is out of range.
func Split(examples []Example, fraction float64, seed uint64) (train, eval []Example, err error) {
	if !(fraction >= 0 && fraction < 1) {
		return nil, nil, fmt.Errorf("dataset: %w: fraction to evaluate on is %v, want 0 to below 1", ErrOption, fraction)
	}
	groups := map[[sha256.Size]byte]int{} // size by digest of seed and prompt
	for _, e := range examples {
		groups[promptDigest(e, seed)]++
	}
	room := int(math.Round(fraction * float64(len(examples))))
	if fraction > 0 {
		room = max(room, 1)
	}
	chosen := map[[sha256.Size]byte]bool{}
	digests := slices.SortedFunc(maps.Keys(groups), func(a, b [sha256.Size]byte) int { return bytes.Compare(a[:], b[:]) })
	for _, d := range digests {
		if size := groups[d]; size <= room && len(chosen) < len(groups)-1 {
			chosen[d] = true
			room -= size
		}
	}
	if fraction > 0 && len(chosen) == 0 && len(groups) > 1 {
		chosen[slices.MinFunc(digests, func(a, b [sha256.Size]byte) int { return cmp.Compare(groups[a], groups[b]) })] = true
	}
	for _, e := range examples {
		if chosen[promptDigest(e, seed)] {
			eval = append(eval, e)
		} else {
			train = append(train, e)
		}
	}
	return train, eval, nil
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
