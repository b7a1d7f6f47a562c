package constrain

import "slices"

// slice is tokens whose bytes are of the same kinds. Most states inside strings do
// not tell them apart but by their length; see [finder.noteSlices].
type slice struct {
	kinds   kindSet   // each token has bytes of all of them
	letters [][]byte  // all bytes of each kind
	tokens  [][]int32 // by length
}

// otherTokens stands for those that are in no slice, in the place of the index of one.
const otherTokens = 63

// leastSlice is how many tokens are worth a slice.
const leastSlice = 32

// slice cuts the vocabulary, whose trie is made, into slices of at least so many
// tokens and all others.
func (v *Vocabulary) slice(least int) {
	byKinds := map[kindSet][]int32{}
	for _, id := range v.ids {
		if k := kindsOf(v.text[id]); k&^slicedKinds == 0 {
			byKinds[k] = append(byKinds[k], id)
		}
	}
	var order []kindSet
	for k, ids := range byKinds {
		if len(ids) >= least {
			order = append(order, k)
		}
	}
	slices.SortFunc(order, func(x, y kindSet) int {
		if n := len(byKinds[y]) - len(byKinds[x]); n != 0 {
			return n
		}
		return int(x) - int(y)
	})
	order = order[:min(len(order), otherTokens)]
	v.slices = nil
	for _, k := range order {
		v.slices = append(v.slices, v.newSlice(k, byKinds[k]))
	}
	v.own = make([]uint8, len(v.letter))
	v.holds = make([]uint64, len(v.letter))
	for i := len(v.letter) - 1; i >= 0; i-- {
		if ids := v.endingAt(int32(i)); len(ids) > 0 {
			v.own[i] = otherTokens
			if at := slices.Index(order, kindsOf(v.text[ids[0]])); at >= 0 {
				v.own[i] = uint8(at)
			}
			v.holds[i] = 1 << v.own[i]
		}
		for k := int32(i) + 1; k < v.after[i]; k = v.after[k] {
			v.holds[i] |= v.holds[k]
		}
	}
}

func (v *Vocabulary) newSlice(k kindSet, ids []int32) slice {
	s := slice{kinds: k}
	for kind := kindSet(1); kind <= k; kind <<= 1 {
		var letters []byte
		for c := range 256 {
			if k&kind&kinds[c] != 0 {
				letters = append(letters, byte(c))
			}
		}
		if len(letters) > 0 {
			s.letters = append(s.letters, letters)
		}
	}
	for _, id := range ids {
		n := len(v.text[id])
		if n >= len(s.tokens) {
			s.tokens = append(s.tokens, make([][]int32, n+1-len(s.tokens))...)
		}
		s.tokens[n] = append(s.tokens[n], id)
	}
	return s
}

// kindSet is a set of kinds of bytes, such as patterns of strings tell apart.
type kindSet uint16

// slicedKinds are all but those of quotes, escapes, control characters, and bytes of
// characters beyond ASCII.
const slicedKinds kindSet = 1<<13 - 1

var kinds = func() (of [256]kindSet) {
	for c := range of {
		of[c] = kindOf(byte(c))
	}
	return of
}()

func kindOf(c byte) kindSet {
	switch {
	case c < ' ' || c == '"' || c == '\\' || c >= 0x7F:
		return 1 << 13
	case 'a' <= c && c <= 'f':
		return 1 << 8
	case 'g' <= c && c <= 'z':
		return 1 << 9
	case 'A' <= c && c <= 'F':
		return 1 << 10
	case 'G' <= c && c <= 'Z':
		return 1 << 11
	case '0' <= c && c <= '9':
		return 1 << 12
	}
	return 1 << (1 + slices.Index([]byte(" -_.:/"), c)) // 1 for other marks
}

func kindsOf(text []byte) (k kindSet) {
	for _, c := range text {
		k |= kinds[c]
	}
	return k
}
