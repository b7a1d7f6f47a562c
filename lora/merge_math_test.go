package lora

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/salamandra/safetensors"
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
			m := Module{Name: "m", In: in, Out: out, Rank: rank, A: make([]float32, rank*in), B: make([]float32, out*rank)}
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
		m := Module{In: 1, Out: 1, Rank: 1, A: []float32{row.a}, B: []float32{row.b}}
		require.Equal(t, row.want, newProduct(m, 1).plain, row.reason)
		require.Equal(t, row.a == 0, m.isZero(), row.reason)
	}
}

// One entry each of A and B, so that the answer is known by eye.
func TestMergeRows(t *testing.T) {
	oneHot := func(rows, cols, i, j int, v float32) []float32 {
		m := make([]float32, rows*cols)
		m[i*cols+j] = v
		return m
	}
	tests := []struct {
		name   string
		base   []float32 // [2, 3]
		module Module
		scale  float64
		to     safetensors.Dtype
		want   []float32
		tally  tally
		reason string
	}{
		{
			name: "one entry", base: []float32{1, 2, 3, 4, 5, 6}, scale: 2, to: safetensors.F32,
			module: Module{A: oneHot(2, 3, 1, 2, 0.5), B: oneHot(2, 2, 0, 1, 3)},
			want:   []float32{1, 2, 6, 4, 5, 6}, tally: tally{squares: 9, updates: 1, changed: 1},
			reason: "3 * 0.5 * 2 at [0, 2]",
		},
		{
			name: "ranks do not meet", base: []float32{1, 2, 3, 4, 5, 6}, scale: 2, to: safetensors.F32,
			module: Module{A: oneHot(2, 3, 0, 2, 0.5), B: oneHot(2, 2, 0, 1, 3)},
			want:   []float32{1, 2, 3, 4, 5, 6}, tally: tally{},
			reason: "A has rank 0, B rank 1",
		},
		{
			name: "lost to rounding", base: []float32{1, 2, 3, 4, 5, 256}, scale: 1, to: safetensors.BF16,
			module: Module{A: oneHot(2, 3, 0, 2, 0.5), B: oneHot(2, 2, 1, 0, 1)},
			want:   []float32{1, 2, 3, 4, 5, 256}, tally: tally{squares: 0.25, updates: 1},
			reason: "bfloat16 has steps of 2 at 256",
		},
		{
			name: "overflow", base: []float32{1, 2, 3, 4, 5, 65504}, scale: 1, to: safetensors.F16,
			module: Module{A: oneHot(2, 3, 0, 2, 64), B: oneHot(2, 2, 1, 0, 1)},
			want:   []float32{1, 2, 3, 4, 5, float32(math.Inf(1))}, tally: tally{squares: 4096, updates: 1, changed: 1, notFinite: 1},
			reason: "the largest float16 is 65504",
		},
		{
			name: "magnitude", base: []float32{3, 4, 0, 1, 0, 0}, scale: 1, to: safetensors.F32,
			module: Module{A: oneHot(2, 3, 0, 0, 1), B: oneHot(2, 2, 1, 0, 1), Magnitude: []float32{10, 2}},
			want:   []float32{6, 8, 0, 2, 0, 0}, tally: tally{squares: 9 + 16 + 1, updates: 3, changed: 3},
			reason: "row 0 has length 5 and shall have 10; row 1 becomes [2 0 0], of length 2",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.module.Name, test.module.Rank, test.module.In, test.module.Out = q, 2, 3, 2
			src, dst := make([]byte, 24), make([]byte, 6*test.to.Size())
			require.NoError(t, safetensors.EncodeFloat32(src, test.base, safetensors.F32))
			u, err := newUpdater(t.Context(), MergeOptions{Method: MethodLinear}, []part{{test.module, test.scale, 1}})
			require.NoError(t, err)
			r := newRows(u, test.module.Magnitude, safetensors.F32, test.to)
			var got tally
			size := 3 * test.to.Size()
			for i := range 2 {
				require.NoError(t, r.merge(&got, i, dst[i*size:(i+1)*size], src[i*12:(i+1)*12]))
			}
			values := make([]float32, 6)
			require.NoError(t, safetensors.DecodeFloat32(values, dst, test.to))
			require.Equal(t, test.want, values, test.reason)
			require.Equal(t, test.tally, got, test.reason)
		})
	}
}

