package salamandra

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
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

// Validate lists every setting out of range.
func (s Sampling) Validate() error {
	var faults []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf("salamandra: "+format, args...))
		}
	}
	check(s.Temperature >= 0 && !math.IsInf(s.Temperature, 1), "temperature %v, want 0 or more", s.Temperature)
	check(s.TopK >= 0, "top-k %d, want 0 or more", s.TopK)
	check(s.TopP > 0 && s.TopP <= 1, "top-p %v, want above 0 and at most 1", s.TopP)
	check(s.MinP >= 0 && s.MinP < 1, "min-p %v, want at least 0 and below 1", s.MinP)
	check(s.RepetitionPenalty > 0 && !math.IsInf(s.RepetitionPenalty, 1), "repetition penalty %v, want a positive number", s.RepetitionPenalty)
	return errors.Join(faults...)
}

// Candidate is a token that may come next.
type Candidate struct {
	ID          int32
	Probability float64
}

// Candidates returns the tokens that sampling keeps, likeliest first, with
// probabilities that sum to one. Logits [V] are of the next token, history
// holds the tokens before it. With temperature 0 one token is kept.
func (s Sampling) Candidates(logits []float32, history []int32) []Candidate {
	kept := make([]Candidate, len(logits)) // Probability holds the score until the end
	for i, x := range logits {
		kept[i] = Candidate{ID: int32(i), Probability: float64(x)}
	}
	s.penalise(kept, history)
	if s.Temperature == 0 {
		return []Candidate{{ID: argMax(kept), Probability: 1}}
	}
	kept = slices.DeleteFunc(kept, func(c Candidate) bool { return math.IsInf(c.Probability, -1) }) // excluded by a constraint
	for i := range kept {
		kept[i].Probability /= s.Temperature
	}
	slices.SortStableFunc(kept, func(a, b Candidate) int { return cmp.Compare(b.Probability, a.Probability) })
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
		kept = kept[:topP(kept, s.TopP)]
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

// penalise divides positive and multiplies negative scores of seen tokens.
func (s Sampling) penalise(scores []Candidate, history []int32) {
	if s.RepetitionPenalty == 1 {
		return
	}
	seen := make(map[int32]bool, len(history))
	for _, id := range history {
		if seen[id] || int(id) >= len(scores) || id < 0 {
			continue
		}
		seen[id] = true
		if x := &scores[id].Probability; *x < 0 {
			*x *= s.RepetitionPenalty
		} else {
			*x /= s.RepetitionPenalty
		}
	}
}

// argMax returns the id with the highest score, the lowest id of equals.
func argMax(scores []Candidate) int32 {
	best := 0
	for i := range scores {
		if scores[i].Probability > scores[best].Probability {
			best = i
		}
	}
	return scores[best].ID
}

// topP counts the candidates to keep: those whose less likely rest holds more
// than 1-p of the probability, at least one.
func topP(sorted []Candidate, p float64) int {
	probabilities := slices.Clone(sorted)
	normalise(probabilities)
	rest, n := 0.0, len(sorted)
	for n > 1 {
		rest += probabilities[n-1].Probability
		if rest > 1-p {
			break
		}
		n--
	}
	return n
}

// normalise turns scores, highest first, into probabilities.
func normalise(sorted []Candidate) {
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
	if s.Temperature == 0 && s.RepetitionPenalty == 1 {
		best := 0
		for i, x := range logits {
			if x > logits[best] {
				best = i
			}
		}
		return int32(best)
	}
	kept := s.Candidates(logits, history)
	at := draw.Float64()
	for _, c := range kept {
		if at -= c.Probability; at < 0 {
			return c.ID
		}
	}
	return kept[len(kept)-1].ID
}
