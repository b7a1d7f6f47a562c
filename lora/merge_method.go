package lora

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/impulse-salamandra/finetune/internal/faults"
	"github.com/impulse-salamandra/finetune/lora/internal/update"
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
	var unread faults.List
	for _, w := range list {
		a, err := ReadAdapter(w.Dir)
		if err == nil && a.Config.UseDoRA && (len(list) > 1 || w.Weight != 1 || method != MethodLinear && method != MethodCat) {
			err = fmt.Errorf("%s: %w: a DoRA adapter can only be merged by itself, linear, with weight 1", w.Dir, errUnsupported)
		}
		unread.Join(err)
		adapters = append(adapters, weightedAdapter{w, a})
	}
	return adapters, unread.Err()
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

// collect returns the parts of every weight, by tensor name.
func collect(adapters []weightedAdapter) map[string][]update.Part {
	parts := map[string][]update.Part{}
	for _, a := range adapters {
		for _, m := range a.Modules {
			name := m.Name + ".weight"
			parts[name] = append(parts[name], m.part(a.Config.ScaleOf(m.Name), a.Weight))
		}
	}
	for _, p := range parts {
		update.Sort(p)
	}
	return parts
}

// updateOf returns the update that parts, of which there is at least one, make
// by the method of the options.
func (o MergeOptions) updateOf(ctx context.Context, parts []update.Part) (*update.Update, error) {
	switch o.Method {
	case MethodTIES:
		return update.Elect(ctx, parts, o.Density)
	case MethodDARE:
		return update.Drop(parts, o.Density, o.Seed), nil
	case MethodSVD:
		parts = []update.Part{Module(update.Nearest(parts, o.Rank)).part(1, 1)}
	}
	return update.Sum(parts), nil
}
