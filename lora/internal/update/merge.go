package update

import (
	"math"

	"github.com/impulse-salamandra/finetune/internal/safetensors"
)

// A Tally counts what the merge of some rows did.
type Tally struct {
	Squares   float64 // sum of the squared updates
	Updates   int     // updates that are not zero
	Changed   int     // stored values that differ from those of the base
	NotFinite int     // stored values that are infinities or NaN
}

// Add adds the counts of other rows.
func (t *Tally) Add(o Tally) {
	t.Squares += o.Squares
	t.Updates += o.Updates
	t.Changed += o.Changed
	t.NotFinite += o.NotFinite
}

// A Merger adds an update to a weight, row by row. It serves one goroutine.
type Merger struct {
	*Update
	from, to safetensors.Dtype
	updates  *evaluator

	update, base, merged []float32 // a row each
	rounded              []byte    // the base in the format to be stored
}

// Merger returns one that reads rows of the format from and writes those of to,
// both F32, BF16 or F16.
func (u *Update) Merger(from, to safetensors.Dtype) *Merger {
	return &Merger{
		Update: u, from: from, to: to, updates: u.evaluator(),
		update: make([]float32, u.In), base: make([]float32, u.In), merged: make([]float32, u.In),
		rounded: make([]byte, u.In*to.Size()),
	}
}

// Merge computes row i of the merged weight from src, the row of the base, into
// dst, and adds to the tally.
func (m *Merger) Merge(t *Tally, i int, dst, src []byte) error {
	m.updates.compute(i, m.update)
	if m.magnitude == nil && m.from == safetensors.BF16 && m.to == safetensors.BF16 {
		t.Add(shiftBF16(dst, src, m.update))
		return nil
	}
	if err := safetensors.DecodeFloat32(m.base, src, m.from); err != nil {
		return err
	}
	if m.magnitude == nil {
		m.shift(t)
	} else {
		m.shift(new(Tally))
		m.rescale(t, m.magnitude[i])
	}
	if err := roundTo(m.to, m.merged, dst); err != nil {
		return err
	}
	if m.from != m.to {
		if err := roundTo(m.to, m.base, m.rounded); err != nil {
			return err
		}
	}
	for j, v := range m.merged {
		if v != m.base[j] {
			t.Changed++
		}
		if notFinite(v) {
			t.NotFinite++
		}
	}
	return nil
}

// lanes is how many sums go side by side where a processor adds that many
// float32 at a time.
const lanes = 8

// shift sets merged to base plus update.
func (m *Merger) shift(t *Tally) {
	var squares [lanes]float64
	for j, w := range m.base {
		update := m.update[j]
		m.merged[j] = w + update
		squares[j%lanes] += float64(float64(update) * float64(update))
		if update != 0 {
			t.Updates++
		}
	}
	for _, sum := range squares {
		t.Squares += sum
	}
}

// rescale gives the merged row the length that DoRA trained. The update is then
// the whole difference from the base.
func (m *Merger) rescale(t *Tally, magnitude float32) {
	factor := magnitude / rowNorm(m.merged)
	for j, w := range m.base {
		m.merged[j] = float32(factor * m.merged[j])
		update := float64(m.merged[j]) - float64(w)
		t.Squares += float64(update * update)
		if update != 0 {
			t.Updates++
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

// rowNorm returns the Euclidean norm of a row as PyTorch computes it on a CPU: in
// float32, eight sums side by side that are then added in order, and what is
// left of the row one by one. For widths that are not multiples of four, builds
// of PyTorch differ among themselves in the last bit.
func rowNorm(row []float32) float32 {
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

// Convert stores the elements of src, of the format from, in dst as to. It works
// in values, which has room for all of them, and adds to the tally.
func Convert(t *Tally, dst, src []byte, from, to safetensors.Dtype, values []float32) error {
	if err := safetensors.DecodeFloat32(values, src, from); err != nil {
		return err
	}
	if err := roundTo(to, values, dst); err != nil {
		return err
	}
	for _, v := range values {
		if notFinite(v) {
			t.NotFinite++
		}
	}
	return nil
}

// notFinite reports whether v is an infinity or a NaN.
func notFinite(v float32) bool { return math.IsInf(float64(v), 0) || v != v }