// Adding in bfloat16 in one go does what the conversions do one by one, on any
// processor.
func TestShiftBrain(t *testing.T) {
	const seed = 7
	rng := rand.New(rand.NewPCG(seed, 0))
	finite := 0
	special := []uint16{0, 0x8000, 0x7f80, 0xff80, 0x7f7f, 0xff7f, 0x0001, 0x8001, 0x3f80, 0x7fc0, 0x7fff}
	for _, n := range []int{1, 7, 8, 9, 64, 203} {
		for range 200 {
			src, update := make([]byte, 2*n), make([]float32, n)
			base, merged := make([]float32, n), make([]float32, n)
			for j := range update {
				w := uint16(rng.Uint32())
				if w&brainInf == brainInf {
					w = 0x3f81
				}
				if rng.IntN(4*n) == 0 {
					w = special[rng.IntN(len(special))]
				}
				binary.LittleEndian.PutUint16(src[2*j:], w)
				base[j] = math.Float32frombits(uint32(w) << 16)
				switch rng.IntN(5) {
				case 0:
				case 1:
					update[j] = float32(math.Copysign(0, float64(base[j])))
				case 2: // halfway between two
					update[j] = float32(math.Ldexp(float64(base[j]), -8))
				case 3:
					if rng.IntN(n) == 0 {
						update[j] = math.MaxFloat32
					}
				default:
					update[j] = base[j] * float32(rng.NormFloat64()*0.01)
				}
				if notFinite(update[j]) {
					update[j] = 1
				}
				merged[j] = base[j] + update[j]
			}
			want := make([]byte, 2*n)
			require.NoError(t, roundTo(safetensors.BF16, merged, want))
			var counts brainCounts
			for j, v := range merged {
				if update[j] != 0 {
					counts.updates++
				}
				if v != base[j] {
					counts.changed++
				}
				if notFinite(v) {
					counts.notFinite++
				}
			}
			got, each := make([]byte, 2*n), make([]byte, 2*n)
			sum := shiftBrain(got, src, update)
			var squares [lanes]float64
			var portable brainCounts
			shiftBrainEach(each, src, update, &squares, &portable)
			total := 0.0
			for _, s := range squares {
				total += s
			}
			require.Equal(t, portable.notFinite, int64(sum.notFinite))
			require.Equal(t, want, got, "seed %d", seed)
			require.Equal(t, want, each, "seed %d", seed)
			if counts.notFinite == 0 {
				finite++
				require.Equal(t, counts, portable)
				require.Equal(t, tally{total, int(portable.updates), int(portable.changed), 0}, sum)
			}
		}
	}
	require.Greater(t, finite, 100)
}

func TestNorm(t *testing.T) {
	require.Equal(t, float32(5), norm([]float32{3, 4}))
	require.Equal(t, float32(0), norm(make([]float32, 20)))
	row := make([]float32, 17)
	row[0], row[8], row[16] = 1, 2, 2
	require.Equal(t, float32(3), norm(row), "two whole blocks and the rest")
	// 2^12 squared and 1 in the same lane: the 1 is lost in float32. In another
	// lane it is lost when the lanes are added.
	row[0], row[8], row[16] = 1<<12, 1, 0
	require.Equal(t, float32(1<<12), norm(row))
}

func BenchmarkSum(b *testing.B) {
	for _, rank := range []int{8, 16, 64} {
		b.Run(fmt.Sprintf("r=%d", rank), func(b *testing.B) {
			const in, out = 4096, 64
			rng := rand.New(rand.NewPCG(1, 0))
			m := Module{Name: q, In: in, Out: out, Rank: rank, A: make([]float32, rank*in), B: make([]float32, out*rank)}
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
