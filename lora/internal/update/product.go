package update

import "math"

// A merge computes what PEFT's merge_and_unload does on a CPU with
// float32 adapters, bit for bit and on every machine:
//
//	sum    = fma(B[i,r], A[r,j], sum)  for r = 0..R-1, in float32
//	update = sum * scale               in float32
//	merged = W[i,j] + update           in float32, then rounded to the stored format
//
// A fused multiply-add rounds once. Where the processor has it for vectors
// (amd64 with AVX2, arm64), fmaColumns uses it. Elsewhere, and in tests to
// compare, it is computed in float64, where the product of two float32 values
// is exact and only the addition rounds, to 53 bits. Rounding that again to the
// 24 bits of a float32 gives the same as one rounding, except where the 53 bits
// lie exactly between two float32 values: then the lost rest decides, and fma32
// recovers it.
//
// Up to R = 256 PEFT sums in this order; beyond, its matrix library splits the
// sum and last bits differ.

// Bits of a float64 that a normal float32 lacks, and the middle between two.
const (
	lowBits = 1<<29 - 1
	middle  = 1 << 28
)

// fma32 returns x*y + z, rounded once to float32.
func fma32(x, y, z float32) float32 {
	product, c := float64(x)*float64(y), float64(z)
	sum := product + c
	// The rounding error of the sum is a float64 (Knuth 1997, vol. 2, 4.2.2,
	// theorem B). Where there is one, the last bit is made 1 towards it: "round
	// to odd", after which a second rounding is harmless (Boldo and Melquiond
	// 2008, doi:10.1109/TC.2007.70819).
	v := sum - product
	rest := (product - (sum - v)) + (c - v)
	u := math.Float64bits(sum)
	if u&1 == 0 && (rest > 0 || rest < 0) { // neither of them if sum is infinite
		if (rest > 0) == (sum > 0) {
			u++
		} else {
			u--
		}
	}
	return float32(math.Float64frombits(u))
}

// addScaled adds b*a[j] to sum[j], each rounded once. The caller knows that no
// sum is a subnormal float32.
func addScaled(sum, a []float32, b float32) {
	a = a[:len(sum)]
	for j, x := range a {
		s := float64(b)*float64(x) + float64(sum[j])
		if math.Float64bits(s)&lowBits == middle {
			sum[j] = fma32(b, x, sum[j])
			continue
		}
		sum[j] = float32(s)
	}
}

// A product evaluates scale*B*A row by row.
type product struct {
	Factors
	scale float32
	plain bool // no sum can be subnormal
}

func newProduct(m Factors, scale float64) *product {
	// Sums are multiples of the smallest product's last bit.
	return &product{m, float32(scale), smallest(m.A)+smallest(m.B)-2*23 >= -126}
}

// smallest returns the smallest binary exponent of the values that are not
// zero, 0 if all are.
func smallest(values []float32) int {
	low, first := 0, true
	for _, v := range values {
		if v == 0 {
			continue
		}
		if e := math.Ilogb(float64(v)); first || e < low {
			low, first = e, false
		}
	}
	return low
}

// row computes row i, [In].
func (p *product) row(i int, dst []float32) {
	n := 0
	if hasFMA() {
		if n = len(dst) / fmaStep * fmaStep; n > 0 {
			fmaColumns(&dst[0], &p.A[0], &p.B[i*p.Rank], p.Rank, p.In, n, p.scale)
		}
	}
	p.columns(i, n, dst[n:])
}

// columns computes row i from column first on, on any processor.
func (p *product) columns(i, first int, dst []float32) {
	clear(dst)
	for r, b := range p.B[i*p.Rank : (i+1)*p.Rank] {
		a := p.A[r*p.In+first:][:len(dst)]
		if p.plain {
			addScaled(dst, a, b)
			continue
		}
		for j, x := range a {
			dst[j] = fma32(b, x, dst[j])
		}
	}
	for j, v := range dst {
		dst[j] = v * p.scale
	}
}
