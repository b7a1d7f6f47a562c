package lora

import (
	"context"
	"fmt"
	"iter"
	"math"
	"slices"

	"github.com/impulse-salamandra/finetune/internal/faults"
	"github.com/impulse-salamandra/finetune/lora/internal/update"
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

// AverageReport says how far averages are from the mean of the updates, in the
// Frobenius norm over all modules. DoRA's magnitudes are left aside.
type AverageReport struct {
	// Norm is the norm of the mean of the updates.
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
// It fails for options without meaning, as [ReadAdapter] and [Combine] do, and with
// AverageFactors if modules, ranks or scales differ, naming all.
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
	var unread faults.List
	for i, dir := range opts.Dirs {
		a, err := ReadAdapter(dir)
		unread.Join(err)
		list[i] = WeightedAdapter{dir, weight}
		adapters[i] = weightedAdapter{list[i], a}
	}
	if err := unread.Err(); err != nil {
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
	list := faults.List{Subject: "average"}
	option := func(format string, args ...any) { list.Join(faults.Caused(errOption, format, args...)) }
	if len(opts.Dirs) == 0 {
		option("want at least one adapter")
	}
	if opts.Method != AverageDelta && opts.Method != AverageFactors {
		option("Method %q, want %q or %q", opts.Method, AverageDelta, AverageFactors)
	}
	if opts.Rank < 0 || opts.Rank > 0 && opts.Method == AverageFactors {
		option("Rank %d with method %s, want 0 or, with delta, more", opts.Rank, opts.Method)
	}
	return list.Err()
}

// averageFactors returns the mean of each tensor, with the settings of the
// first adapter.
func averageFactors(adapters []weightedAdapter) (*Adapter, error) {
	first := adapters[0]
	list := faults.List{Subject: "average"}
	fault := func(dir, format string, args ...any) {
		list.Addf(dir, "%w: %s, unlike %s", errShape, fmt.Sprintf(format, args...), first.Dir)
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
	if err := list.Err(); err != nil {
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
	sums := func(of *Adapter, weight float64) map[string][]update.Part {
		return collect([]weightedAdapter{{WeightedAdapter{Weight: weight}, of}})
	}
	ofResult, ofFactors := sums(result, -1), map[string][]update.Part{}
	if factors != nil {
		ofFactors = sums(factors, 1)
	}
	work := func(m *moduleNorms) error {
		parts := byTensor[m.tensor]
		m.mean = update.SquareNorm(parts)
		if factors != nil {
			m.factors = update.SquareNorm(update.Centred(parts, ofFactors[m.tensor][0].Factors))
		}
		if opts.Rank > 0 {
			m.result = update.SquareNorm(slices.Concat(parts, ofResult[m.tensor]))
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
