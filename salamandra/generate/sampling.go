package generate

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/gomlx/gomlx/core/tensors"

	"github.com/impulse-salamandra/finetune/internal/simd"
)

// Sampling says how the next token is chosen from the logits. Its steps and
// their order are those of Transformers' generate: repetition penalty,
// temperature, top-k, top-p, min-p.
type Sampling struct {
	// Temperature divides the logits; 0 takes the likeliest token and ignores
	// TopK, TopP and MinP.
	Temperature float64
	// TopK keeps the K likeliest tokens; 0 keeps all.
	TopK int
	// TopP keeps the likeliest tokens whose probabilities reach P together;
	// 1 keeps all. Source: Holtzman et al. 2019, arXiv:1904.09751.
	TopP float64
	// MinP drops tokens less likely than MinP times the likeliest; 0 keeps all.
	MinP float64
	// RepetitionPenalty makes tokens of the prompt and of the answer so far less
	// likely; 1 changes nothing. Source: Keskar et al. 2019, arXiv:1909.05858.
	RepetitionPenalty float64
	// Seed fixes the draws of sampling.
	Seed uint64
}

// Greedy takes the likeliest token, always.
func Greedy() Sampling { return Sampling{TopP: 1, RepetitionPenalty: 1} }

// Validate reports every setting out of range.
func (s Sampling) Validate() error {
	if faults := s.faults(); len(faults) > 0 {
		return fmt.Errorf("generate: %s", strings.Join(faults, "; "))
	}
	return nil
}

func (s Sampling) faults() []string {
	var faults []string
	check := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Sprintf(format, args...))
		}
	}
	check(s.Temperature >= 0 && !math.IsInf(s.Temperature, 1), "temperature %v, want 0 or more", s.Temperature)
	check(s.TopK >= 0, "top-k %d, want 0 or more", s.TopK)
	check(s.TopP > 0 && s.TopP <= 1, "top-p %v, want above 0 and at most 1", s.TopP)
	check(s.MinP >= 0 && s.MinP < 1, "min-p %v, want at least 0 and below 1", s.MinP)
	check(s.RepetitionPenalty > 0 && !math.IsInf(s.RepetitionPenalty, 1), "repetition penalty %v, want a positive number", s.RepetitionPenalty)
	return faults
}

// candidate is a token that may come next.
type candidate struct {
	ID          int32
	Probability float64
}

// candidates returns the tokens that sampling keeps, likeliest first, with
// probabilities that sum to one. Logits [V] are of the next token, history
// holds the tokens before it. With temperature 0 one token is kept.
func (s Sampling) candidates(logits []float32, history []int32) []candidate {
	logits = s.penalised(logits, history)
	if s.Temperature == 0 {
		return []candidate{{ID: argMax(logits), Probability: 1}}
	}
	weights := s.weights(logits)
	total := sum(weights, 0)
	// Of a large vocabulary few can be drawn: only these are sorted.
	least := float32(0)
	switch {
	case s.TopK > 0 && s.TopK < len(weights):
		least = nth(weights, s.TopK)
	case s.TopP < 1:
		least = reach(weights, s.TopP*total)
	case s.MinP > 0:
		least = float32(s.MinP * 0.9999)
	}
	var kept []candidate // Probability holds the score until the end
	for i, w := range weights {
		if w >= least && !math.IsInf(float64(logits[i]), -1) { // else excluded by a constraint
			kept = append(kept, candidate{ID: int32(i), Probability: float64(logits[i]) / s.Temperature})
		}
	}
	slices.SortStableFunc(kept, func(a, b candidate) int { return cmp.Compare(b.Probability, a.Probability) })
	if s.TopK > 0 && s.TopK < len(kept) {
		// Transformers keeps all that tie with the last.
		last := kept[s.TopK-1].Probability
		n := s.TopK
		for n < len(kept) && kept[n].Probability == last {
			n++
		}
		kept = kept[:n]
	}
	if s.TopP < 1 {
		if s.TopK > 0 {
			total = 0
			for _, c := range kept {
				total += math.Exp(c.Probability - kept[0].Probability)
			}
		}
		kept = kept[:topP(kept, s.TopP, total)]
	}
	if s.MinP > 0 {
		limit := kept[0].Probability + math.Log(s.MinP)
		n := 1
		for n < len(kept) && kept[n].Probability >= limit {
			n++
		}
		kept = kept[:n]
	}
	normalise(kept)
	return kept
}

