package generate

import (
	"math"
	"testing"
)

// TestPace: times on a straight line are found again, whatever the processor's speed, and
// a step among them that took too long moves little.
func TestPace(t *testing.T) {
	for _, unit := range []float64{1e-3, 1e-2} {
		for _, fixed := range []float64{8, 60} {
			p := &pace{w: 1, guess: 16}
			for i := range 200 {
				n := 1 + i*7%90
				p.note(size{n, n}, unit*(fixed+float64(n)))
			}
			if got, token := p.line(); math.Abs(got/token-fixed) > 0.2*fixed || math.Abs(token-unit) > 0.2*unit {
				t.Errorf("%v beside tokens of %v: found %v and %v", fixed*unit, unit, got, token)
			}
			before := p.cost(size{16, 16})
			p.note(size{16, 16}, 3*before)
			if after := p.cost(size{16, 16}); after < before || after > 1.1*before {
				t.Errorf("one step of three times %v: %v", before, after)
			}
		}
	}
}

// TestPaceBounds: whatever was measured, tokens cost something and so do steps.
func TestPaceBounds(t *testing.T) {
	for name, seconds := range map[string]func(n float64) float64{
		"nothing but tokens": func(n float64) float64 { return n }, "the same for all": func(float64) float64 { return 1 },
		"less for more": func(n float64) float64 { return 1 / n }, "none": func(float64) float64 { return 0 },
	} {
		p := &pace{w: 8, guess: 16}
		for i := range 100 {
			n := 1 + i%50
			p.note(size{n, 4}, seconds(float64(n)))
			fixed, token := p.line()
			if bad := math.IsNaN(fixed) || fixed < 3.9*token || fixed > 257*token || token < 0; bad {
				t.Fatalf("%s, %d steps: %v and %v", name, i+1, fixed, token)
			}
		}
	}
}

// TestPaceIsFixed: where a step's size changes the bits of its results, what steps took
// decides nothing.
func TestPaceIsFixed(t *testing.T) {
	p := &pace{w: 1, guess: 64, fixed: true}
	before := p.cost(size{16, 16})
	for range 30 {
		p.note(size{16, 16}, 0.1)
		p.note(size{64, 64}, 5)
	}
	if after := p.cost(size{16, 16}); after != before || p.cost(size{64, 64}) <= after {
		t.Errorf("16 tokens cost %v, before %v, 64 %v", after, before, p.cost(size{64, 64}))
	}
}
