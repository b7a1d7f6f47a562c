package quantize

import "math"

// blockSize is how many consecutive weights share a scale.
const blockSize = 64

// nf4Values are the quantiles of a normal distribution that codes stand for.
// Source: Dettmers et al. 2023, arXiv:2305.14314, appendix E.
var nf4Values = [16]float32{
	-1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
	-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0,
	0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
	0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1,
}

// nf4Midpoints are what separates the values.
var nf4Midpoints = func() (m [15]float32) {
	for i := range m {
		m[i] = (nf4Values[i] + nf4Values[i+1]) / 2
	}
	return m
}()

// NF4 is a weight in 4 bits.
type NF4 struct {
	Codes  []byte    // one per weight, 0 to 15
	Absmax []float32 // one per block, the last of which may be short
}

// ToNF4 quantises a weight, of finite numbers. Its scales are those that double quantisation leaves.
// Zeros stay zeros: on CUDA bitsandbytes gives those of a block of nothing else code
// 0, which stands for the scale's negative, but not elsewhere.
func ToNF4(weight []float32) NF4 {
	q := NF4{make([]byte, len(weight)), make([]float32, blocks(len(weight), blockSize))}
	inParallel(len(q.Absmax), func(b int) {
		part := block(weight, b, blockSize)
		q.Absmax[b] = absmax(part)
		codes := block(q.Codes, b, blockSize)
		inverse := 1 / max(q.Absmax[b], 1e-38)
		for i, x := range part {
			codes[i] = nf4Code(x * inverse)
		}
	})
	q.Absmax = nest(q.Absmax).values()
	return q
}

// nf4Code returns the code of the value nearest to x, the lower one of two, for x
// between -1 and 1. A table of where to begin leaves one comparison or two.
func nf4Code(x float32) byte {
	code := nf4Starts[int((x+1)*nf4Bins)]
	for code < 15 && x > nf4Midpoints[code] {
		code++
	}
	return code
}

// nf4Starts are codes not above those of numbers from -1 in steps of 1/nf4Bins.
var nf4Starts = func() (starts [2*nf4Bins + 2]byte) {
	for i := range starts {
		below := (float32(i)-0.5)/nf4Bins - 1
		for starts[i] < 15 && nf4Midpoints[starts[i]] < below {
			starts[i]++
		}
	}
	return starts
}()

const nf4Bins = 32

// Values returns the weight in float32.
func (q NF4) Values() []float32 {
	values := make([]float32, len(q.Codes))
	inParallel(len(q.Absmax), func(b int) {
		to, scale := block(values, b, blockSize), q.Absmax[b]
		for i, code := range block(q.Codes, b, blockSize) {
			to[i] = nf4Values[code] * scale
		}
	})
	return values
}

// rows packs the codes of a matrix with rows of width in two to a byte: those of the
// upper half of the rows are the high bits, those of the lower half the low ones. With
// an odd number of rows the last one has no partner.
//
// Dequantised, both halves are whole rows, so that XLA writes them without moving
// single elements: two to four times faster on a CPU than neighbours in a byte.
func (q NF4) rows(in int) []byte {
	half := blocks(len(q.Codes)/in, 2) * in
	packed := make([]byte, half)
	for i := range packed {
		packed[i] = q.Codes[i] << 4
	}
	for i, low := range q.Codes[half:] {
		packed[i] |= low
	}
	return packed
}

// absmax returns the largest magnitude.
func absmax(values []float32) float32 {
	var most float32
	for _, x := range values {
		most = max(most, float32(math.Abs(float64(x))))
	}
	return most
}
