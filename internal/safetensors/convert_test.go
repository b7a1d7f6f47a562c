package safetensors

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// halfValue is the value of finite F16 bits by the definition of the format.
func halfValue(h uint16) float64 {
	exponent, fraction := int(h>>10&0x1f), float64(h&0x3ff)
	v := math.Ldexp(1024+fraction, exponent-25)
	if exponent == 0 {
		v = math.Ldexp(fraction, -24)
	}
	if h>>15 == 1 {
		v = -v
	}
	return v
}

func TestHalfIsExact(t *testing.T) {
	for bits := range 1 << 16 {
		h := uint16(bits)
		v := fromHalf(h)
		if h&0x7c00 == 0x7c00 {
			require.Equal(t, h&0x3ff != 0, math.IsNaN(float64(v)), "%#04x", h)
			if h&0x3ff != 0 {
				require.Equal(t, h|0x0200, toHalf(v), "NaN keeps sign and payload, quiet: %#04x", h)
				continue
			}
			require.True(t, math.IsInf(float64(v), 0), "%#04x", h)
		} else if halfValue(h) != float64(v) || math.Signbit(halfValue(h)) != math.Signbit(float64(v)) {
			t.Fatalf("%#04x is %v, want %v", h, v, halfValue(h))
		}
		if back := toHalf(v); back != h {
			t.Fatalf("%#04x came back as %#04x", h, back)
		}
	}
}

// Between each pair of neighbours, values round to the nearer, and the middle
// to the even one.
func TestHalfRoundsToNearestEven(t *testing.T) {
	for h := uint16(0); h < 0x7c00; h++ {
		low, high := halfValue(h), halfValue(h+1)
		if h+1 == 0x7c00 {
			high = 65536
		}
		middle := float32((low + high) / 2) // exact: one bit more than an F16
		even := h + h&1
		for _, sign := range []uint16{0, 0x8000} {
			for _, row := range []struct {
				v    float32
				want uint16
			}{
				{middle, even},
				{math.Nextafter32(middle, 0), h},
				{math.Nextafter32(middle, 1e6), h + 1},
			} {
				v := row.v
				if sign != 0 {
					v = -v
				}
				if got := toHalf(v); got != row.want|sign {
					t.Fatalf("%v became %#04x, want %#04x", v, got, row.want|sign)
				}
			}
		}
	}
	require.Equal(t, uint16(0x7c00), toHalf(math.MaxFloat32))
	require.Equal(t, uint16(0), toHalf(math.SmallestNonzeroFloat32))
}

func TestBrainRoundsToNearestEven(t *testing.T) {
	for bits := range 1 << 16 {
		h := uint16(bits)
		v := math.Float32frombits(uint32(h) << 16)
		if math.IsNaN(float64(v)) {
			require.Equal(t, h|0x40, toBrain(v), "NaN stays NaN")
			require.True(t, math.IsNaN(float64(math.Float32frombits(uint32(toBrain(v))<<16))))
			continue
		}
		low := uint32(h) << 16
		for _, row := range []struct {
			bits uint32
			want uint16
		}{{low, h}, {low + 0x7fff, h}, {low + 0x8000, h + h&1}, {low + 0x8001, h + 1}} {
			if w := math.Float32frombits(row.bits); math.IsNaN(float64(w)) {
				continue
			} else if got := toBrain(w); got != row.want {
				t.Fatalf("%#08x became %#04x, want %#04x", row.bits, got, row.want)
			}
		}
	}
	nan := math.Float32frombits(0x7f800001) // rounding would make it an infinity
	require.Equal(t, uint16(0x7fc0), toBrain(nan))
}

func TestConvertFormats(t *testing.T) {
	special := []float32{0, float32(math.Copysign(0, -1)), 1, -2.5, float32(math.Inf(1)), float32(math.Inf(-1)), float32(math.NaN())}
	for _, d := range []Dtype{F64, F32, F16, BF16} {
		b := make([]byte, len(special)*d.Size())
		require.NoError(t, EncodeFloat32(b, special, d))
		got := make([]float32, len(special))
		require.NoError(t, DecodeFloat32(got, b, d))
		for i := range special {
			if math.IsNaN(float64(special[i])) {
				require.True(t, math.IsNaN(float64(got[i])), d)
				continue
			}
			require.Equal(t, math.Float32bits(special[i]), math.Float32bits(got[i]), "%s %v", d, special[i])
		}
	}
	b := binary.LittleEndian.AppendUint64(nil, math.Float64bits(1+0x1p-24+0x1p-50))
	got := make([]float32, 1)
	require.NoError(t, DecodeFloat32(got, b, F64))
	require.Equal(t, float32(1+0x1p-23), got[0], "a little over the middle rounds up")
}

// The reference implementation stored the same values in each float format.
func TestConvertReference(t *testing.T) {
	f, err := Open(everyDtype)
	require.NoError(t, err)
	defer f.Close()
	for name, d := range map[string]Dtype{"f64": F64, "f32": F32, "f16": F16, "bf16": BF16} {
		f32, err := f.Bytes("f32")
		require.NoError(t, err)
		values := make([]float32, len(f32)/4)
		require.NoError(t, DecodeFloat32(values, f32, F32))
		want, err := f.Bytes(name)
		require.NoError(t, err)
		got := make([]byte, len(want))
		require.NoError(t, EncodeFloat32(got, values, d))
		if d == F64 { // 6e-8 was rounded to F32 in one and not in the other
			require.Equal(t, want[:32], got[:32])
			continue
		}
		require.Equal(t, want[:14], got[:14], name)
	}
}

func TestConvertRefuses(t *testing.T) {
	require.ErrorIs(t, DecodeFloat32(make([]float32, 1), make([]byte, 4), "I32"), errDtype)
	require.ErrorIs(t, EncodeFloat32(make([]byte, 1), make([]float32, 1), "F8_E4M3"), errDtype)
	require.ErrorIs(t, DecodeFloat32(make([]float32, 2), make([]byte, 4), F32), errSize)
	require.ErrorIs(t, DecodeFloat32(make([]float32, 1), make([]byte, 5), F32), errSize)
	require.ErrorIs(t, EncodeFloat32(make([]byte, 5), make([]float32, 2), F16), errSize)
}

func BenchmarkConvert(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 0))
	values := make([]float32, 1<<16)
	for i := range values {
		values[i] = float32(rng.NormFloat64())
	}
	for _, d := range []Dtype{F32, F16, BF16} {
		data := make([]byte, len(values)*d.Size())
		b.Run(fmt.Sprintf("encode/%s", d), func(b *testing.B) {
			b.SetBytes(int64(4 * len(values)))
			for b.Loop() {
				if err := EncodeFloat32(data, values, d); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("decode/%s", d), func(b *testing.B) {
			b.SetBytes(int64(4 * len(values)))
			for b.Loop() {
				if err := DecodeFloat32(values, data, d); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
