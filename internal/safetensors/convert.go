package safetensors

import (
	"encoding/binary"
	"fmt"
	"math"
)

// DecodeFloat32 converts little-endian elements of d, one of F64, F32, F16 and
// BF16, to float32. Only F64 can round, to nearest even. Infinities and NaN
// stay what they are. It fails for another format, and unless src holds exactly
// len(dst) elements.
func DecodeFloat32(dst []float32, src []byte, d Dtype) error {
	if err := checkFloats(len(dst), len(src), d); err != nil {
		return err
	}
	switch d {
	case F64:
		for i := range dst {
			dst[i] = float32(math.Float64frombits(binary.LittleEndian.Uint64(src[8*i:])))
		}
	case F32:
		for i := range dst {
			dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:]))
		}
	case F16:
		for i := range dst {
			dst[i] = fromHalf(binary.LittleEndian.Uint16(src[2*i:]))
		}
	case BF16:
		for i := range dst {
			dst[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(src[2*i:])) << 16)
		}
	}
	return nil
}

// EncodeFloat32 converts float32 to little-endian elements of d, one of F64,
// F32, F16 and BF16, rounding to nearest even; what is too large for F16
// becomes an infinity. It fails as DecodeFloat32 does.
func EncodeFloat32(dst []byte, src []float32, d Dtype) error {
	if err := checkFloats(len(src), len(dst), d); err != nil {
		return err
	}
	switch d {
	case F64:
		for i, v := range src {
			binary.LittleEndian.PutUint64(dst[8*i:], math.Float64bits(float64(v)))
		}
	case F32:
		for i, v := range src {
			binary.LittleEndian.PutUint32(dst[4*i:], math.Float32bits(v))
		}
	case F16:
		for i, v := range src {
			binary.LittleEndian.PutUint16(dst[2*i:], toHalf(v))
		}
	case BF16:
		for i, v := range src {
			binary.LittleEndian.PutUint16(dst[2*i:], toBrain(v))
		}
	}
	return nil
}

// checkFloats checks the arguments of a conversion of n elements.
func checkFloats(n, bytes int, d Dtype) error {
	switch d {
	case F64, F32, F16, BF16:
	default:
		return fmt.Errorf("%w %q: want F64, F32, F16 or BF16", errDtype, string(d))
	}
	if bytes/d.Size() != n || bytes%d.Size() != 0 {
		return fmt.Errorf("%w: %d bytes of %s, want %d elements", errSize, bytes, d, n)
	}
	return nil
}

// Bits of an F16: one of sign, five of exponent, ten of fraction. Exponents are
// offset by 15, those of a float32 by 127.
const (
	halfSign     = 0x8000
	halfInf      = 0x7c00
	halfQuiet    = 0x0200
	halfPayload  = 0x03ff
	halfFraction = 23 - 10 // bits of a float32 fraction that an F16 lacks
	rebias       = 127 - 15
)

// fromHalf converts F16 bits to float32, exactly.
func fromHalf(h uint16) float32 {
	sign := uint32(h&halfSign) << 16
	bits := uint32(h&^halfSign) << halfFraction
	if h&halfInf == halfInf { // infinity or NaN
		return math.Float32frombits(sign | 0xff<<23 | bits)
	}
	// The bits are those of the value times 2^-rebias, also where it is
	// subnormal in F16: one exact product mends both.
	v := math.Float32frombits(bits) * (1 << rebias)
	return math.Float32frombits(sign | math.Float32bits(v))
}

// toHalf rounds a float32 to F16 bits, to nearest even.
func toHalf(v float32) uint16 {
	bits := math.Float32bits(v)
	sign := uint16(bits >> 16 & halfSign)
	bits &^= 1 << 31
	switch {
	case bits > 0xff<<23: // NaN, made quiet
		return sign | halfInf | halfQuiet | uint16(bits>>halfFraction)&halfPayload
	case bits >= (127+16)<<23: // 2^16 and above
		return sign | halfInf
	case bits < (127-14)<<23: // subnormal in F16: adding 0.5 shifts the fraction to the end and rounds
		return sign | uint16(math.Float32bits(math.Float32frombits(bits)+0.5)-math.Float32bits(0.5))
	}
	bits -= rebias << 23
	return sign | uint16((bits+1<<(halfFraction-1)-1+bits>>halfFraction&1)>>halfFraction)
}

// toBrain rounds a float32 to BF16 bits, to nearest even.
func toBrain(v float32) uint16 {
	bits := math.Float32bits(v)
	if v != v { // NaN, made quiet; rounding could make it an infinity
		return uint16(bits>>16) | 0x0040
	}
	return uint16((bits + 0x7fff + bits>>16&1) >> 16)
}
