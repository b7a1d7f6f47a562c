package lora

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
)

// An AverageMethod says what of several adapters is averaged.
type AverageMethod string

const (
	// AverageDelta takes the mean of the updates scale*B*A, which is what the
	// mean of the models is.
	AverageDelta AverageMethod = "delta"
	// AverageFactors takes the mean of each tensor, as scripts do that average
	// adapter files. The product of the means is not the mean of the products:
	// the two differ by the covariance of A and B over the adapters.
	AverageFactors AverageMethod = "factors"
)

// AverageOptions says which adapters are averaged, and how.
type AverageOptions struct {
	Dirs   []string      // adapter directories, at least one
	Method AverageMethod // AverageDelta if empty
	// Rank, with AverageDelta, is the highest rank of the result, which is then
	// the nearest to the mean of that rank; 0 for the sum of all ranks, which
	// holds the mean exactly.
	Rank int
}

// AverageReport tells how far averages are from the mean of the updates, in the
// Frobenius norm over all modules. DoRA's magnitudes are left aside.
type AverageReport struct {
	// Norm is that of the mean of the updates.
	Norm float64
	// Factors is the distance of the mean of the factors, as a share of Norm; not
	// a number if the factors do not fit together.
	Factors float64
	// Result is the distance of the result as a share of Norm, 0 but for
	// rounding where the result holds the mean.
	Result float64
}

// Average returns the mean of several adapters of equal weight, such as the
// last checkpoints of a run. See [AverageMethod] for what the mean is of.
//
// It fails with [ErrOption], as [ReadAdapter] and [Combine] do, and with
// AverageFactors with [ErrShape] if modules, ranks or scales differ, naming all.
func Average(ctx context.Context, opts AverageOptions) (*Adapter, AverageReport, error) {
	var report AverageReport
	if opts.Method == "" {
		opts.Method = AverageDelta
	}
	if err := opts.check(); err != nil {
		return nil, report, err
	}
	weight := 1 / float64(len(opts.Dirs))
	list := make([]WeightedAdapter, len(opts.Dirs))
	adapters := make([]weightedAdapter, len(opts.Dirs))
	var faults []error
	for i, dir := range opts.Dirs {
		a, err := ReadAdapter(dir)
		list[i], faults = WeightedAdapter{dir, weight}, append(faults, err)
		adapters[i] = weightedAdapter{list[i], a}
	}
	if err := errors.Join(faults...); err != nil {
		return nil, report, err
	}
	factors, unfit := averageFactors(adapters)
	result := factors
	if opts.Method == AverageFactors && unfit != nil {
		return nil, report, unfit
	}
	if opts.Method == AverageDelta {
		combine := CombineOptions{Adapters: list, Method: MethodCat, Rank: opts.Rank}
		if opts.Rank > 0 {
			combine.Method = MethodSVD
		}
		var err error
		if result, err = Combine(ctx, combine); err != nil {
			return nil, report, err
		}
	}
	report, err := averageReport(ctx, adapters, factors, result, opts)
	return result, report, err
}

func (opts AverageOptions) check() error {
	var faults []error
	option := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("lora: average: %w: %s", ErrOption, fmt.Sprintf(format, args...)))
	}
	if len(opts.Dirs) == 0 {
		option("want at least one adapter")
	}
	if opts.Method != AverageDelta && opts.Method != AverageFactors {
		option("Method %q, want %q or %q", opts.Method, AverageDelta, AverageFactors)
	}
	if opts.Rank < 0 || opts.Rank > 0 && opts.Method == AverageFactors {
		option("Rank %d with method %s, want 0 or, with delta, more", opts.Rank, opts.Method)
	}
	return errors.Join(faults...)
}

