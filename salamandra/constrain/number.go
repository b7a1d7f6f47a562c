package constrain

import (
	"fmt"
	"math/big"
	"strings"
)

// MaxDigits is the longest integer, and integer part, that is written without
// need: such a number fits an int64.
const MaxDigits = 18

// fractionDigits is the longest fraction, as many as a float64 needs.
const fractionDigits = 17

// limit is one end of a range of numbers; a nil v is no end.
type limit struct {
	v    *big.Rat
	open bool // v itself is outside
}

// digits returns a string of n decimal digits.
func (b *builder) digits(n int) *node {
	list := []*node{b.empty}
	for range n {
		list = append([]*node{b.byteIn('0', '9')}, list...)
	}
	return b.seq(list...)
}

// upTo returns a string of at most n decimal digits.
func (b *builder) upTo(n int) *node {
	list := b.empty
	for range n {
		list = b.alt(b.empty, b.pair(b.byteIn('0', '9'), list))
	}
	return list
}

// integers returns the integers from lo to hi; a nil end is that of MaxDigits digits.
func (b *builder) integers(lo, hi *big.Int) *node {
	most := new(big.Int).Sub(power10(MaxDigits), big.NewInt(1))
	if hi == nil {
		hi = most
	}
	if lo == nil {
		lo = new(big.Int).Neg(most)
	}
	negative := b.naturals(maxInt(big.NewInt(1), new(big.Int).Neg(hi)), new(big.Int).Neg(lo))
	return b.alt(b.pair(b.literal("-"), negative), b.naturals(maxInt(new(big.Int), lo), hi))
}

func power10(n int) *big.Int {
	return new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil)
}

func maxInt(x, y *big.Int) *big.Int {
	if x.Cmp(y) > 0 {
		return x
	}
	return y
}

// naturals returns the integers from lo to hi, lo not negative.
func (b *builder) naturals(lo, hi *big.Int) *node {
	if lo.Cmp(hi) > 0 {
		return b.fail
	}
	last := hi.String()
	if lo.Cmp(big.NewInt(1)) <= 0 && strings.Trim(last, "9") == "" { // every integer of so many digits
		zero := b.fail
		if lo.Sign() == 0 {
			zero = b.literal("0")
		}
		return b.alt(zero, b.pair(b.byteIn('1', '9'), b.upTo(len(last)-1)))
	}
	var list []*node
	for n := len(lo.String()); n <= len(last); n++ {
		from, to := lo.String(), hi.String()
		if n > len(from) {
			from = power10(n - 1).String()
		}
		if n < len(to) {
			to = strings.Repeat("9", n)
		}
		list = append(list, b.between(from, to))
	}
	return b.alt(list...)
}

// between returns the strings of digits from lo to hi, all of the same length.
func (b *builder) between(lo, hi string) *node {
	n := len(lo)
	if strings.Trim(lo, "0") == "" && strings.Trim(hi, "9") == "" {
		return b.digits(n)
	}
	if lo[0] == hi[0] {
		return b.pair(b.literal(lo[:1]), b.between(lo[1:], hi[1:]))
	}
	middle := b.fail
	if lo[0]+1 < hi[0] {
		middle = b.pair(b.byteIn(lo[0]+1, hi[0]-1), b.digits(n-1))
	}
	return b.alt(
		b.pair(b.literal(lo[:1]), b.between(lo[1:], strings.Repeat("9", n-1))),
		middle,
		b.pair(b.literal(hi[:1]), b.between(strings.Repeat("0", n-1), hi[1:])),
	)
}

// numbers returns the decimal numbers between two limits. Only where there is
// no limit may they have an exponent, of at most two digits. It fails for a
// limit with more than 17 digits after the point.
func (b *builder) numbers(lo, hi limit) (*node, error) {
	for _, l := range []limit{lo, hi} {
		if l.v != nil && !exact(l.v) {
			return nil, fmt.Errorf("%w: a limit with more than %d digits after the point", ErrUnsupported, fractionDigits)
		}
	}
	if lo.v == nil && hi.v == nil {
		digit := b.byteIn('0', '9')
		exponent := b.seq(b.literal("e"), b.alt(b.literal("+"), b.literal("-")), digit, digit)
		magnitude := b.seq(b.magnitudes(limit{v: new(big.Rat)}, hi), b.alt(b.empty, exponent))
		return b.pair(b.alt(b.empty, b.literal("-")), magnitude), nil
	}
	zero := limit{v: new(big.Rat)}
	positiveFrom := zero
	if lo.v != nil && lo.v.Sign() >= 0 {
		positiveFrom = lo
	}
	negativeFrom := limit{v: new(big.Rat), open: true}
	if hi.v != nil && hi.v.Sign() < 0 {
		negativeFrom = limit{new(big.Rat).Neg(hi.v), hi.open}
	}
	var negativeTo limit
	if lo.v != nil {
		negativeTo = limit{new(big.Rat).Neg(lo.v), lo.open}
	}
	return b.alt(b.magnitudes(positiveFrom, hi), b.pair(b.literal("-"), b.magnitudes(negativeFrom, negativeTo))), nil
}

