package dataset

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// lengthMultiple and targetMultiple round shapes up, so that small changes of
// the data compile to the same shapes and matrix units are filled.
const (
	lengthMultiple = 8
	targetMultiple = 16
	// longPrefix is from where on the prefix is of such a length too. A batch then
	// has a number of tokens for which the products of a GPU need no padding;
	// rows take over what is cut off.
	longPrefix = 128
)

// PlanOptions are the choices of [NewPlan].
type PlanOptions struct {
	// BatchSize is the most examples in a batch, 1 or more.
	BatchSize int `json:"batch_size"`
	// MaxShapes is the most tensor shapes, 1 or more. Each is compiled once;
	// more of them mean less padding.
	MaxShapes int `json:"max_shapes"`
	// ShapeTokens is what another shape costs, in tokens computed in each epoch:
	// there are fewer shapes where another would save less. 0 counts padding alone.
	ShapeTokens int `json:"shape_tokens,omitempty"`
	// Shuffle orders each epoch by its seed and batches examples of similar
	// length together. Without it batches are consecutive examples.
	Shuffle bool `json:"shuffle"`
	// SharedPrefix splits off the tokens that all examples begin with.
	SharedPrefix bool `json:"shared_prefix"`
	// LossAll makes every token after the first a target instead of the trained
	// ones only. Those of a shared prefix are computed once and count for each
	// row.
	LossAll bool `json:"loss_all"`
	// PadID fills the rest of rows. It is never attended to nor trained, any id
	// of the vocabulary will do.
	PadID int32 `json:"pad_id"`
}

// DefaultPlanOptions returns batches of 4, at most 4 shapes, shuffled, with a
// shared prefix, padded with Salamandra's <pad>, 3.
func DefaultPlanOptions() PlanOptions {
	return PlanOptions{BatchSize: 4, MaxShapes: 4, Shuffle: true, SharedPrefix: true, PadID: 3}
}

// Shape is one shape of batches: B rows of S suffix tokens with room for N
// targets. Batches is how many of them an epoch has.
type Shape struct {
	B, S, N int
	Batches int
}

// Plan is the division of examples into batches. Its exported fields describe
// an epoch, any epoch: they do not depend on its seed.
type Plan struct {
	// Prefix is the tokens that all examples begin with, P = len(Prefix). It
	// leaves a token or more of each example, and ends before the predecessor of
	// the first target, so that every target is predicted within a suffix,
	// unless all tokens are targets. From 128 tokens on it is a multiple of 8, and
	// up to 7 of them are left to the examples.
	Prefix []int32
	// Shapes rise in S.
	Shapes []Shape
	// Batches is the number of batches.
	Batches int
	// Tokens counts the tokens that are computed, the prefix once per batch.
	Tokens int
	// Slots counts what is computed, padding included: P + B*S per batch.
	Slots int
	// SequenceTokens counts the tokens of all examples, each with its prefix:
	// the work if nothing was shared nor padded.
	SequenceTokens int

	examples []Example
	opts     PlanOptions
	other    *Plan // of the same shapes, for the examples to evaluate on
	others   bool  // this is such a plan, where the order does not matter
	most     int   // examples of the larger of both
}

// NewPlan lays out batches of examples to train on and, if any, of others to
// evaluate on, in batches of the same shapes with the same prefix; without others
// their plan is nil. Examples are kept and must not be changed. It fails if an
// option is out of range or there are no examples, and with [Faults] that name
// each example whose mask does not fit: not as long as its ids, nothing trained,
// or the first token trained, which nothing predicts.
func NewPlan(examples, others []Example, opts PlanOptions) (plan, other *Plan, err error) {
	if opts.BatchSize < 1 || opts.MaxShapes < 1 || opts.ShapeTokens < 0 {
		return nil, nil, fmt.Errorf("batch size %d and at most %d shapes that cost %d tokens, want 1, 1 and 0 or more", opts.BatchSize, opts.MaxShapes, opts.ShapeTokens)
	}
	if len(examples) == 0 {
		return nil, nil, errors.New("no examples to plan batches of")
	}
	plan = &Plan{examples: examples, opts: opts}
	if len(others) > 0 {
		other = &Plan{examples: others, opts: opts, others: true}
	}
	plan.other = other
	var faults Faults
	for _, p := range plan.both() {
		for i, e := range p.examples {
			if err := p.check(e); err != nil {
				faults = append(faults, Fault{Record: cmp.Or(e.ID, fmt.Sprintf("#%d", i+1)), Err: err})
			}
		}
	}
	if err := faults.err(); err != nil {
		return nil, nil, err
	}
	plan.layOut()
	return plan, other, nil
}

