package gguf

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"

	"github.com/impulse-salamandra/finetune/internal/safetensors"
)

// elementType is the element format of a tensor, as the file numbers it.
type elementType uint32

// The formats this package writes.
const (
	typeF32  elementType = 0
	typeF16  elementType = 1
	typeQ8   elementType = 8 // blocks of 32: a float16 scale and 32 signed bytes
	typeBF16 elementType = 30
)

// blockSize is the number of values of a q8_0 block, blockBytes its size.
const (
	blockSize  = 32
	blockBytes = 2 + blockSize
)

// types lists the formats with their names, the formats of safetensors that
// they equal, and the number that general.file_type has for a model in them.
var types = []struct {
	t        elementType
	name     string
	dtype    safetensors.Dtype
	fileType uint32
}{
	{typeF32, "f32", safetensors.F32, 0},
	{typeF16, "f16", safetensors.F16, 1},
	{typeQ8, "q8_0", "", 7},
	{typeBF16, "bf16", safetensors.BF16, 32},
}

// Types returns the names of the formats that an export can have.
func Types() []string {
	var names []string
	for _, t := range types {
		names = append(names, t.name)
	}
	return names
}

// parseType returns the format of a name, in any case; "" is f32.
func parseType(name string) (elementType, error) {
	if name == "" {
		return typeF32, nil
	}
	for _, t := range types {
		if t.name == strings.ToLower(name) {
			return t.t, nil
		}
	}
	return 0, fmt.Errorf("type %q: %w: want %s", name, errUnsupported, strings.Join(Types(), ", "))
}

// index returns the place in types, -1 if it is not there.
func (t elementType) index() int {
	for i := range types {
		if types[i].t == t {
			return i
		}
	}
	return -1
}

// String returns the name of the type.
func (t elementType) String() string {
	if i := t.index(); i >= 0 {
		return types[i].name
	}
	return fmt.Sprintf("type(%d)", uint32(t))
}

// rowBytes returns the bytes of a row of n values, 0 if there is no such row:
// rows of q8_0 are multiples of 32.
func (t elementType) rowBytes(n int) int {
	i := t.index()
	switch {
	case i < 0 || t == typeQ8 && n%blockSize != 0:
		return 0
	case t == typeQ8:
		return n / blockSize * blockBytes
	}
	return n * types[i].dtype.Size()
}

// encode stores values in dst, which has rowBytes of them, rounding to nearest.
func (t elementType) encode(dst []byte, values []float32) error {
	if t == typeQ8 {
		return quantise(dst, values)
	}
	return safetensors.EncodeFloat32(dst, values, types[t.index()].dtype)
}

// quantise stores blocks of q8_0: the scale is the largest magnitude over 127,
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

// finite reports whether encoded data holds neither infinities nor NaN; in q8_0
// the scales decide.
func (t elementType) finite(data []byte) bool {
	const half, brain = 0x7c00, 0x7f80 // all bits of the exponent
	step, size, exponent := 2, 2, uint16(half)
	switch t {
	case typeF32:
		step, size, exponent = 4, 4, brain
	case typeBF16:
		exponent = brain
	case typeQ8:
		step = blockBytes
	}
	for i := 0; i < len(data); i += step {
		if binary.LittleEndian.Uint16(data[i+size-2:])&exponent == exponent {
			return false
		}
	}
	return true
}
