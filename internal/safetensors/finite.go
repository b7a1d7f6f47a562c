package safetensors

import (
	"encoding/binary"
	"fmt"
)

// NotFinite returns the index of the first element of d, one of F64, F32, F16 and
// BF16, that is an infinity or a NaN, -1 if there is none. Other formats have none.
func NotFinite(data []byte, d Dtype) int {
	size := d.Size()
	var exponent uint64 // of one element: all its bits are set where it is not finite
	switch d {
	case F64:
		exponent = 0x7ff << 52
	case F32:
		exponent = 0xff << 23
	case F16:
		exponent = halfInf
	case BF16:
		exponent = 0xff << 7
	default:
		return -1
	}
	if at := firstFull(data, exponent, size); at < len(data)/8*8 {
		data = data[at:]
		return at/size + scanFull(data, exponent, size)
	}
	tail := len(data) / 8 * 8
	if i := scanFull(data[tail:], exponent, size); i >= 0 {
		return tail/size + i
	}
	return -1
}

// firstFull returns the offset of the first 8 bytes with an element in which the
// bits of exponent are all set, the end of the last 8 bytes if there are none. It
// looks at 8 bytes at a time: weights are read no faster than memory gives them.
func firstFull(data []byte, exponent uint64, size int) int {
	low := uint64(1) // of each element in 8 bytes
	for n := size; n < 8; n *= 2 {
		exponent |= exponent << (8 * n)
		low |= low << (8 * n)
	}
	high := low << (8*size - 1)
	i := 0
	for ; len(data)-i >= 8; i += 8 {
		clear := ^binary.LittleEndian.Uint64(data[i:]) & exponent // 0 in an element that is not finite
		if (clear-low)&^clear&high != 0 {
			break
		}
	}
	return i
}

// scanFull is firstFull element by element; it returns an index, -1 for none.
func scanFull(data []byte, exponent uint64, size int) int {
	for i := 0; i+size <= len(data); i += size {
		var element [8]byte
		copy(element[:], data[i:i+size])
		if binary.LittleEndian.Uint64(element[:])&exponent == exponent {
			return i / size
		}
	}
	return -1
}

// CheckFinite returns an error that names file and tensor if an element is an
// infinity or a NaN. It reads the tensor once.
func (r *Reader) CheckFinite(name string) error {
	p, err := r.find(name)
	if err != nil {
		return err
	}
	data, err := r.Bytes(name)
	if err != nil {
		return err
	}
	info := r.infos[p.info]
	at := NotFinite(data, info.Dtype)
	if at < 0 {
		return nil
	}
	value := make([]float32, 1)
	size := info.Dtype.Size()
	if err := DecodeFloat32(value, data[at*size:(at+1)*size], info.Dtype); err != nil {
		return err
	}
	return fault(p.file.path, name, fmt.Errorf("element %d of %v is %v, want finite weights: download the file again, or use a model that has not diverged", at, info.Shape, value[0]))
}