// exact reports whether fractionDigits digits after the point write v in full.
func exact(v *big.Rat) bool {
	w, _ := new(big.Rat).SetString(v.FloatString(fractionDigits))
	return w.Cmp(v) == 0
}

// magnitudes returns the decimal numbers from lo, which is not negative, to hi.
func (b *builder) magnitudes(lo, hi limit) *node {
	if hi.v == nil {
		hi = limit{new(big.Rat).SetInt(power10(MaxDigits)), true}
	}
	if hi.v.Sign() < 0 || lo.v.Cmp(hi.v) > 0 {
		return b.fail
	}
	loInt, loFraction, _ := strings.Cut(lo.v.FloatString(fractionDigits), ".")
	hiInt, hiFraction, _ := strings.Cut(hi.v.FloatString(fractionDigits), ".")
	f := fraction{b, loFraction, hiFraction, lo.open, hi.open, map[fractionAt]*node{}}
	if loInt == hiInt {
		return b.pair(b.literal(loInt), f.after(fractionAt{0, true, true, false}))
	}
	x, _ := new(big.Int).SetString(loInt, 10)
	y, _ := new(big.Int).SetString(hiInt, 10)
	one := big.NewInt(1)
	return b.alt(
		b.pair(b.literal(loInt), f.after(fractionAt{0, true, false, false})),
		b.pair(b.naturals(new(big.Int).Add(x, one), new(big.Int).Sub(y, one)), f.after(fractionAt{0, false, false, false})),
		b.pair(b.literal(hiInt), f.after(fractionAt{0, false, true, false})),
	)
}

// fraction is what may follow an integer part between limits: nothing, or a
// point and digits of which the last is no zero, or ".0".
type fraction struct {
	b              *builder
	lo, hi         string // fractionDigits digits each
	loOpen, hiOpen bool
	known          map[fractionAt]*node
}

// fractionAt is a place in a fraction: after i digits, all before equal to
// those of a limit or not, the last one a zero that cannot be the last.
type fractionAt struct {
	i          int
	atLo, atHi bool
	zero       bool
}

// after returns the rest of a number from a place in its fraction.
func (f fraction) after(at fractionAt) *node {
	if n := f.known[at]; n != nil {
		return n
	}
	b, end := f.b, f.end(at)
	digits := b.fail
	for d := byte('0'); at.i < fractionDigits && d <= '9'; d++ {
		if at.atLo && d < f.lo[at.i] || at.atHi && d > f.hi[at.i] {
			continue
		}
		next, from := f.next(at, d), d
		for d < '9' && f.next(at, d+1) == next && !(at.atHi && d+1 > f.hi[at.i]) {
			d++ // digits that make no difference
		}
		digits = b.alt(digits, b.pair(b.byteIn(from, d), f.after(next)))
	}
	if at.i == 0 {
		digits = b.pair(b.literal("."), digits)
	}
	f.known[at] = b.alt(end, digits)
	return f.known[at]
}

// next is the place after a digit.
func (f fraction) next(at fractionAt, d byte) fractionAt {
	return fractionAt{at.i + 1, at.atLo && d == f.lo[at.i], at.atHi && d == f.hi[at.i], d == '0' && at.i > 0}
}

// end returns the empty string if the number may end at a place.
func (f fraction) end(at fractionAt) *node {
	belowLo := at.atLo && (strings.Trim(f.lo[at.i:], "0") != "" || f.loOpen)
	aboveHi := at.atHi && strings.Trim(f.hi[at.i:], "0") == "" && f.hiOpen
	if at.zero || belowLo || aboveHi {
		return f.b.fail
	}
	return f.b.empty
}
