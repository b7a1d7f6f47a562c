package lora

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
)

// A MergeMethod says how the updates of several adapters become one. With
// D[k] = scale*B*A the update by adapter k of one weight, and w[k] the
// adapter's weight, the update is
//
//	linear  sum of w[k]*D[k]
//	cat     the same; as an adapter, the ranks of all side by side
//	svd     the matrix of the rank asked for that is nearest to that sum
//	ties    of each D[k] the Density largest entries by magnitude are kept and
//	        multiplied by w[k]; each entry takes the sign of the sum of these,
//	        and is the mean of those that are not zero and have that sign
//	dare    sum of w[k]/Density*D[k], of which each entry is kept with
//	        probability Density
//
// All are defined on updates, never on A or B by themselves, so that an adapter
// means the same whatever factors it is stored as. An adapter without a module
// for a weight adds nothing to it. The order of the adapters does not matter.
// One adapter of weight 1 at density 1 and full rank gives its own update.
//
// PEFT's methods of these names work on A and B, and elect the signs of ties
// before weighting; here a weight counts in the election, so that an adapter
// of negative weight votes against its own signs.
type MergeMethod string

// The methods. Sources: task arithmetic (linear), Ilharco et al. 2022,
// arXiv:2212.04089; best approximation (svd), Eckart and Young 1936,
// doi:10.1007/BF02288367; ties, Yadav et al. 2023, arXiv:2306.01708; dare, Yu
// et al. 2023, arXiv:2311.03099.
const (
	MethodLinear MergeMethod = "linear"
	MethodCat    MergeMethod = "cat"
	MethodSVD    MergeMethod = "svd"
	MethodTIES   MergeMethod = "ties"
	MethodDARE   MergeMethod = "dare"
)

var mergeMethods = []MergeMethod{MethodLinear, MethodCat, MethodSVD, MethodTIES, MethodDARE}

// A WeightedAdapter is one of several adapters and its part in the result.
type WeightedAdapter struct {
	Dir    string  // adapter directory
	Weight float64 // factor of its update, finite, may be negative
}

// A weightedAdapter is one that was read.
type weightedAdapter struct {
	WeightedAdapter
	*Adapter
}

// readAdapters reads every adapter and refuses mixtures of DoRA, whose update
// is not a product of A and B.
func readAdapters(list []WeightedAdapter, method MergeMethod) ([]weightedAdapter, error) {
	var adapters []weightedAdapter
	var faults []error
	for _, w := range list {
		a, err := ReadAdapter(w.Dir)
		if err == nil && a.Config.UseDoRA && (len(list) > 1 || w.Weight != 1 || method != MethodLinear && method != MethodCat) {
			err = fmt.Errorf("lora: %s: %w: a DoRA adapter can only be merged by itself, linear, with weight 1", w.Dir, ErrUnsupported)
		}
		faults = append(faults, err)
		adapters = append(adapters, weightedAdapter{w, a})
	}
	return adapters, errors.Join(faults...)
}

// checkMethod reports settings of a method without meaning.
func checkMethod(fault func(format string, args ...any), adapters []WeightedAdapter, method MergeMethod, rank int) {
	if !slices.Contains(mergeMethods, method) {
		fault("Method %q, want one of %q", method, mergeMethods)
	}
	if method == MethodSVD && rank < 1 || method != MethodSVD && rank != 0 {
		fault("Rank %d with method %s, want 1 or more for svd and 0 for others", rank, method)
	}
	for _, a := range adapters {
		if math.IsNaN(a.Weight) || math.IsInf(a.Weight, 0) {
			fault("weight %v of %s, want a finite number", a.Weight, a.Dir)
		}
	}
}

// A part is the update of one adapter to one weight.
type part struct {
	Module
	scale, weight float64
}

// collect returns the parts of every weight, by tensor name.
func collect(adapters []weightedAdapter) map[string][]part {
	parts := map[string][]part{}
	for _, a := range adapters {
		for _, m := range a.Modules {
			name := m.Name + ".weight"
			parts[name] = append(parts[name], part{m, a.Config.ScaleOf(m.Name), a.Weight})
		}
	}
	for _, p := range parts {
		arrange(p)
	}
	return parts
}

// arrange sorts parts by what they hold, so that sums are rounded alike in
// whatever order the adapters came.
func arrange(parts []part) {
	slices.SortFunc(parts, func(a, b part) int {
		return cmp.Or(cmp.Compare(a.weight, b.weight), cmp.Compare(a.scale, b.scale), slices.Compare(a.A, b.A), slices.Compare(a.B, b.B))
	})
}

// isZero tells whether the part leaves its weight as it is.
func (p part) isZero() bool { return p.weight == 0 || p.Module.isZero() }

// maskKey identifies the random choices of dare for this part: they depend on
// the seed, the tensor and the adapter, and not on the other adapters.
func (p part) maskKey(seed uint64) [sha256.Size]byte {
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
