package update

import (
	"encoding/binary"
	"math"
)

// bf16Inf is the exponent of infinities and NaN in bfloat16.
const bf16Inf = 0x7f80

// shiftBF16 sets dst to src plus update, both bfloat16, in one go. Fewer than
// 2^31 elements.
func shiftBF16(dst, src []byte, update []float32) Tally {
	var squares [lanes]float64
	var counts bf16Counts
	whole := 0
	if hasBF16Blocks() {
		if whole = len(update) / lanes * lanes; whole > 0 {
			shiftBF16Blocks(&dst[0], &src[0], &update[0], whole, &squares, &counts)
		}
	}
	shiftBF16Each(dst[2*whole:], src[2*whole:], update[whole:], &squares, &counts)
	t := Tally{Updates: int(counts.updates), Changed: int(counts.changed), NotFinite: int(counts.notFinite)}
	for _, sum := range squares {
		t.Squares += sum
	}
	return t
}

// bf16Counts are the counts of a tally, in the order of shiftBF16Blocks.
type bf16Counts struct{ updates, changed, notFinite, _ int64 }

// shiftBF16Each is shiftBF16 on any processor; it adds to squares and counts.
func shiftBF16Each(dst, src []byte, update []float32, squares *[lanes]float64, counts *bf16Counts) {
	dst, src = dst[:2*len(update)], src[:2*len(update)]
	for j, u := range update {
		before := binary.LittleEndian.Uint16(src[2*j:])
		v := math.Float32frombits(uint32(before)<<16) + u
		bits := math.Float32bits(v)
		after := uint16((bits + 0x7fff + bits>>16&1) >> 16)
		binary.LittleEndian.PutUint16(dst[2*j:], after)
		squares[j%lanes] += float64(float64(u) * float64(u))
		if u != 0 {
			counts.updates++
		}
		if after != before && (after|before)<<1 != 0 { // 0 and -0 are equal
			counts.changed++
		}
		if after&bf16Inf == bf16Inf {
			counts.notFinite++
		}
	}
}
