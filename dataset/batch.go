package dataset

import "fmt"

// Batch is one step's input as plain slices, ready to become tensors. P, B, S
// and N are their sizes: tokens of the shared prefix, rows, suffix tokens per
// row, targets. Rows beyond the examples are empty: Lengths 0, no targets.
type Batch struct {
	// IDs are the examples' ids, at most B.
	IDs        []string
	P, B, S, N int
	// Prefix [P] comes before each row.
	Prefix []int32
	// Suffix [B*S] is row-major and padded on the right with the plan's PadID.
	// Its positions in the sequence start at P.
	Suffix []int32
	// Lengths [B] are the tokens of each row.
	Lengths []int32
	// TargetPositions [N] count the tokens of Prefix and Suffix, from token
	// TargetsFrom on: P, or 0 if the prefix is trained too. The model's output
	// there predicts Labels [N], which counts Weights [N]: the rows that share
	// the target, 0 for filling up. A target with weight 0 has position and
	// label 0.
	TargetPositions, Labels []int32
	Weights                 []float32
	TargetsFrom             int
	// TrainedTokens is the sum of the weights: what a loss summed over the
	// targets is divided by.
	TrainedTokens int
	// Tokens is P and all Lengths; SequenceTokens is the same with P counted
	// for each example.
	Tokens, SequenceTokens int
}

// Batch returns the batch of the examples with these indices, usually an
// element of [Plan.Epoch], in the smallest shape that fits. It fails if there is none, or an
// index is out of range.
func (p *Plan) Batch(indices []int) (Batch, error) {
	targets := 0
	if len(indices) > 0 {
		targets = p.prefixTargets()
	}
	for _, i := range indices {
		if i < 0 || i >= len(p.examples) {
			return Batch{}, fmt.Errorf("no example has index %d: the plan has %d", i, len(p.examples))
		}
		targets += p.ownTargets(p.examples[i])
	}
	length := p.longest(indices)
	for _, s := range p.Shapes {
		if s.S >= length && s.B >= len(indices) && s.N >= targets {
			return p.fill(s, indices), nil
		}
	}
	return Batch{}, fmt.Errorf("no shape of the plan fits %d rows of %d tokens with %d targets", len(indices), length, targets)
}

func (p *Plan) fill(s Shape, indices []int) Batch {
	P := len(p.Prefix)
	b := Batch{
		P: P, B: s.B, S: s.S, N: s.N,
		Prefix:          p.Prefix,
		Suffix:          make([]int32, s.B*s.S),
		Lengths:         make([]int32, s.B),
		TargetPositions: make([]int32, s.N),
		Labels:          make([]int32, s.N),
		Weights:         make([]float32, s.N),
		Tokens:          P,
	}
	for i := range b.Suffix {
		b.Suffix[i] = p.opts.PadID
	}
	if !p.opts.LossAll {
		b.TargetsFrom = P
	}
	n := 0
	target := func(at int, label int32, weight int) {
		b.TargetPositions[n], b.Labels[n], b.Weights[n] = int32(at-b.TargetsFrom), label, float32(weight)
		b.TrainedTokens += weight
		n++
	}
	if len(indices) > 0 {
		for t := 1; t <= p.prefixTargets(); t++ {
			target(t-1, b.Prefix[t], len(indices))
		}
	}
	for row, i := range indices {
		e := p.examples[i]
		b.IDs = append(b.IDs, e.ID)
		length := copy(b.Suffix[row*s.S:], e.IDs[P:])
		b.Lengths[row] = int32(length)
		b.Tokens += length
		b.SequenceTokens += P + length
		for _, t := range p.targets(e) {
			switch {
			case t == P: // the last token of the prefix predicts it
				target(P-1, e.IDs[t], 1)
			case t > P:
				target(row*s.S+t-1, e.IDs[t], 1)
			}
		}
	}
	return b
}
