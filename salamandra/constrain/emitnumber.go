package constrain

import (
	"fmt"
	"math/big"
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
	v := &sieve{b: c.b, known: map[sievePlace]int{}, others: map[string]bool{}}
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
	if len(v.steps) > maxSteps {
		return nil, fmt.Errorf("multipleOf: more than %d at once", maxSteps)
	}
	v.except(s.others)
	if whole {
		return v.node(sievePlace{at: c.b.integers(wholeAbove(s.lo), wholeBelow(s.hi)), frac: -1}), nil
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
	return v.node(sievePlace{at: base, frac: -1}), nil
}
