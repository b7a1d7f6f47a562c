package lora

import (
	"encoding/binary"
	"math"

	"github.com/impulse-salamandra/finetune/salamandra/safetensors"
)

// The arithmetic of a merge is that of PEFT's merge_and_unload on a CPU with
// float32 adapters, bit for bit and on every machine:
//
//	sum    = fma(B[i,r], A[r,j], sum)  for r = 0..R-1, in float32
//	update = sum * scale               in float32
//	merged = W[i,j] + update           in float32, then rounded to the stored format
//
// A fused multiply-add rounds once. Where the processor has it for vectors
// (amd64 with AVX2, arm64), fmaColumns uses it. Elsewhere, and in tests to
// compare, it is computed in float64, where the product of two float32 values
// is exact and only the addition rounds, to 53 bits. Rounding that again to the
// 24 bits of a float32 gives the same as one rounding, except where the 53 bits
// lie exactly between two float32 values: then the lost rest decides, and fma32
// recovers it.
//
// Up to R = 256 PEFT sums in this order; beyond, its matrix library splits the
// sum and last bits differ.

// Bits of a float64 that a normal float32 lacks, and the middle between two.
const (
	lowBits = 1<<29 - 1
	middle  = 1 << 28
)

// fma32 returns x*y + z, rounded once to float32.
func fma32(x, y, z float32) float32 {
	product, c := float64(x)*float64(y), float64(z)
	sum := product + c
	// The rounding error of the sum is a float64 (Knuth 1997, vol. 2, 4.2.2,
	// theorem B). Where there is one, the last bit is made 1 towards it: "round
	// to odd", after which a second rounding is harmless (Boldo and Melquiond
	// 2008, doi:10.1109/TC.2007.70819).
	v := sum - product
	rest := (product - (sum - v)) + (c - v)
	u := math.Float64bits(sum)
	if u&1 == 0 && (rest > 0 || rest < 0) { // neither of them if sum is infinite
		if (rest > 0) == (sum > 0) {
			u++
		} else {
			u--
		}
	}
	return float32(math.Float64frombits(u))
}

// addScaled adds b*a[j] to sum[j], each rounded once. The caller knows that no
// sum is a subnormal float32.
func addScaled(sum, a []float32, b float32) {
	a = a[:len(sum)]
	for j, x := range a {
		s := float64(b)*float64(x) + float64(sum[j])
		if math.Float64bits(s)&lowBits == middle {
			sum[j] = fma32(b, x, sum[j])
			continue
		}
		sum[j] = float32(s)
	}
}

// A product evaluates scale*B*A row by row.
type product struct {
	Module
	scale float32
	plain bool // no sum can be subnormal
}

func newProduct(m Module, scale float64) *product {
	// Sums are multiples of the smallest product's last bit.
	return &product{m, float32(scale), smallest(m.A)+smallest(m.B)-2*23 >= -126}
}

// smallest returns the smallest binary exponent of the values that are not
// zero, 0 if all are.
func smallest(values []float32) int {
	low, first := 0, true
	for _, v := range values {
		if v == 0 {
			continue
		}
		if e := math.Ilogb(float64(v)); first || e < low {
			low, first = e, false
		}
	}
	return low
}

// row computes row i, [In].
func (p *product) row(i int, dst []float32) {
	n := 0
	if hasFMA() {
		if n = len(dst) / fmaStep * fmaStep; n > 0 {
			fmaColumns(&dst[0], &p.A[0], &p.B[i*p.Rank], p.Rank, p.In, n, p.scale)
		}
	}
	p.columns(i, n, dst[n:])
}

// columns computes row i from column first on, on any processor.
func (p *product) columns(i, first int, dst []float32) {
	clear(dst)
	for r, b := range p.B[i*p.Rank : (i+1)*p.Rank] {
		a := p.A[r*p.In+first:][:len(dst)]
		if p.plain {
			addScaled(dst, a, b)
			continue
		}
		for j, x := range a {
			dst[j] = fma32(b, x, dst[j])
		}
	}
	for j, v := range dst {
		dst[j] = v * p.scale
	}
}

// A tally counts what the merge of some rows did.
type tally struct {
	squares   float64 // sum of the squared updates
	updates   int     // updates that are not zero
	changed   int     // stored values that differ from the base alone
	notFinite int     // stored values that are infinities or NaN
}

func (t *tally) add(o tally) {
	t.squares += o.squares
	t.updates += o.updates
	t.changed += o.changed
	t.notFinite += o.notFinite
}

// rows merges one row of a weight after another.
type rows struct {
	updates   *updateRow
	magnitude []float32 // [Out] with DoRA, otherwise nil
	from, to  safetensors.Dtype

	update, base, merged []float32
	rounded              []byte // the base in the format to be stored
}

