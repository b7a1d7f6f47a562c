package generate

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/impulse-salamandra/finetune/salamandra/llama"
)

// text is a row's tokens as attention sees them: queries, keys and values of each.
type text struct {
	heads
	n int
}

func drawText(draw *rand.Rand, c *llama.Config, n int) text {
	t := text{heads{c, nil}, n}
	t.numbers = make([]float32, n*t.width())
	for i := range t.numbers {
		t.numbers[i] = float32(draw.NormFloat64())
	}
	return t
}

// attended is attention computed one number after the other.
func (t text) attended() []float32 {
	d, group := t.HeadDim, t.NumAttentionHeads/t.NumKeyValueHeads
	out := make([]float32, t.n*t.NumAttentionHeads*d)
	for i := range t.n {
		for h := range t.NumAttentionHeads {
			sums, total := make([]float64, d), 0.0
			for j := range i + 1 {
				score := 0.0
				for k, x := range t.at(i, h) {
					score += float64(x) * float64(t.at(j, t.NumAttentionHeads+h/group)[k])
				}
				w := math.Exp(score / math.Sqrt(float64(d)))
				total += w
				for k, x := range t.at(j, t.NumAttentionHeads+t.NumKeyValueHeads+h/group) {
					sums[k] += w * float64(x)
				}
			}
			for k := range d {
				out[(i*t.NumAttentionHeads+h)*d+k] = float32(sums[k] / total)
			}
		}
	}
	return out
}

// inSteps computes attention of texts side by side, each cut into steps of its own, the
// first so many tokens of each as a prefix. It returns the results behind these.
func inSteps(texts []text, prefix int, step func(row, length int) int) [][]float32 {
	c := texts[0].Config
	results, rows := make([][]float32, len(texts)), make([]seen, len(texts))
	for i, t := range texts {
		rows[i] = seen{begun: prefix, prefix: newStretch(c, prefix), own: newStretch(c, 1)}
		for j := range prefix {
			for k := range c.NumKeyValueHeads {
				rows[i].prefix.put(0, k, j, t.at(j, c.NumAttentionHeads+k), t.at(j, c.NumAttentionHeads+c.NumKeyValueHeads+k))
			}
		}
	}
	for {
		all, n := heads{c, nil}, 0
		var some []seen
		var of []int
		for i, t := range texts {
			r := &rows[i]
			begin := prefix + r.length
			r.n = min(step(i, r.length), t.n-begin)
			if r.n <= 0 {
				continue
			}
			r.from, n = n, n+r.n
			r.own.grow(r.length + r.n)
			all.numbers = append(all.numbers, t.numbers[begin*t.width():(begin+r.n)*t.width()]...)
			some, of = append(some, *r), append(of, i)
			r.length += r.n
		}
		if n == 0 {
			return results
		}
		wide := c.NumAttentionHeads * c.HeadDim
		out := make([]float32, n*wide)
		attend(0, all, some, out)
		for i, r := range some {
			results[of[i]] = append(results[of[i]], out[r.from*wide:(r.from+r.n)*wide]...)
		}
	}
}

// TestAttend compares the host's attention with its definition, and its results, to the
// last bit, with those of the same tokens in other steps and beside other rows.
func TestAttend(t *testing.T) {
	draw := rand.New(rand.NewPCG(5, 6))
	for _, c := range []*llama.Config{
		{NumHiddenLayers: 1, NumAttentionHeads: 4, NumKeyValueHeads: 2, HeadDim: 8},
		{NumHiddenLayers: 1, NumAttentionHeads: 9, NumKeyValueHeads: 3, HeadDim: 64},
		{NumHiddenLayers: 1, NumAttentionHeads: 2, NumKeyValueHeads: 2, HeadDim: 24},
	} {
		for _, prefix := range []int{0, 1, 33} {
			var texts []text
			for _, n := range []int{prefix + 1, prefix + 30, prefix + 500} {
				texts = append(texts, drawText(draw, c, n))
			}
			wide := c.NumAttentionHeads * c.HeadDim
			whole := inSteps(texts, prefix, func(int, int) int { return 1000 })
			for i, text := range texts {
				want := text.attended()[prefix*wide:]
				for j, x := range whole[i] {
					if math.Abs(float64(x-want[j])) > 1e-5 {
						t.Fatalf("heads of %d, prefix %d, row %d: number %d is %v, want %v", c.HeadDim, prefix, i, j, x, want[j])
					}
				}
			}
			one := inSteps(texts[2:], prefix, func(int, int) int { return 7 })
			many := inSteps(texts, prefix, func(row, length int) int { return 1 + (row+length)%5 })
			if !slices.Equal(one[0], whole[2]) {
				t.Errorf("heads of %d, prefix %d: other results alone", c.HeadDim, prefix)
			}
			for i := range texts {
				if !slices.Equal(many[i], whole[i]) {
					t.Errorf("heads of %d, prefix %d, row %d: other results in other steps", c.HeadDim, prefix, i)
				}
			}
		}
	}
}
