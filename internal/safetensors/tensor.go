package safetensors

import (
	"fmt"
	"math"
	"slices"
)

// Dtype is the element format of a tensor, as the header spells it.
type Dtype string

// The element formats of weights, and of their indices.
const (
	F64  Dtype = "F64"
	F32  Dtype = "F32"
	F16  Dtype = "F16"
	BF16 Dtype = "BF16" // the upper half of an F32
	I64  Dtype = "I64"
	U8   Dtype = "U8"
)

// fileOrder lists the formats in the order in which the reference
// implementation stores the tensors of one file: wide elements first, so that
// every element is aligned.
var fileOrder = []struct {
	dtype Dtype
	size  int
}{
	{"U64", 8}, {I64, 8}, {F64, 8},
	{F32, 4}, {"U32", 4}, {"I32", 4},
	{BF16, 2}, {F16, 2}, {"U16", 2}, {"I16", 2},
	{"F8_E4M3", 1}, {"F8_E5M2", 1}, {"I8", 1}, {U8, 1}, {"BOOL", 1},
}

// Size returns the bytes of one element, 0 for a format this package does not
// know.
func (d Dtype) Size() int {
	if i := d.rank(); i >= 0 {
		return fileOrder[i].size
	}
	return 0
}

// rank returns the place of d in fileOrder, -1 if it is not there.
func (d Dtype) rank() int {
	for i := range fileOrder {
		if fileOrder[i].dtype == d {
			return i
		}
	}
	return -1
}

// Info describes one tensor. An empty shape is one element; a zero in the
// shape means no elements.
type Info struct {
	Name  string
	Dtype Dtype
	Shape []int
}

// NumElements returns the product of the shape, -1 if NumBytes is.
func (i Info) NumElements() int {
	n, err := i.numBytes()
	if err != nil {
		return -1
	}
	return n / i.Dtype.Size()
}

// NumBytes returns the bytes of the data, -1 if the format is unknown, a
// dimension is negative or the size does not fit an int. Tensors of a [File]
// always have a size.
func (i Info) NumBytes() int {
	n, err := i.numBytes()
	if err != nil {
		return -1
	}
	return n
}

// numBytes returns the bytes of the data, or which of errDtype, errShape and
// errOverflow forbids it.
func (i Info) numBytes() (int, error) {
	n := i.Dtype.Size()
	if n == 0 {
		return 0, fmt.Errorf("%w %q", errDtype, string(i.Dtype))
	}
	if slices.Contains(i.Shape, 0) {
		n = 0
	}
	for _, d := range i.Shape {
		if d < 0 {
			return 0, fmt.Errorf("%w: %v has a negative dimension", errShape, i.Shape)
		}
		if d > 0 && n > math.MaxInt/d {
			return 0, fmt.Errorf("%w: shape %v of %s", errOverflow, i.Shape, i.Dtype)
		}
		n *= d
	}
	return n, nil
}
