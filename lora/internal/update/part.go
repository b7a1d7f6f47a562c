package update

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"math"
	"slices"
)

// Factors are an adapter's tensors for one weight [Out, In].
type Factors struct {
	Name      string // of the module
	In, Out   int
	Rank      int
	A         []float32 // [Rank, In], row-major
	B         []float32 // [Out, Rank], row-major
	Magnitude []float32 // [Out] with DoRA, otherwise nil
}

// A Part is what one adapter adds to a weight: Weight*Scale*B*A.
type Part struct {
	Factors
	Scale, Weight float64
}

// IsZero reports whether the part leaves its weight as it is: B*A or Weight is
// zero, and there is no magnitude.
func (p Part) IsZero() bool { return p.Weight == 0 || p.Factors.IsZero() }

// IsZero reports whether B*A is zero and there is no magnitude.
func (f Factors) IsZero() bool {
	if f.Magnitude != nil {
		return false
	}
	column := make([]bool, f.Rank) // of B, not zero
	for i, v := range f.B {
		column[i%f.Rank] = column[i%f.Rank] || v != 0
	}
	for i, v := range f.A {
		if v != 0 && column[i/f.In] {
			return false
		}
	}
	return true
}

// Sort sorts parts by what they hold, so that sums are rounded alike in
// whatever order the adapters came.
func Sort(parts []Part) {
	slices.SortFunc(parts, func(a, b Part) int {
		return cmp.Or(cmp.Compare(a.Weight, b.Weight), cmp.Compare(a.Scale, b.Scale), slices.Compare(a.A, b.A), slices.Compare(a.B, b.B))
	})
}

// Concatenate returns the factors of the sum of parts, their ranks side by side.
func Concatenate(parts []Part) Factors {
	f := Factors{Name: parts[0].Name, In: parts[0].In, Out: parts[0].Out}
	for _, p := range parts {
		f.Rank += p.Rank
		f.A = append(f.A, p.A...)
	}
	for i := range f.Out {
		for _, p := range parts {
			for _, v := range p.B[i*p.Rank : (i+1)*p.Rank] {
				f.B = append(f.B, float32(p.Weight*p.Scale*float64(v)))
			}
		}
	}
	return f
}

// maskKey identifies the random choices of DARE for this part: they depend on
// the seed, the tensor and the adapter, and not on the other adapters.
func (p Part) maskKey(seed uint64) [sha256.Size]byte {
	h := sha256.New()
	h.Write(binary.LittleEndian.AppendUint64(nil, seed))
	h.Write([]byte(p.Name))
	for _, values := range [][]float32{p.A, p.B} {
		var b []byte
		for _, v := range values {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
		}
		h.Write(b)
	}
	return [sha256.Size]byte(h.Sum(nil))
}
