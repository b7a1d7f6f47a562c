package constrain

import (
	"fmt"
	"math/big"
	"strings"
)

// number returns the numbers of a set, the same for equal sets.
func (c *compiler) number(x *cond, s *numberSet) *node {
	name := s.name()
	n := c.numbers[name]
	if n == nil {
		n = c.newNumber(x, s)
		c.numbers[name] = n
	}
	return n
}

func (c *compiler) newNumber(x *cond, s *numberSet) *node {
	if s.values != nil {
		var list []*node
		for _, v := range s.values {
			list = append(list, c.spellings(v))
		}
		return c.b.alt(list...)
	}
	if s.empty() {
		return c.b.fail
	}
	whole := s.step != nil && s.step.IsInt()
	if whole && s.step.Num().IsInt64() && s.step.Num().Int64() == 1 && len(s.apart) == 0 && len(s.others) == 0 {
		return c.b.integers(wholeAbove(s.lo), wholeBelow(s.hi))
	}
	n, err := c.sieved(s, whole)
	if err != nil {
		why, keyword := longNumber, ""
		if s.step != nil || len(s.apart) > 0 {
			why, keyword = wideMultiple, "multipleOf"
		}
		c.fault(c.place(x), keyword, why, err)
		return c.b.empty
	}
	return n
}

// spellings returns a listed number as the schema writes it, and in plain
// decimals.
func (c *compiler) spellings(v *value) *node {
	list := []*node{c.b.literal(v.text)}
	if x, ok := v.number(); ok {
		if plain := numberValue(x).text; len(plain) <= maxPlain {
			list = append(list, c.b.literal(plain))
		}
	}
	return c.b.alt(list...)
}

// maxPlain bounds the digits of a listed number that is also written in plain
// decimals.
const maxPlain = 40

// sieved returns the numbers within the ends of a set that meet the rest of it.
func (c *compiler) sieved(s *numberSet, whole bool) (*node, error) {
	v := &sieve{b: c.b, known: map[sieveKey]*node{}, others: map[string]bool{}}
	for _, m := range append([]*big.Rat{s.step}, s.apart...) {
		if m == nil {
			v.steps = append(v.steps, step{})
			continue
		}
		d, err := newStep(m)
		if err != nil {
			return nil, err
		}
		v.steps = append(v.steps, d)
	}
	for _, x := range s.others {
		if r, ok := x.number(); ok {
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
	if whole {
		return v.node(c.b.integers(wholeAbove(s.lo), wholeBelow(s.hi)), sieveKey{frac: -1})
	}
	if s.step == nil && len(s.apart) == 0 && len(s.others) == 0 {
		return c.b.numbers(s.lo, s.hi)
	}
	if far := new(big.Rat).SetInt(power10(MaxDigits)); s.lo.v == nil && s.hi.v == nil {
		s = &numberSet{lo: limit{new(big.Rat).Neg(far), true}, hi: limit{far, true}} // numbers with an exponent are not sieved
	}
	base, err := c.b.numbers(s.lo, s.hi)
	if err != nil {
		return nil, err
	}
	return v.node(base, sieveKey{frac: -1})
}

// step is a number as a decimal, of which others are multiples or not: digits over
// ten to the power of places.
type step struct {
	digits int64 // 0 for a step that nothing is asked of
	places int
}

// maxStep bounds the digits of multipleOf: every remainder is a state.
const maxStep = 20_000

func newStep(m *big.Rat) (step, error) {
	places, exact := m.FloatPrec()
	scaled := new(big.Rat).Mul(m, new(big.Rat).SetInt(power10(places)))
	if !exact || !scaled.IsInt() || !scaled.Num().IsInt64() || scaled.Num().Int64() > maxStep || places > fractionDigits {
		return step{}, fmt.Errorf("multipleOf %s: want at most %d, decimals left out of account", m.RatString(), maxStep)
	}
	return step{scaled.Num().Int64(), places}, nil
}

// sieve takes out of a finite set of numbers those that are no multiples of the
// first step, those that are multiples of the others, and some single ones.
type sieve struct {
	b      *builder
	steps  []step
	others map[string]bool
	known  map[sieveKey]*node
}

// maxSteps is how many steps are told apart at once.
const maxSteps = 4

// sieveKey is a place in a number: the state of the set, the remainders of the
// digits so far, how many of them are decimals, and the text as long as it may
// become one of the others.
type sieveKey struct {
	id   int64
	rest [maxSteps]int64
	frac int    // -1 before the point
	text string // "x" where it is none of the others
}

func (v *sieve) node(at *node, k sieveKey) (*node, error) {
	if len(v.steps) > maxSteps {
		return nil, fmt.Errorf("multipleOf: more than %d at once", maxSteps)
	}
	if k.rest[0] < 0 {
		return v.b.fail, nil // never a multiple again
	}
	k.id = at.id
	if n := v.known[k]; n != nil {
		return n, nil
	}
	if len(v.known) > v.b.limit || v.b.late(nodeWork) {
		return nil, fmt.Errorf("multipleOf within these limits needs more than %d states", v.b.limit)
	}
	list := []*node{v.b.fail}
	if at.min == 0 && v.ends(k) {
		list = append(list, v.b.empty)
	}
	for c := byte('-'); c <= '9'; c++ {
		next := v.b.derive(at, c)
		if next.op == opFail || c == '/' {
			continue
		}
		n, err := v.node(next, v.after(k, c))
		if err != nil {
			return nil, err
		}
		list = append(list, v.b.pair(v.b.byteIn(c, c), n))
	}
	n := v.b.alt(list...)
	v.known[k] = n
	return n, nil
}

// after is the place after a byte.
func (v *sieve) after(k sieveKey, c byte) sieveKey {
	if k.text != "x" {
		k.text += string(c)
		if !v.begins(k.text) {
			k.text = "x"
		}
	}
	switch {
	case c == '.':
		k.frac = 0
	case c >= '0':
		if k.frac >= 0 {
			k.frac++
		}
		for i, s := range v.steps {
			switch {
			case s.digits == 0 || k.rest[i] < 0:
			case k.frac <= s.places:
				k.rest[i] = (10*k.rest[i] + int64(c-'0')) % s.digits
			case c != '0':
				k.rest[i] = -1 // no multiple any more
			}
		}
	}
	return k
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
func (v *sieve) ends(k sieveKey) bool {
	for i, s := range v.steps {
		if s.digits == 0 {
			continue
		}
		rest := k.rest[i]
		for range max(s.places-max(k.frac, 0), 0) {
			rest = 10 * rest % s.digits // -1 stays below 0
		}
		if multiple := rest == 0; multiple != (i == 0) {
			return false
		}
	}
	return !v.others[k.text]
}
