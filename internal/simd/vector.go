package simd

import "math"

// Binary is an operation on two numbers.
type Binary int

// The operations.
const (
	Add Binary = iota
	Sub
	Mul
	Div
)

// Apply writes a[i] op b[i] to dst, which may be one of them. An operand of length 1
// stands for that number in all places.
func (op Binary) Apply(dst, a, b []float32) {
	n := len(dst)
	if n == 0 {
		return
	}
	if len(a) == 1 && len(b) == 1 {
		x := op.of(a[0], b[0])
		for i := range dst {
			dst[i] = x
		}
		return
	}
	whole := op.vector(dst, a, b)
	if whole == n {
		return
	}
	op.plain(dst[whole:], rest(a, whole), rest(b, whole))
}

// rest is x from i on, or the one number that it is.
func rest(x []float32, i int) []float32 {
	if len(x) == 1 {
		return x
	}
	return x[i:]
}

func (op Binary) of(x, y float32) float32 {
	switch op {
	case Add:
		return x + y
	case Sub:
		return x - y
	case Mul:
		return x * y
	}
	return x / y
}

// plain is [Binary.Apply] in Go.
func (op Binary) plain(dst, a, b []float32) {
	switch {
	case len(a) == 1 && len(dst) > 1:
		for i, y := range b[:len(dst)] {
			dst[i] = op.of(a[0], y)
		}
	case len(b) == 1 && len(dst) > 1:
		for i, x := range a[:len(dst)] {
			dst[i] = op.of(x, b[0])
		}
	default:
		b = b[:len(dst)]
		for i, x := range a[:len(dst)] {
			dst[i] = op.of(x, b[i])
		}
	}
}

// Exp writes e to the power of each number of a to dst, which may be a, within two
// units in the last place.
func Exp(dst, a []float32) {
	whole := expWhole(dst, a)
	for i, x := range a[whole:] {
		dst[whole+i] = exp(x)
	}
}

// Logistic writes 1/(1+exp(-x)) for each x of a to dst, which may be a.
func Logistic(dst, a []float32) {
	whole := logisticWhole(dst, a)
	for i, x := range a[whole:] {
		dst[whole+i] = 1 / (1 + exp(-x))
	}
}

// exp splits x = n*log(2) + r, and gives the series of r times 2**n, in two factors
// so that results near the ends of the range come out right.
func exp(x float32) float32 {
	if x != x {
		return x
	}
	x = max(min(x, 89), -104)
	n := float32(math.RoundToEven(float64(x * 1.44269504)))
	r := x - float32(n*0.693115234375)
	r -= float32(n * 3.194618089764845e-05)
	y := float32(1.0 / 5040)
	for _, c := range [...]float32{1.0 / 720, 1.0 / 120, 1.0 / 24, 1.0 / 6, 1.0 / 2, 1, 1} {
		y = float32(y*r) + c
	}
	half := int32(n) >> 1
	y *= math.Float32frombits(uint32(half+127) << 23)
	return y * math.Float32frombits(uint32(int32(n)-half+127)<<23)
}

const lanes = 32

// Sum adds up: number i in lane i%32, then the lanes in order.
func Sum(a []float32) float32 {
	var sums [lanes]float32
	whole := sumWhole(&sums, a)
	for i, x := range a[whole:] {
		sums[i%lanes] += x
	}
	for half := lanes / 2; half > 0; half /= 2 {
		for i := range half {
			sums[i] += sums[i+half]
		}
	}
	return sums[0]
}

// Max is the largest number of a, NaN if one of them is; of none it is -Inf.
func Max(a []float32) float32 {
	top := float32(math.Inf(-1))
	whole := 0
	if n := len(a) &^ (lanes - 1); n > 0 {
		top, whole = maxWhole(a[:n]), n
	}
	for _, x := range a[whole:] {
		top = max(top, x)
	}
	return top
}

func maxGo(a []float32) float32 {
	top := a[0]
	for _, x := range a {
		top = max(top, x)
	}
	return top
}

// Widen converts bfloat16 to float32.
func Widen(dst []float32, src []uint16) {
	whole := widenWhole(dst, src)
	for i, x := range src[whole:] {
		dst[whole+i] = widen(x)
	}
}

func widen(x uint16) float32 { return math.Float32frombits(uint32(x) << 16) }

// WidenWhole converts whole numbers to float32.
func WidenWhole(dst []float32, src []int8) {
	whole := widenBytes(dst, src)
	for i, x := range src[whole:] {
		dst[whole+i] = float32(x)
	}
}

// Narrow rounds float32 to bfloat16, to the nearest, ties to even.
func Narrow(dst []uint16, src []float32) {
	dst = dst[:len(src)]
	for i, x := range src {
		bits := math.Float32bits(x)
		if x != x {
			dst[i] = uint16(bits>>16) | 0x40
			continue
		}
		dst[i] = uint16((bits + 0x7fff + bits>>16&1) >> 16)
	}
}
