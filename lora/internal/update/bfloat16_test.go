package update

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/internal/safetensors"
)

// Adding in bfloat16 in one go does what the conversions do one by one, on any
// processor.
func TestShiftBF16(t *testing.T) {
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
				if w&bf16Inf == bf16Inf {
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
			var counts bf16Counts
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
			sum := shiftBF16(got, src, update)
			var squares [lanes]float64
			var portable bf16Counts
			shiftBF16Each(each, src, update, &squares, &portable)
			total := 0.0
			for _, s := range squares {
				total += s
			}
			require.Equal(t, portable.notFinite, int64(sum.NotFinite))
			require.Equal(t, want, got, "seed %d", seed)
			require.Equal(t, want, each, "seed %d", seed)
			if counts.notFinite == 0 {
				finite++
				require.Equal(t, counts, portable)
				require.Equal(t, Tally{total, int(portable.updates), int(portable.changed), 0}, sum)
			}
		}
	}
	require.Greater(t, finite, 100)
}
