package generate

import (
	"math/rand/v2"
	"testing"
)

// BenchmarkSampling draws one token of 256,000, with scores as far apart as a model's.
func BenchmarkSampling(b *testing.B) {
	draw := rand.New(rand.NewPCG(1, 2))
	logits := make([]float32, 256000)
	for i := range logits {
		logits[i] = float32(3 * draw.NormFloat64())
	}
	logits[1000], logits[2000] = 18, 17
	history := make([]int32, 1500)
	for i := range history {
		history[i] = int32(draw.IntN(len(logits)))
	}
	for name, change := range map[string]func(s *Sampling){
		"temperature":        func(s *Sampling) {},
		"top-p":              func(s *Sampling) { s.TopP = 0.9 },
		"top-k":              func(s *Sampling) { s.TopK = 50 },
		"min-p":              func(s *Sampling) { s.MinP = 0.05 },
		"repetition penalty": func(s *Sampling) { s.Temperature, s.RepetitionPenalty = 0, 1.1 },
	} {
		b.Run(name, func(b *testing.B) {
			s := Sampling{Temperature: 0.8, TopP: 1, RepetitionPenalty: 1}
			change(&s)
			for b.Loop() {
				s.next(draw, logits, history)
			}
		})
	}
}
