package constrain

import (
	"math/big"
	"slices"
)

// numberSet is numbers that meet a conjunction.
type numberSet struct {
	lo, hi limit
	step   *big.Rat   // all are multiples of it; 1 for integers, nil for none
	apart  []*big.Rat // none is a multiple of these
	values []*value   // of these only, unless nil
	others []*value   // none of these
	called string     // its name, once asked for
}

// name tells sets apart. After it was asked for they do not change.
func (n *numberSet) name() string {
	if n.called == "" {
		b := []byte{'n'}
		number := func(x *big.Rat) {
			if x != nil {
				b = x.Denom().Append(append(x.Num().Append(b, 10), '/'), 10)
			}
			b = append(b, ' ')
		}
		for _, l := range []limit{n.lo, n.hi} {
			if l.open {
				b = append(b, 'o')
			}
			number(l.v)
		}
		number(n.step)
		for _, x := range n.apart {
			number(x)
		}
		if n.values != nil {
			b = append(b, 'v')
		}
		for _, list := range [][]*value{n.values, n.others} {
			for _, v := range list {
				b = append(append(b, v.text...), ' ')
			}
			b = append(b, ';')
		}
		n.called = string(b)
	}
	return n.called
}

func (n *numberSet) within(m *numberSet) bool { return n == m || n.name() == m.name() }

func (n *numberSet) and(m *numberSet) *numberSet {
	out := &numberSet{lo: n.lo, hi: n.hi, step: n.step, apart: slices.Concat(n.apart, m.apart), values: n.values, others: slices.Concat(n.others, m.others)}
	out.above(m.lo)
	out.below(m.hi)
	out.multiple(m.step)
	switch {
	case out.values == nil:
		out.values = m.values
	case m.values != nil:
		out.values = slices.DeleteFunc(slices.Clone(out.values), func(v *value) bool { return !slices.ContainsFunc(m.values, v.equal) })
	}
	if out.values != nil {
		out.values = slices.DeleteFunc(slices.Clone(out.values), func(v *value) bool { return !out.has(v) })
		return &numberSet{values: slices.Clip(append([]*value{}, out.values...))}
	}
	return out
}

// above raises the lower end to l, of equal ones the open one holds.
func (n *numberSet) above(l limit) {
	if l.v != nil && (n.lo.v == nil || l.v.Cmp(n.lo.v) > 0 || l.open && l.v.Cmp(n.lo.v) == 0) {
		n.lo = l
	}
}

// below lowers the upper end.
func (n *numberSet) below(l limit) {
	if l.v != nil && (n.hi.v == nil || l.v.Cmp(n.hi.v) < 0 || l.open && l.v.Cmp(n.hi.v) == 0) {
		n.hi = l
	}
}

// multiple keeps the multiples of step, which are those of the least common
// multiple of both steps.
func (n *numberSet) multiple(step *big.Rat) {
	switch {
	case step == nil:
	case n.step == nil:
		n.step = step
	default:
		x := new(big.Int).Mul(n.step.Num(), step.Denom())
		y := new(big.Int).Mul(step.Num(), n.step.Denom())
		gcd := new(big.Int).GCD(nil, nil, x, y)
		x.Mul(x.Quo(x, gcd), y)
		n.step = new(big.Rat).SetFrac(x, new(big.Int).Mul(n.step.Denom(), step.Denom()))
	}
}

// has reports whether a number meets the conjunction, values left out of account.
// Of a number too long to be compared, it is only known what it is equal to.
func (n *numberSet) has(v *value) bool {
	if slices.ContainsFunc(n.others, v.equal) {
		return false
	}
	x, ok := v.number()
	if !ok {
		return n.lo.v == nil && n.hi.v == nil && n.step == nil && len(n.apart) == 0
	}
	if n.lo.v != nil && (x.Cmp(n.lo.v) < 0 || n.lo.open && x.Cmp(n.lo.v) == 0) {
		return false
	}
	if n.hi.v != nil && (x.Cmp(n.hi.v) > 0 || n.hi.open && x.Cmp(n.hi.v) == 0) {
		return false
	}
	return (n.step == nil || divides(n.step, x)) && !slices.ContainsFunc(n.apart, func(step *big.Rat) bool { return divides(step, x) })
}

// divides reports whether x is a multiple of step.
func divides(step, x *big.Rat) bool { return new(big.Rat).Quo(x, step).IsInt() }

// fewNumbers is up to how many multiples within limits are looked at one by one.
const fewNumbers = 64

func (n *numberSet) empty() bool {
	if n.values != nil {
		return len(n.values) == 0
	}
	if n.step != nil && slices.ContainsFunc(n.apart, func(step *big.Rat) bool { return divides(step, n.step) }) {
		return true
	}
	if n.lo.v == nil || n.hi.v == nil {
		return false
	}
	if order := n.lo.v.Cmp(n.hi.v); order > 0 || order == 0 && (n.lo.open || n.hi.open) {
		return true
	}
	if n.step == nil {
		return n.lo.v.Cmp(n.hi.v) == 0 && !n.has(numberValue(n.lo.v))
	}
	from, to := n.multiples()
	count := new(big.Int).Sub(to, from)
	for i := range int64(fewNumbers) {
		if count.Cmp(big.NewInt(i)) < 0 {
			return true
		}
		k := new(big.Rat).SetInt(new(big.Int).Add(from, big.NewInt(i)))
		if n.has(numberValue(k.Mul(k, n.step))) {
			return false
		}
	}
	return false
}

// multiples returns how often step goes into the ends of the range; nil is no end.
func (n *numberSet) multiples() (from, to *big.Int) {
	scaled := func(l limit) limit {
		if l.v == nil {
			return l
		}
		return limit{new(big.Rat).Quo(l.v, n.step), l.open}
	}
	return wholeAbove(scaled(n.lo)), wholeBelow(scaled(n.hi))
}

// numberValue writes a number as a value, in plain decimals where it has them.
func numberValue(x *big.Rat) *value {
	if x.IsInt() {
		return &value{kind: "number", text: x.Num().String()}
	}
	digits, _ := x.FloatPrec()
	return &value{kind: "number", text: x.FloatString(digits)}
}

// not returns the numbers outside n.
func (n *numberSet) not() []*numberSet {
	if n.values != nil {
		return []*numberSet{{others: n.values}}
	}
	var list []*numberSet
	if n.lo.v != nil {
		list = append(list, &numberSet{hi: limit{n.lo.v, !n.lo.open}})
	}
	if n.hi.v != nil {
		list = append(list, &numberSet{lo: limit{n.hi.v, !n.hi.open}})
	}
	if n.step != nil {
		list = append(list, &numberSet{apart: []*big.Rat{n.step}})
	}
	for _, step := range n.apart {
		list = append(list, &numberSet{step: step})
	}
	if len(n.others) > 0 {
		list = append(list, &numberSet{values: n.others})
	}
	return list
}

// wholeAbove returns the least integer that l, a lower limit, allows.
func wholeAbove(l limit) *big.Int {
	if l.v == nil {
		return nil
	}
	n := wholeBelow(limit{new(big.Rat).Neg(l.v), l.open})
	return n.Neg(n)
}

// wholeBelow returns the greatest integer that l, an upper limit, allows.
func wholeBelow(l limit) *big.Int {
	if l.v == nil {
		return nil
	}
	n := new(big.Int).Div(l.v.Num(), l.v.Denom()) // rounds down
	if l.open && l.v.IsInt() {
		n.Sub(n, big.NewInt(1))
	}
	return n
}
