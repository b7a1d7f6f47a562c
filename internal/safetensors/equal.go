package safetensors

import (
	"bytes"
	"fmt"
	"math"
	"slices"
)

// Equal reports whether two tensors have one shape and the same values, whatever
// their formats: 0 equals -0, and a NaN equals its own bits. A tensor that is not
// there, or is not of F32, F16 or BF16, equals none. The pages of both are
// released. It fails as Bytes does.
func Equal(x *Reader, xName string, y *Reader, yName string) (bool, error) {
	a, hasA := x.Info(xName)
	b, hasB := y.Info(yName)
	if !hasA || !hasB || !slices.Equal(a.Shape, b.Shape) || !narrow(a.Dtype) || !narrow(b.Dtype) {
		return false, nil
	}
	p, err := x.Bytes(xName)
	if err != nil {
		return false, err
	}
	defer x.Release(xName)
	q, err := y.Bytes(yName)
	if err != nil {
		return false, err
	}
	defer y.Release(yName)
	if a.Dtype == b.Dtype && bytes.Equal(p, q) {
		return true, nil
	}
	const chunk = 1 << 16 // values at a time
	v, w := make([]float32, chunk), make([]float32, chunk)
	for left := a.NumElements(); left > 0; left -= chunk {
		n := min(chunk, left)
		if err := DecodeFloat32(v[:n], p[:n*a.Dtype.Size()], a.Dtype); err != nil {
			return false, fmt.Errorf("%s: %w", xName, err)
		}
		if err := DecodeFloat32(w[:n], q[:n*b.Dtype.Size()], b.Dtype); err != nil {
			return false, fmt.Errorf("%s: %w", yName, err)
		}
		if !slices.EqualFunc(v[:n], w[:n], sameValue) {
			return false, nil
		}
		p, q = p[n*a.Dtype.Size():], q[n*b.Dtype.Size():]
	}
	return true, nil
}

// narrow reports whether a float32 holds every value of a format.
func narrow(d Dtype) bool { return d == F32 || d == F16 || d == BF16 }

func sameValue(x, y float32) bool { return x == y || math.Float32bits(x) == math.Float32bits(y) }