// averageFactors returns the mean of each tensor, with the settings of the
// first adapter.
func averageFactors(adapters []weightedAdapter) (*Adapter, error) {
	first := adapters[0]
	var faults []error
	fault := func(dir, format string, args ...any) {
		faults = append(faults, fmt.Errorf("lora: average: %s: %w: %s, unlike %s", dir, ErrShape, fmt.Sprintf(format, args...), first.Dir))
	}
	mean := &Adapter{Config: first.Config}
	for _, m := range first.Modules {
		mean.Modules = append(mean.Modules, Module{Name: m.Name, In: m.In, Out: m.Out, Rank: m.Rank})
	}
	for _, a := range adapters {
		if a.Config.UseDoRA != first.Config.UseDoRA || len(a.Modules) != len(first.Modules) {
			fault(a.Dir, "%d modules, DoRA %v", len(a.Modules), a.Config.UseDoRA)
			continue
		}
		for i, m := range a.Modules { // by name
			want := first.Modules[i]
			if m.Name != want.Name || m.In != want.In || m.Out != want.Out || m.Rank != want.Rank || a.Config.ScaleOf(m.Name) != first.Config.ScaleOf(m.Name) {
				fault(a.Dir, "%s [%d %d] of rank %d and scale %v", m.Name, m.Out, m.In, m.Rank, a.Config.ScaleOf(m.Name))
			}
		}
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	for i := range mean.Modules {
		m := &mean.Modules[i]
		m.A = meanOf(adapters, func(a weightedAdapter) []float32 { return a.Modules[i].A })
		m.B = meanOf(adapters, func(a weightedAdapter) []float32 { return a.Modules[i].B })
		m.Magnitude = meanOf(adapters, func(a weightedAdapter) []float32 { return a.Modules[i].Magnitude })
	}
	return mean, nil
}

// meanOf is the mean of one tensor of each adapter, rounded once; nil of nil.
func meanOf(adapters []weightedAdapter, tensor func(weightedAdapter) []float32) []float32 {
	var mean []float32
	for i := range tensor(adapters[0]) {
		sum := 0.0
		for _, a := range adapters {
			sum += float64(tensor(a)[i])
		}
		mean = append(mean, float32(sum/float64(len(adapters))))
	}
	return mean
}

// averageReport measures the mean of the factors, nil if there is none, and the
// result.
func averageReport(ctx context.Context, adapters []weightedAdapter, factors, result *Adapter, opts AverageOptions) (AverageReport, error) {
	type moduleNorms struct {
		tensor                string
		mean, factors, result float64 // squares
	}
	byTensor := collect(adapters)
	sums := func(of *Adapter, weight float64) map[string][]part {
		return collect([]weightedAdapter{{WeightedAdapter{Weight: weight}, of}})
	}
	ofResult, ofFactors := sums(result, -1), map[string][]part{}
	if factors != nil {
		ofFactors = sums(factors, 1)
	}
	work := func(m *moduleNorms) error {
		parts := byTensor[m.tensor]
		m.mean = squareNorm(parts)
		if factors != nil {
			m.factors = squareNorm(centred(parts, ofFactors[m.tensor][0].Module))
		}
		if opts.Rank > 0 {
			m.result = squareNorm(slices.Concat(parts, ofResult[m.tensor]))
		}
		return nil
	}
	var sum moduleNorms
	use := func(m *moduleNorms) error {
		sum.mean, sum.factors, sum.result = sum.mean+m.mean, sum.factors+m.factors, sum.result+m.result
		return nil
	}
	var items iter.Seq2[*moduleNorms, error] = func(yield func(*moduleNorms, error) bool) {
		for _, tensor := range sortedKeys(byTensor) {
			if !yield(&moduleNorms{tensor: tensor}, nil) {
				return
			}
		}
	}
	if err := inOrder(ctx, items, func() func(*moduleNorms) error { return work }, use); err != nil {
		return AverageReport{}, err
	}
	share := func(square float64) float64 {
		if square == 0 {
			return 0
		}
		return math.Sqrt(square / sum.mean)
	}
	report := AverageReport{Norm: math.Sqrt(sum.mean), Result: share(sum.result), Factors: share(sum.factors)}
	switch {
	case factors == nil:
		report.Factors = math.NaN()
	case opts.Method == AverageFactors:
		report.Result = report.Factors
	}
	return report, nil
}

// centred returns parts less a mean of their factors. Their sum is the sum of
// the parts less the update of that mean: with b and a the distances from the
// means B and A, the mean of (B+b)(A+a) is BA and the mean of ba.
func centred(parts []part, mean Module) []part {
	less := func(x, y []float32) []float32 {
		d := make([]float32, len(x))
		for i := range x {
			d[i] = x[i] - y[i]
		}
		return d
	}
	list := slices.Clone(parts)
	for i := range list {
		list[i].A, list[i].B = less(parts[i].A, mean.A), less(parts[i].B, mean.B)
	}
	return list
}

// squareNorm is the square of the Frobenius norm of the sum of weight*scale*B*A
// over parts, which is never formed: with the sum as L*R^T it is the inner
// product of L^T*L and R^T*R.
func squareNorm(parts []part) float64 {
	width := 0
	for _, p := range parts {
		width += p.Rank
	}
	left, right := make([]float64, width*width), make([]float64, width*width) // upper triangles
	row := make([]float64, width)
	addRow := func(gram []float64) {
		for k, v := range row {
			addTo(gram[k*width+k:(k+1)*width], row[k:], v)
		}
	}
	for i := range parts[0].Out {
		at := 0
		for _, p := range parts {
			for _, v := range p.B[i*p.Rank : (i+1)*p.Rank] {
				row[at] = p.weight * p.scale * float64(v)
				at++
			}
		}
		addRow(left)
	}
	for j := range parts[0].In {
		at := 0
		for _, p := range parts {
			for r := range p.Rank {
				row[at] = float64(p.A[r*p.In+j])
				at++
			}
		}
		addRow(right)
	}
	sum := 0.0
	for k := range width {
		for l := k; l < width; l++ {
			product := left[k*width+l] * right[k*width+l]
			if l > k {
				product *= 2
			}
			sum += product
		}
	}
	return max(0, sum)
}