// penalised divides positive and multiplies negative logits of seen tokens.
func (s Sampling) penalised(logits []float32, history []int32) []float32 {
	if s.RepetitionPenalty == 1 {
		return logits
	}
	logits = slices.Clone(logits)
	seen := make(map[int32]bool, len(history))
	for _, id := range history {
		if seen[id] || int(id) >= len(logits) || id < 0 {
			continue
		}
		seen[id] = true
		if x := &logits[id]; *x < 0 {
			*x = float32(float64(*x) * s.RepetitionPenalty)
		} else {
			*x = float32(float64(*x) / s.RepetitionPenalty)
		}
	}
	return logits
}

// argMax returns the id with the highest logit, the lowest id of equals.
func argMax(logits []float32) int32 {
	best := 0
	for i, x := range logits {
		if x > logits[best] {
			best = i
		}
	}
	return int32(best)
}

// weights are probabilities over that of the likeliest token.
func (s Sampling) weights(logits []float32) []float32 {
	weights := make([]float32, len(logits))
	simd.Sub.Apply(weights, logits, []float32{simd.Max(logits)})
	simd.Mul.Apply(weights, weights, []float32{float32(1 / s.Temperature)})
	simd.Exp(weights, weights)
	return weights
}

// sum adds up the weights that are at least so large.
func sum(weights []float32, least float32) float64 {
	total := 0.0
	for _, w := range weights {
		if w >= least {
			total += float64(w)
		}
	}
	return total
}

// nth is the n-th largest weight.
func nth(weights []float32, n int) float32 {
	largest := make([]float32, n) // a heap, the least first
	for _, w := range weights {
		if w <= largest[0] {
			continue
		}
		i := 0
		for child := 1; child < n; child = 2*i + 1 {
			if child+1 < n && largest[child+1] < largest[child] {
				child++
			}
			if largest[child] >= w {
				break
			}
			largest[i], i = largest[child], child
		}
		largest[i] = w
	}
	return largest[0]
}

// reach is a weight such that those as large are more together than what is wanted.
func reach(weights []float32, wanted float64) float32 {
	for least := float32(0.02); least > 1e-30; least *= least {
		if sum(weights, least) > wanted*(1+1e-6) {
			return least
		}
	}
	return 0
}

// topP counts the candidates to keep, of scores sorted: those whose less likely rest,
// of the weight of all, holds more than 1-p of it, at least one.
func topP(sorted []candidate, p, all float64) int {
	rest := all
	for i, c := range sorted {
		if rest -= math.Exp(c.Probability - sorted[0].Probability); rest <= all*(1-p) {
			return i + 1
		}
	}
	return len(sorted)
}

// normalise turns scores, highest first, into probabilities.
func normalise(sorted []candidate) {
	top, sum := sorted[0].Probability, 0.0
	for i := range sorted {
		sorted[i].Probability = math.Exp(sorted[i].Probability - top)
		sum += sorted[i].Probability
	}
	for i := range sorted {
		sorted[i].Probability /= sum
	}
}

// next chooses a token.
func (s Sampling) next(draw *rand.Rand, logits []float32, history []int32) int32 {
	if s.Temperature > 0 && s.TopK == 0 && s.TopP == 1 && s.MinP == 0 { // of all, in any order
		weights := s.weights(s.penalised(logits, history))
		at, last := draw.Float64()*sum(weights, 0), 0
		for i, w := range weights {
			if w > 0 {
				if last, at = i, at-float64(w); at < 0 {
					break
				}
			}
		}
		return int32(last)
	}
	kept := s.candidates(logits, history)
	at := draw.Float64()
	for _, c := range kept {
		if at -= c.Probability; at < 0 {
			return c.ID
		}
	}
	return kept[len(kept)-1].ID
}

// scores is what tokens are chosen from after a step.
type scores struct {
	result stepResult
	layout *layout
	v      int
	logits []float32 // [R, V], once asked for
}

// choose returns the token after choice i of the step. The likeliest one is
// found on the device; drawing and penalties bring the logits to the host.
func (s *scores) choose(r *row, i int) (int32, error) {
	if r.Temperature == 0 && r.RepetitionPenalty == 1 {
		return s.result.best[i], nil
	}
	if s.logits == nil {
		var err error
		if s.logits, err = tensors.CopyFlatData[float32](s.result.logits); err != nil {
			return 0, fmt.Errorf("generate: %w", err)
		}
	}
	logits := s.logits[i*s.v : (i+1)*s.v]
	mask := s.layout.mask(i)
	for id := range logits {
		if mask[id/32]>>(id%32)&1 == 0 {
			logits[id] = float32(math.Inf(-1))
		}
	}
	var history []int32
	if r.RepetitionPenalty != 1 {
		history = r.text
	}
	return r.next(r.draw, logits, history), nil
}
