package constrain

import (
	"math"
	"math/bits"
)

// Mask is a set of token ids: bit id%64 of word id/64.
type Mask []uint64

// Has reports whether id is in the mask.
func (m Mask) Has(id int32) bool {
	return id >= 0 && int(id>>6) < len(m) && m[id>>6]>>(id&63)&1 != 0
}

// Len counts the ids in the mask.
func (m Mask) Len() int {
	n := 0
	for _, w := range m {
		n += bits.OnesCount64(w)
	}
	return n
}

// Apply puts minus infinity in the place of the logits of all tokens that are
// not in the mask. Logits may be longer than the vocabulary, as those of models
// with a padded embedding are.
func (m Mask) Apply(logits []float32) {
	low := float32(math.Inf(-1))
	for i := range logits {
		if !m.Has(int32(i)) {
			logits[i] = low
		}
	}
}

func (m Mask) add(id int32)    { m[id>>6] |= 1 << (id & 63) }
func (m Mask) remove(id int32) { m[id>>6] &^= 1 << (id & 63) }

func (m Mask) join(other Mask) {
	for i, w := range other {
		m[i] |= w
	}
}

// tokenSet is a set of tokens, as a mask if that is smaller.
type tokenSet struct {
	ids  []int32
	mask Mask
}

func (s tokenSet) bytes() int { return 4*len(s.ids) + 8*len(s.mask) }

func newTokenSet(ids []int32, words int) tokenSet {
	if len(ids) < 2*words {
		return tokenSet{ids: ids}
	}
	s := tokenSet{mask: make(Mask, words)}
	for _, id := range ids {
		s.mask.add(id)
	}
	return s
}

func (s tokenSet) addTo(m Mask) {
	for _, id := range s.ids {
		m.add(id)
	}
	m.join(s.mask)
}

// appendTo appends the tokens to a list.
func (s tokenSet) appendTo(list []int32) []int32 {
	list = append(list, s.ids...)
	for i, w := range s.mask {
		for ; w != 0; w &= w - 1 {
			list = append(list, int32(64*i+bits.TrailingZeros64(w)))
		}
	}
	return list
}
