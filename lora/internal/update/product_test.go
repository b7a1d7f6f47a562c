package update

import (
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// exactFMA is x*y + z with one rounding, by exact arithmetic.
func exactFMA(x, y, z float32) float32 {
	exact := func(v float32) *big.Float { return new(big.Float).SetPrec(1000).SetFloat64(float64(v)) }
	sum := exact(x)
	sum.Mul(sum, exact(y)).Add(sum, exact(z))
	v, _ := sum.Float32()
	return v
}

// operands draws float32 values that make roundings hard: few bits, so that
// sums fall between two float32 values, and exponents far apart.
func operands(rng *rand.Rand, spread int) (x, y, z float32) {
	draw := func(bits int) float32 {
		fraction := float64(rng.IntN(1<<bits)|1) * float64(1-2*rng.IntN(2))
		return float32(math.Ldexp(fraction, rng.IntN(2*spread+1)-spread-bits))
	}
	bits := 1 + rng.IntN(24)
	return draw(bits), draw(1 + rng.IntN(24)), draw(24)
}

func TestFMA32(t *testing.T) {
	tests := []struct {
		name    string
		x, y, z float32
		want    float32
		reason  string
	}{
		{"exact", 2, 3, 4, 10, "no rounding"},
		{"just above the middle", 0x1p-24, 1 + 0x1p-23, 1, 1 + 0x1p-23, "the rest above the middle decides"},
		{"middle to even", 0x1p-24, 1, 1, 1, "nothing above the middle"},
		{"lost rest above", 0x1p-24 + 0x1p-47, 1 + 0x1p-23, 1, 1 + 0x1p-23, "not seen in 53 bits"},
		{"lost rest below", 0x1p-24, 1 - 0x1p-24, 1 + 0x1p-23, 1 + 0x1p-23, "would round up to even"},
		{"far below", -0x1p-70, 1, 1 + 0x1p-23, 1 + 0x1p-23, "the rest is tiny"},
		{"cancels", 3, 4, -12, 0, "to +0"},
		{"subnormal", 0x1p-75, 0x1p-75, 0x1p-149, 0x1p-148, "half of the last bit, to even"},
		{"overflow", math.MaxFloat32, 2, 0, float32(math.Inf(1)), "as the hardware does"},
	}
	for _, test := range tests {
		require.Equal(t, test.want, fma32(test.x, test.y, test.z), "%s: %s", test.name, test.reason)
		require.Equal(t, exactFMA(test.x, test.y, test.z), fma32(test.x, test.y, test.z), test.name)
	}
	const seed = 5
	rng := rand.New(rand.NewPCG(seed, 0))
	for i := range 200_000 {
		x, y, z := operands(rng, []int{12, 30, 70}[i%3])
		if want, got := exactFMA(x, y, z), fma32(x, y, z); math.Float32bits(want) != math.Float32bits(got) {
			t.Fatalf("seed %d: %g*%g + %g = %g, want %g", seed, x, y, z, got, want)
		}
	}
}

// The fast sum is the exact one, and both paths of a product agree.
func TestSumIsExact(t *testing.T) {
	const seed, rank, in, out = 6, 5, 301, 40
	rng := rand.New(rand.NewPCG(seed, 0))
	for name, spread := range map[string]int{"ordinary": 12, "far apart": 70} {
		t.Run(name, func(t *testing.T) {
			m := Factors{Name: "m", In: in, Out: out, Rank: rank, A: make([]float32, rank*in), B: make([]float32, out*rank)}
			for i := range m.A {
				m.A[i], _, _ = operands(rng, spread)
			}
			for i := range m.B {
				m.B[i], _, _ = operands(rng, spread)
			}
			m.B[3] = 0
			const scale = 0.7
			p := newProduct(m, scale)
			require.Equal(t, spread == 12, p.plain, "exponents far apart take the slow path")
			row, portable := make([]float32, in), make([]float32, in)
			for i := range out {
				p.row(i, row)
				p.columns(i, 0, portable)
				for j := range in {
					var want float32
					for r := range rank {
						want = exactFMA(m.B[i*rank+r], m.A[r*in+j], want)
					}
					want *= scale
					if math.Float32bits(want) != math.Float32bits(row[j]) || math.Float32bits(want) != math.Float32bits(portable[j]) {
						t.Fatalf("seed %d [%d, %d]: %g and %g, want %g", seed, i, j, row[j], portable[j], want)
					}
				}
			}
		})
	}
}

// The fast path is taken only where no sum can leave the normal float32 range.
func TestPlainProduct(t *testing.T) {
	for _, row := range []struct {
		a, b   float32
		want   bool
		reason string
	}{
		{1, 1, true, "as common"},
		{0x1p-40, 0x1p-40, true, "last bit of the product is 2^-126"},
		{0x1p-40, 0x1p-41, false, "last bit of the product is 2^-127"},
		{0, 1, true, "nothing to add"},
		{math.SmallestNonzeroFloat32, 1, false, "subnormal itself"},
		{0x1p100, 0x1p100, true, "an infinite sum rounds as it should"},
	} {
		m := Factors{In: 1, Out: 1, Rank: 1, A: []float32{row.a}, B: []float32{row.b}}
		require.Equal(t, row.want, newProduct(m, 1).plain, row.reason)
		require.Equal(t, row.a == 0, m.IsZero(), row.reason)
	}
}

func BenchmarkSum(b *testing.B) {
	for _, rank := range []int{8, 16, 64} {
		b.Run(fmt.Sprintf("r=%d", rank), func(b *testing.B) {
			const in, out = 4096, 64
			rng := rand.New(rand.NewPCG(1, 0))
			m := Factors{Name: "q", In: in, Out: out, Rank: rank, A: make([]float32, rank*in), B: make([]float32, out*rank)}
			for i := range m.A {
				m.A[i] = float32(rng.NormFloat64())
			}
			for i := range m.B {
				m.B[i] = float32(rng.NormFloat64()) * 0.01
			}
			p := newProduct(m, 1)
			sum := make([]float32, in)
			row := 0
			for b.Loop() {
				p.row(row%out, sum)
				row++
			}
			b.ReportMetric(float64(b.N*rank*in)/b.Elapsed().Seconds()/1e9, "GFMA/s")
		})
	}
}
