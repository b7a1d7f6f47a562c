// Package pyrandom shuffles as Python's random module does.
package pyrandom

import "math/bits"

// Shuffle puts items into the order in which Python's random.seed(seed);
// random.shuffle(items) puts them, so that data prepared by a Python script
// with the same seed has the same order.
//
// Source: Matsumoto and Nishimura 1998, doi:10.1145/272991.272995 (MT19937), with
// init_by_array; indices are drawn by rejection.
func Shuffle[T any](items []T, seed uint64) {
	mt := newTwister(seed)
	for i := len(items) - 1; i > 0; i-- {
		j := mt.below(uint32(i + 1))
		items[i], items[j] = items[j], items[i]
	}
}

// twister is the Mersenne Twister MT19937.
type twister struct {
	state [twisterN]uint32
	used  int // numbers taken from state since it was made
}

const (
	twisterN = 624
	twisterM = 397
)

// newTwister takes the seed as an array of one 32-bit word, or two, low first.
func newTwister(seed uint64) *twister {
	key := []uint32{uint32(seed)}
	if high := uint32(seed >> 32); high != 0 {
		key = append(key, high)
	}
	t := &twister{used: twisterN}
	s := &t.state
	s[0] = 19650218
	for i := 1; i < twisterN; i++ {
		s[i] = 1812433253*(s[i-1]^s[i-1]>>30) + uint32(i)
	}
	i := 1
	advance := func() {
		if i++; i == twisterN {
			s[0] = s[twisterN-1]
			i = 1
		}
	}
	for k := range twisterN {
		j := k % len(key)
		s[i] = (s[i] ^ (s[i-1]^s[i-1]>>30)*1664525) + key[j] + uint32(j)
		advance()
	}
	for range twisterN - 1 {
		s[i] = (s[i] ^ (s[i-1]^s[i-1]>>30)*1566083941) - uint32(i)
		advance()
	}
	s[0] = 1 << 31
	return t
}

// next returns the next 32 bits.
func (t *twister) next() uint32 {
	s := &t.state
	if t.used == twisterN {
		for i := range s {
			y := s[i]&(1<<31) | s[(i+1)%twisterN]&(1<<31-1)
			s[i] = s[(i+twisterM)%twisterN] ^ y>>1 ^ (y&1)*0x9908b0df
		}
		t.used = 0
	}
	y := s[t.used]
	t.used++
	y ^= y >> 11
	y ^= y << 7 & 0x9d2c5680
	y ^= y << 15 & 0xefc60000
	return y ^ y>>18
}

// below returns a uniform number under n.
func (t *twister) below(n uint32) uint32 {
	shift := 32 - bits.Len32(n)
	for {
		if k := t.next() >> shift; k < n {
			return k
		}
	}
}
