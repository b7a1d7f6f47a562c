package gguf

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"

	"github.com/impulse-salamandra/finetune/salamandra/safetensors"
)

// Type is the element format of a tensor, as the file numbers it.
type Type uint32

// The formats this package writes.
const (
	F32  Type = 0
	F16  Type = 1
	Q8_0 Type = 8 // blocks of 32: a float16 scale and 32 signed bytes
	BF16 Type = 30
)

// blockSize is the number of values of a Q8_0 block, blockBytes its size.
const (
	blockSize  = 32
	blockBytes = 2 + blockSize
)

// types lists the formats with their names, the formats of safetensors that
// they equal, and the number that general.file_type has for a model in them.
var types = []struct {
	t        Type
	name     string
	dtype    safetensors.Dtype
	fileType uint32
}{
	{F32, "f32", safetensors.F32, 0},
	{F16, "f16", safetensors.F16, 1},
	{Q8_0, "q8_0", "", 7},
	{BF16, "bf16", safetensors.BF16, 32},
}

// ParseType returns the type called name: f32, f16, bf16 or q8_0, in any case.
func ParseType(name string) (Type, error) {
	for _, t := range types {
		if t.name == strings.ToLower(name) {
			return t.t, nil
		}
	}
	return 0, fmt.Errorf("gguf: type %q: %w: want f32, f16, bf16 or q8_0", name, ErrUnsupported)
}

// index returns the place in types, -1 if it is not there.
func (t Type) index() int {
	for i := range types {
		if types[i].t == t {
			return i
		}
	}
	return -1
}

// String returns the name of the type.
func (t Type) String() string {
	if i := t.index(); i >= 0 {
		return types[i].name
	}
	return fmt.Sprintf("type(%d)", uint32(t))
}

// RowBytes returns the bytes of a row of n values, 0 if there is no such row:
// rows of Q8_0 are multiples of 32.
func (t Type) RowBytes(n int) int {
	i := t.index()
	switch {
	case i < 0 || t == Q8_0 && n%blockSize != 0:
		return 0
	case t == Q8_0:
		return n / blockSize * blockBytes
	}
	return n * types[i].dtype.Size()
}

// encode stores values in dst, which has RowBytes of them, rounding to nearest.
func (t Type) encode(dst []byte, values []float32) error {
	if t == Q8_0 {
		return quantise(dst, values)
	}
	return safetensors.EncodeFloat32(dst, values, types[t.index()].dtype)
}

// quantise stores blocks of Q8_0: the scale is the largest magnitude over 127,
// and halves are rounded away from zero, as the reference implementation does.
func quantise(dst []byte, values []float32) error {
	scale := make([]float32, 1)
	for len(values) > 0 {
		block := values[:blockSize]
		var largest float32
		for _, v := range block {
			largest = max(largest, v, -v)
		}
		scale[0] = largest / 127
		if err := safetensors.EncodeFloat32(dst[:2], scale, safetensors.F16); err != nil {
			return err
		}
		var inverse float32
		if scale[0] != 0 {
			inverse = 1 / scale[0]
		}
		for i, v := range block {
			dst[2+i] = byte(int8(math.Round(float64(float32(v * inverse)))))
		}
		values, dst = values[blockSize:], dst[blockBytes:]
	}
	return nil
}

// finite tells whether encoded data holds neither infinities nor NaN; in Q8_0
// the scales decide.
func (t Type) finite(data []byte) bool {
	const half, brain = 0x7c00, 0x7f80 // all bits of the exponent
	step, size, exponent := 2, 2, uint16(half)
	switch t {
	case F32:
		step, size, exponent = 4, 4, brain
	case BF16:
		exponent = brain
	case Q8_0:
		step = blockBytes
	}
	for i := 0; i < len(data); i += step {
		if binary.LittleEndian.Uint16(data[i+size-2:])&exponent == exponent {
			return false
		}
	}
	return true
}
