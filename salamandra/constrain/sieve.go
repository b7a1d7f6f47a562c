package constrain

import (
	"fmt"
	"math/big"
	"strings"
)

// step is a number as a decimal, of which others are multiples or not: digits over
// ten to the power of places.
type step struct {
	digits int64 // 0 for a step that nothing is asked of
	places int
	// moduli are what the digits so far must be a multiple of, by the zeros that follow.
	moduli []int64
}

// maxStep bounds the digits of multipleOf.
const maxStep = 20_000

func newStep(m *big.Rat) (step, error) {
	places, exact := m.FloatPrec()
	scaled := new(big.Rat).Mul(m, new(big.Rat).SetInt(power10(places)))
	if !exact || !scaled.IsInt() || !scaled.Num().IsInt64() || scaled.Num().Int64() > maxStep || places > fractionDigits {
		return step{}, fmt.Errorf("multipleOf %s: want at most %d, decimals left out of account", m.RatString(), maxStep)
	}
	s := step{digits: scaled.Num().Int64(), places: places}
	for modulus := s.digits; len(s.moduli) <= places; modulus /= gcd(modulus, 10) {
		s.moduli = append(s.moduli, modulus)
	}
	return s, nil
}

// sieve takes out of a finite set of numbers those that are no multiples of the
// first step, those that are multiples of the others, and some single ones.
type sieve struct {
	b      *builder
	steps  []step
	others map[string]bool
	known  map[sievePlace]int // the length of the shortest rest
}

// maxSteps is how many steps are told apart at once.
const maxSteps = 4

// sievePlace is a place in a number: the state of the set, the remainders of the
// digits so far, how many of them are decimals, and the text as long as it may
// become one of the others.
type sievePlace struct {
	at   *node
	rest [maxSteps]int64
	frac int    // -1 before the point
	text string // "x" where it is none of the others
}

// sieveFrom is the rest of a number that has one, from a place on.
type sieveFrom struct {
	v *sieve
	p sievePlace
}

// except leaves out numbers, however they are written.
func (v *sieve) except(list []*value) {
	for _, x := range list {
		r, ok := x.number()
		if !ok {
			continue
		}
		text := numberValue(r).text
		v.others[text] = true
		if r.IsInt() {
			v.others[text+".0"] = true
		}
		if r.Sign() == 0 {
			v.others["-0"], v.others["-0.0"] = true, true
		}
	}
}

// node returns the rest of a number.
func (v *sieve) node(p sievePlace) *node {
	rest := v.b.ruled(sieveFrom{v, p})
	if v.ends(p) {
		return v.b.alt(v.b.empty, rest)
	}
	return rest
}

// after is the place after a byte. It reports false where no number has one.
func (v *sieve) after(p sievePlace, c byte) (next sievePlace, ok bool) {
	at := v.b.after(p.at, c)
	if at == nil {
		return p, false
	}
	p.at = at
	if p.text != "x" {
		p.text += string(c)
		if !v.begins(p.text) {
			p.text = "x"
		}
	}
	switch {
	case c == '.':
		p.frac = 0
	case c >= '0':
		if p.frac >= 0 {
			p.frac++
		}
		for i, s := range v.steps {
			switch {
			case s.digits == 0 || p.rest[i] < 0:
			case p.frac <= s.places:
				p.rest[i] = (10*p.rest[i] + int64(c-'0')) % s.digits
			case c != '0':
				p.rest[i] = -1 // no multiple any more
			}
		}
	}
	return p, p.rest[0] >= 0
}

func (v *sieve) begins(text string) bool {
	for other := range v.others {
		if strings.HasPrefix(other, text) {
			return true
		}
	}
	return false
}

// ends reports whether the number may end here.
func (v *sieve) ends(p sievePlace) bool {
	if p.at.min != 0 {
		return false
	}
	for i, s := range v.steps {
		if s.digits == 0 {
			continue
		}
		rest := p.rest[i]
		for range max(s.places-max(p.frac, 0), 0) {
			rest = 10 * rest % s.digits // -1 stays below 0
		}
		if multiple := rest == 0; multiple != (i == 0) {
			return false
		}
	}
	return !v.others[p.text]
}

// distance is a length that no rest falls short of: that of the set, and as many
// digits as it takes to a multiple of the first step, never if there is none.
func (v *sieve) distance(p sievePlace) int {
	s := v.steps[0]
	if s.digits == 0 {
		return p.at.min
	}
	zeros, power := s.places-max(p.frac, 0), int64(1) // and ten to the power of digits
	for digits := 0; zeros >= 0; digits, power = digits+1, 10*power {
		if m := s.moduli[zeros]; (m-p.rest[0]*(power%m)%m)%m < power {
			return max(digits, p.at.min)
		}
		if p.frac >= 0 {
			zeros--
		}
	}
	if p.rest[0] == 0 {
		return p.at.min // of more zeros than the step has places
	}
	return never
}

func gcd(x, y int64) int64 {
	for y != 0 {
		x, y = y, x%y
	}
	return x
}

// measure returns the length of the shortest rest that is not empty, never if there is
// none. Places are looked at in the order of how short a rest through them may be.
// Source: Hart, Nilsson, Raphael 1968, "A Formal Basis for the Heuristic Determination
// of Minimum Cost Paths".
func (v *sieve) measure(from sievePlace) int {
	if n, ok := v.known[from]; ok {
		return n
	}
	type way struct {
		to     sievePlace
		length int
	}
	ways := [][]way{{{from, 0}}} // by the length of the shortest rest that may be
	seen := map[sievePlace]bool{}
	found := never
	for n := 0; n < len(ways) && found == never; n++ {
		for i := 0; i < len(ways[n]) && found == never; i++ {
			w := ways[n][i]
			if w.length > 0 && v.ends(w.to) {
				found = w.length
			}
			if seen[w.to] || v.b.late(nodeWork) {
				continue
			}
			seen[w.to] = true
			for c := byte('-'); c <= '9'; c++ {
				next, ok := v.after(w.to, c)
				if k := plus(w.length+1, v.distance(next)); ok && k != never {
					for len(ways) <= k {
						ways = append(ways, nil)
					}
					ways[k] = append(ways[k], way{next, w.length + 1})
				}
			}
		}
	}
	v.note(from, found, seen)
	return found
}

// note keeps what was measured; where there was no end, for every place on the way.
func (v *sieve) note(from sievePlace, length int, seen map[sievePlace]bool) {
	if len(v.known) > v.b.limit {
		clear(v.known)
	}
	v.known[from] = length
	if length == never {
		for p := range seen {
			v.known[p] = never
		}
	}
}

func (f sieveFrom) expand(b *builder) *node {
	var list []*node
	for c := byte('-'); c <= '9'; c++ {
		if next, ok := f.v.after(f.p, c); ok {
			list = append(list, b.pair(b.byteIn(c, c), f.v.node(next)))
		}
	}
	return b.alt(list...)
}

func (f sieveFrom) shortest() int { return f.v.measure(f.p) }

func (f sieveFrom) isQuoted() bool { return false }

func (f sieveFrom) parts() []*node {
	list := []*node{f.p.at}
	for c := byte('0'); c <= '9'; c++ {
		list = append(list, &node{op: opByte, lo: c, hi: c})
	}
	return list
}
