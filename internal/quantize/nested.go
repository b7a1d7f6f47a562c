package quantize

import (
	"math"
	"slices"
)

// nestedBlock is how many scales share one of the second quantisation.
const nestedBlock = 256

// nested holds scales in 8 bits: a block's absmax is the value of its code times the
// absmax of nestedBlock of them, plus an offset that all have.
type nested struct {
	codes  []byte
	absmax []float32
	offset float32
}

// nest quantises scales. The offset is their mean, rounded once: PyTorch's own sum
// may leave it one unit in the last place away.
func nest(scales []float32) nested {
	n := nested{codes: make([]byte, len(scales)), absmax: make([]float32, blocks(len(scales), nestedBlock))}
	var sum float64
	for _, x := range scales {
		sum += float64(x)
	}
	n.offset = float32(sum / float64(len(scales)))
	centred := make([]float32, len(scales))
	for i, x := range scales {
		centred[i] = x - n.offset
	}
	for b := range n.absmax {
		part, codes := block(centred, b, nestedBlock), block(n.codes, b, nestedBlock)
		n.absmax[b] = absmax(part)
		inverse := 1 / n.absmax[b]
		for i, x := range part {
			codes[i] = dynamicCode(x * inverse)
		}
	}
	return n
}

// values returns the scales.
func (n nested) values() []float32 {
	scales := make([]float32, len(n.codes))
	for b := range n.absmax {
		to := block(scales, b, nestedBlock)
		for i, code := range block(n.codes, b, nestedBlock) {
			to[i] = float32(dynamicValues[code]*n.absmax[b]) + n.offset // the conversion forbids a fused sum
		}
	}
	return scales
}

// dynamicValues are what 8-bit codes stand for: numbers with a sign, a decimal
// exponent of 0 to -6 and the more bits of fraction the larger they are.
// Source: Dettmers 2015, arXiv:1511.04561.
var dynamicValues = func() (values [256]float32) {
	all := []float32{0, 1}
	for exponent := range 7 {
		scale := float32(math.Pow10(exponent - 6))
		ends := linspace(0.1, 1, 1<<exponent+1)
		for i := range 1 << exponent {
			mean := (ends[i] + ends[i+1]) / 2
			all = append(all, scale*mean, -(scale * mean))
		}
	}
	slices.Sort(all)
	copy(values[:], all)
	return values
}()

// linspace returns n numbers at equal distances, with the roundings of
// torch.linspace: a step in float32, and fused sums.
func linspace(from, to float32, n int) []float32 {
	numbers := make([]float32, n)
	step := float64((to - from) / float32(n-1))
	for i := range numbers {
		if i < n/2 {
			numbers[i] = float32(float64(from) + step*float64(i))
		} else {
			numbers[i] = float32(float64(to) - step*float64(n-1-i))
		}
	}
	return numbers
}

// dynamicCode returns the code of a value nearest to x. It halves the codes as
// bitsandbytes does on CUDA, which decides for the one of two equally near values
// that the search saw last.
func dynamicCode(x float32) byte {
	pivot, upper, lower := 127, 255, 0
	for step := 64; step > 0; step /= 2 {
		if x > dynamicValues[pivot] {
			lower = pivot
			pivot += step
		} else {
			upper = pivot
			pivot -= step
		}
	}
	switch at := dynamicValues[pivot]; {
	case x > at && x > (dynamicValues[upper]+at)*0.5:
		return byte(upper)
	case x <= at && x < (dynamicValues[lower]+at)*0.5:
		return byte(lower)
	}
	return byte(pivot)
}