func newRows(u *updater, magnitude []float32, from, to safetensors.Dtype) *rows {
	return &rows{
		updates: u.newRow(), magnitude: magnitude, from: from, to: to,
		update: make([]float32, u.in), base: make([]float32, u.in), merged: make([]float32, u.in),
		rounded: make([]byte, u.in*to.Size()),
	}
}

// merge computes row i of the merged weight from src, the row of the base, into
// dst, and adds to the tally.
func (s *rows) merge(t *tally, i int, dst, src []byte) error {
	s.updates.compute(i, s.update)
	if s.magnitude == nil && s.from == safetensors.BF16 && s.to == safetensors.BF16 {
		t.add(shiftBrain(dst, src, s.update))
		return nil
	}
	if err := safetensors.DecodeFloat32(s.base, src, s.from); err != nil {
		return err
	}
	if s.magnitude == nil {
		s.shift(t)
	} else {
		s.shift(new(tally))
		s.rescale(t, s.magnitude[i])
	}
	if err := roundTo(s.to, s.merged, dst); err != nil {
		return err
	}
	if s.from != s.to {
		if err := roundTo(s.to, s.base, s.rounded); err != nil {
			return err
		}
	}
	for j, v := range s.merged {
		if v != s.base[j] {
			t.changed++
		}
		if notFinite(v) {
			t.notFinite++
		}
	}
	return nil
}

// lanes is how many sums go side by side where a processor adds that many
// float32 at a time.
const lanes = 8

// shift sets merged to base plus update.
func (s *rows) shift(t *tally) {
	var squares [lanes]float64
	for j, w := range s.base {
		update := s.update[j]
		s.merged[j] = w + update
		squares[j%lanes] += float64(float64(update) * float64(update))
		if update != 0 {
			t.updates++
		}
	}
	for _, sum := range squares {
		t.squares += sum
	}
}

// brainInf is the exponent of infinities and NaN in bfloat16.
const brainInf = 0x7f80

// shiftBrain sets dst to src plus update, both bfloat16, in one go. Fewer than
// 2^31 elements.
func shiftBrain(dst, src []byte, update []float32) tally {
	var squares [lanes]float64
	var counts brainCounts
	whole := 0
	if hasBrainBlocks() {
		if whole = len(update) / lanes * lanes; whole > 0 {
			shiftBrainBlocks(&dst[0], &src[0], &update[0], whole, &squares, &counts)
		}
	}
	shiftBrainEach(dst[2*whole:], src[2*whole:], update[whole:], &squares, &counts)
	t := tally{updates: int(counts.updates), changed: int(counts.changed), notFinite: int(counts.notFinite)}
	for _, sum := range squares {
		t.squares += sum
	}
	return t
}

// brainCounts are the counts of a tally, in the order of shiftBrainBlocks.
type brainCounts struct{ updates, changed, notFinite, _ int64 }

// shiftBrainEach is shiftBrain on any processor; it adds to squares and counts.
func shiftBrainEach(dst, src []byte, update []float32, squares *[lanes]float64, counts *brainCounts) {
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
		if after&brainInf == brainInf {
			counts.notFinite++
		}
	}
}

// rescale gives the merged row the length that DoRA trained. The update is then
// the whole difference from the base.
func (s *rows) rescale(t *tally, magnitude float32) {
	factor := magnitude / norm(s.merged)
	for j, w := range s.base {
		s.merged[j] = float32(factor * s.merged[j])
		update := float64(s.merged[j]) - float64(w)
		t.squares += float64(update * update)
		if update != 0 {
			t.updates++
		}
	}
}

// roundTo stores values in dst and gives them the values stored.
func roundTo(to safetensors.Dtype, values []float32, dst []byte) error {
	if err := safetensors.EncodeFloat32(dst, values, to); err != nil {
		return err
	}
	return safetensors.DecodeFloat32(values, dst, to)
}

// norm returns the Euclidean norm of a row as PyTorch computes it on a CPU: in
// float32, eight sums side by side that are then added in order, and what is
// left of the row one by one. For widths that are not multiples of four, builds
// of PyTorch differ among themselves in the last bit.
func norm(row []float32) float32 {
	var sums [lanes]float32
	whole := len(row) / lanes * lanes
	for j := 0; j < whole; j += lanes {
		for k, v := range row[j : j+lanes] {
			sums[k] += float32(v * v)
		}
	}
	total := sums[0]
	for _, s := range sums[1:] {
		total += s
	}
	for _, v := range row[whole:] {
		total += float32(v * v)
	}
	return float32(math.Sqrt(float64(total)))
}