// both are the plan and, if any, that of the others.
func (p *Plan) both() []*Plan {
	if p.other == nil {
		return []*Plan{p}
	}
	return []*Plan{p, p.other}
}

// WithBatchSize returns the plans of the same examples with at most n, 1 or
// more, in a batch.
func (p *Plan) WithBatchSize(n int) (plan, other *Plan) {
	plan = &Plan{examples: p.examples, opts: p.opts}
	plan.opts.BatchSize = max(1, n)
	if p.other != nil {
		plan.other = &Plan{examples: p.other.examples, opts: plan.opts, others: true}
	}
	plan.layOut()
	return plan, plan.other
}

func (p *Plan) check(e Example) error {
	switch {
	case len(e.Train) != len(e.IDs):
		return fmt.Errorf("the mask of trained tokens has %d entries for %d tokens", len(e.Train), len(e.IDs))
	case len(p.targets(e)) == 0:
		return fmt.Errorf("nothing to learn in %d tokens", len(e.IDs))
	case e.Train[0]:
		return errors.New("the first token is trained, but nothing predicts it")
	}
	return nil
}

// targets returns the places of the tokens to predict.
func (p *Plan) targets(e Example) []int {
	var at []int
	for t := 1; t < len(e.IDs); t++ {
		if e.Train[t] || p.opts.LossAll {
			at = append(at, t)
		}
	}
	return at
}

// prefixTargets counts the targets that all rows of a batch share: those in the
// prefix.
func (p *Plan) prefixTargets() int {
	if !p.opts.LossAll {
		return 0
	}
	return max(0, len(p.Prefix)-1)
}

// ownTargets counts those of an example that it does not share.
func (p *Plan) ownTargets(e Example) int { return len(p.targets(e)) - p.prefixTargets() }

// sharedPrefix returns the longest prefix that all examples of both plans begin
// with and that ends where Plan.Prefix says, cut to lengthMultiple if it is long.
func (p *Plan) sharedPrefix() []int32 {
	if !p.opts.SharedPrefix {
		return nil
	}
	prefix := p.examples[0].IDs
	for _, q := range p.both() {
		for _, e := range q.examples {
			most := len(e.IDs) - 1
			if !p.opts.LossAll {
				most = slices.Index(e.Train, true) - 1
			}
			n := min(len(prefix), most)
			i := 0
			for i < n && prefix[i] == e.IDs[i] {
				i++
			}
			prefix = prefix[:i:i]
		}
	}
	if n := len(prefix); n >= longPrefix {
		prefix = prefix[:n/lengthMultiple*lengthMultiple]
	}
	return prefix
}

// suffix returns the number of tokens of an example after the prefix.
func (p *Plan) suffix(e Example) int { return len(e.IDs) - len(p.Prefix) }

// layOut chooses the shapes, for both plans together, and sums up an epoch of
// each.
func (p *Plan) layOut() {
	both := p.both()
	prefix := p.sharedPrefix()
	for _, q := range both {
		p.most = max(p.most, len(q.examples))
	}
	var all []unit
	for _, q := range both {
		q.Prefix, q.most = prefix, p.most
		all = append(all, q.units()...)
	}
	cost := func(u unit) int { return p.slots(p.shape(u)) + p.opts.ShapeTokens }
	var shapes []Shape
	for _, u := range chooseBuckets(all, p.opts.MaxShapes, cost) {
		s := p.shape(u)
		for _, q := range both {
			s.N = max(s.N, q.mostTargets(s))
		}
		shapes = append(shapes, s)
	}
	for _, q := range both {
		q.Shapes = slices.Clone(shapes)
		q.sumUp()
	}
}

// sumUp counts what an epoch computes and leaves out the shapes it does not
// need.
func (p *Plan) sumUp() {
	counts := make([]int, len(p.Shapes))
	for _, indices := range p.Epoch(0, 0) {
		counts[p.fits(p.longest(indices))]++
	}
	var used []Shape
	for i, s := range p.Shapes {
		if s.Batches = counts[i]; s.Batches > 0 {
			used = append(used, s)
			p.Batches += s.Batches
			p.Slots += p.slots(s)
		}
	}
	p.Shapes = used
	for _, e := range p.examples {
		p.SequenceTokens += len(e.IDs)
	}
	p.Tokens = p.SequenceTokens + (p.Batches-len(p.examples))*len(p.Prefix)
}

// fits returns the first shape with rows of so many tokens.
func (p *Plan) fits(length int) int {
	return slices.IndexFunc(p.Shapes, func(s Shape) bool { return s.S >= length })
}

