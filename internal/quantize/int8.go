package quantize

import "math"

// Int8 is a weight in 8 bits.
type Int8 struct {
	Codes  []int8    // one per weight, -127 to 127
	Absmax []float32 // the largest magnitude of each row
}

// int8Unit is what a scale and a code are multiplied with, 1/127 in float32.
const int8Unit float32 = 1. / 127

// ToInt8 quantises a weight with rows of width in.
func ToInt8(weight []float32, in int) Int8 {
	q := Int8{make([]int8, len(weight)), make([]float32, len(weight)/in)}
	inParallel(len(q.Absmax), func(row int) {
		part := block(weight, row, in)
		q.Absmax[row] = absmax(part)
		if q.Absmax[row] == 0 {
			return
		}
		inverse, codes := 127*(1/q.Absmax[row]), block(q.Codes, row, in) // rounded twice, as PyTorch does
		for i, x := range part {
			codes[i] = int8(math.RoundToEven(float64(x * inverse)))
		}
	})
	return q
}

// Values returns the weight in float32.
func (q Int8) Values() []float32 {
	values, in := make([]float32, len(q.Codes)), len(q.Codes)/len(q.Absmax)
	inParallel(len(q.Absmax), func(row int) {
		to := block(values, row, in)
		for i, code := range block(q.Codes, row, in) {
			to[i] = float32(code) * q.Absmax[row] * int8Unit
		}
	})
	return values
}

// scales are what the products with the codes of each row are multiplied with.
func (q Int8) scales() []float32 {
	scales := make([]float32, len(q.Absmax))
	for i, x := range q.Absmax {
		scales[i] = x * int8Unit
	}
	return scales
}