// units returns what goes into buckets by length: examples if they are
// shuffled, else batches, since consecutive examples stay together.
func (p *Plan) units() []unit {
	perUnit := p.batchSize()
	if p.opts.Shuffle {
		perUnit = 1
	}
	var units []unit
	for indices := range slices.Chunk(p.consecutive(), perUnit) {
		units = append(units, unit{roundUp(p.longest(indices), lengthMultiple), 1})
	}
	return units
}

// shape returns the batches of a bucket, N left out. Shuffled examples are
// spread evenly over as many batches as they need, so that a bucket of 17 runs
// as 9 + 8 rows and not as 16 + 1 padded to 16 + 16.
func (p *Plan) shape(u unit) Shape {
	if !p.opts.Shuffle {
		return Shape{B: p.batchSize(), S: u.length, Batches: u.count}
	}
	batches := ceilDiv(u.count, p.batchSize())
	return Shape{B: ceilDiv(u.count, batches), S: u.length, Batches: batches}
}

// slots returns the tokens, padding included, of all batches of a shape.
func (p *Plan) slots(s Shape) int { return s.Batches * (len(p.Prefix) + s.B*s.S) }

// mostTargets bounds the targets of any batch that fits the shape.
func (p *Plan) mostTargets(s Shape) int {
	var counts []int
	for _, e := range p.examples {
		if p.suffix(e) <= s.S {
			counts = append(counts, p.ownTargets(e))
		}
	}
	slices.SortFunc(counts, func(a, b int) int { return b - a })
	n := p.prefixTargets()
	for _, c := range counts[:min(s.B, len(counts))] {
		n += c
	}
	return roundUp(n, targetMultiple)
}

// batchSize is the number of rows where nothing is spread: the larger one's
// plan, so that both have the same shapes.
func (p *Plan) batchSize() int { return min(p.opts.BatchSize, p.most) }

func (p *Plan) consecutive() []int {
	indices := make([]int, len(p.examples))
	for i := range indices {
		indices[i] = i
	}
	return indices
}

// longest returns the longest suffix among the examples.
func (p *Plan) longest(indices []int) int {
	n := 0
	for _, i := range indices {
		n = max(n, p.suffix(p.examples[i]))
	}
	return n
}

// padding returns the share of the computed tokens that are padding, from 0 to
// 1: rows are as long as their shape, and the last ones may be empty.
func (p *Plan) padding() float64 { return float64(p.Slots-p.Tokens) / float64(p.Slots) }

// String describes the plan in a few lines: the shapes and what they cost.
func (p *Plan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d examples in %d batches per epoch, shared prefix of %d tokens\n", len(p.examples), p.Batches, len(p.Prefix))
	for _, s := range p.Shapes {
		fmt.Fprintf(&b, "%5d batches of %d x %d tokens, up to %d targets\n", s.Batches, s.B, s.S, s.N)
	}
	fmt.Fprintf(&b, "%d tokens computed, %.1f %% of them padding; one by one the examples have %d\n", p.Slots, 100*p.padding(), p.SequenceTokens)
	return b.String()
}

// Epoch returns the batches of an epoch as indices of examples, every example
// once. Shuffled epochs depend only on seed and epoch; the order of batches is
// independent of their lengths, and those of one shape differ by at most one
// example in size. Without Shuffle, and in a plan of others, both arguments are
// ignored.
func (p *Plan) Epoch(epoch int, seed uint64) [][]int {
	switch {
	case p.others:
		return p.fewestBatches()
	case !p.opts.Shuffle:
		return slices.Collect(slices.Chunk(p.consecutive(), p.batchSize()))
	}
	rng := rand.New(rand.NewPCG(seed, uint64(epoch)))
	buckets := make([][]int, len(p.Shapes))
	for _, i := range rng.Perm(len(p.examples)) {
		s := p.fits(p.suffix(p.examples[i]))
		buckets[s] = append(buckets[s], i)
	}
	var batches [][]int
	for s, bucket := range buckets {
		n := ceilDiv(len(bucket), p.Shapes[s].B)
		for k := range n {
			batches = append(batches, bucket[k*len(bucket)/n:(k+1)*len(bucket)/n])
		}
	}
	rng.Shuffle(len(batches), func(i, j int) { batches[i], batches[j] = batches[j], batches[i] })
	return batches
}

// fewestBatches puts the longest examples together, then the next, so that one
// batch is the only one that is not full.
func (p *Plan) fewestBatches() [][]int {
	left := p.consecutive()
	slices.SortStableFunc(left, func(i, j int) int { return p.suffix(p.examples[j]) - p.suffix(p.examples[i]) })
	var batches [][]int
	for len(left) > 0 {
		n := min(len(left), p.Shapes[p.fits(p.suffix(p.examples[left[0]]))].B)
		batches, left = append(batches, left[:n]), left[n:]
	}
	return batches
}
