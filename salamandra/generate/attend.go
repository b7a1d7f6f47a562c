package generate

import (
	"math"
	"sync"

	"github.com/impulse-salamandra/finetune/internal/simd"
	"github.com/impulse-salamandra/finetune/salamandra/llama"
)

// On a CPU the host computes attention, for the tokens that there are and the keys that
// each of them sees: in a program all rows have the places of the longest one, in the
// cache and in the step, and each combination of lengths is a program of its own.
//
// What a token gets depends on the tokens before it alone, to the last bit: not on the
// rows beside it, nor on how the tokens were cut into steps.

// seen are tokens of one row in a step, which follow one another.
type seen struct {
	from, n int      // the first one and how many, of the step's tokens
	prefix  *stretch // what the row begins with, nil for nothing
	begun   int      // how many tokens of it
	own     *stretch // its tokens behind that
	length  int      // how many there were before the step
}

// heads cuts what a program gives for tokens, [N, (H+2·K)·D]: queries, keys, values.
type heads struct {
	*llama.Config
	numbers []float32
}

func (h heads) width() int { return (h.NumAttentionHeads + 2*h.NumKeyValueHeads) * h.HeadDim }

// at is the head number i of a token: H of queries, then K of keys, then K of values.
func (h heads) at(token, i int) []float32 {
	at := token*h.width() + i*h.HeadDim
	return h.numbers[at : at+h.HeadDim]
}

// attend keeps the keys and values of a step's tokens, and writes the result of
// attention, [N, H·D], to out.
func attend(layer int, h heads, rows []seen, out []float32) {
	kv, group := h.NumKeyValueHeads, h.NumAttentionHeads/h.NumKeyValueHeads
	simd.Parallel(len(rows)*kv, func(task int) {
		r, head := rows[task/kv], task%kv
		for i := range r.n {
			r.own.put(layer, head, r.length+i, h.at(r.from+i, h.NumAttentionHeads+head), h.at(r.from+i, h.NumAttentionHeads+kv+head))
		}
	})
	// A task is some tokens of a row with one head of keys.
	type part struct {
		seen
		head, first, last int
	}
	var parts []part
	most := max(1, 24/group)
	for _, r := range rows {
		for head := range kv {
			for first := 0; first < r.n; first += most {
				parts = append(parts, part{r, head, first, min(first+most, r.n)})
			}
		}
	}
	simd.Parallel(len(parts), func(task int) {
		p := parts[task]
		p.attend(layer, h, p.head, p.first, p.last, out)
	})
}

// attend is the attention of tokens first to last of the row with one head of keys and
// the queries that belong to it.
func (r seen) attend(layer int, h heads, head, first, last int, out []float32) {
	b := buffers.Get().(*buffer)
	defer buffers.Put(b)
	d, group := h.HeadDim, h.NumAttentionHeads/h.NumKeyValueHeads
	rows, length := (last-first)*group, r.length+last
	q, scale := take(&b.queries, rows*d), []float32{float32(1 / math.Sqrt(float64(d)))}
	for i := range last - first {
		for g := range group {
			simd.Mul.Apply(q[(i*group+g)*d:][:d], h.at(r.from+first+i, head*group+g), scale)
		}
	}
	before, own := take(&b.before, rows*r.begun), take(&b.own, rows*length)
	r.prefix.scores(before, q, rows, r.begun, layer, head)
	r.own.scores(own, q, rows, length, layer, head)
	sums := take(&b.sums, rows)
	for i := range rows {
		visible := r.length + first + i/group + 1
		sums[i] = weights(before[i*r.begun:][:r.begun], own[i*length:][:visible])
		clear(own[i*length+visible : (i+1)*length])
	}
	result, more := take(&b.result, rows*d), take(&b.more, rows*d)
	clear(result)
	r.prefix.mix(result, more, before, rows, r.begun, layer, head)
	r.own.mix(result, more, own, rows, length, layer, head)
	for i := range rows {
		to := out[((r.from+first+i/group)*h.NumAttentionHeads+head*group+i%group)*d:][:d]
		simd.Div.Apply(to, result[i*d:][:d], sums[i:i+1])
	}
}

// weights makes scores numbers that are the softmax's but for a factor, in two parts, and
// returns their sum.
func weights(before, own []float32) float32 {
	top := []float32{max(simd.Max(before), simd.Max(own))}
	sum := float32(0)
	for _, part := range [][]float32{before, own} {
		simd.Sub.Apply(part, part, top)
		simd.Exp(part, part)
		sum += simd.Sum(part)
	}
	return sum
}

// scores are the products [rows, n] of queries with the first n keys.
func (s *stretch) scores(to, q []float32, rows, n, layer, head int) {
	if n == 0 {
		return
	}
	d := s.config.HeadDim
	simd.Product{C: to, A: simd.Matrix{Data: q, Row: d, Column: 1}, B: simd.Matrix{Data: s.keysOf(layer, head), Panels: d * columns}}.Compute(rows, n, d)
}

// together is how many values are added up before they are added to those before.
const together = 384

// mix adds weights [rows, n] times the first n values to a result.
func (s *stretch) mix(result, more, w []float32, rows, n, layer, head int) {
	for from := 0; from < n; from += together {
		some := min(together, n-from)
		values := simd.Matrix{Data: s.valuesOf(layer, head)[from*columns:], Panels: s.room * columns}
		simd.Product{C: more, A: simd.Matrix{Data: w[from:], Row: n, Column: 1}, B: values}.Compute(rows, s.config.HeadDim, some)
		simd.Add.Apply(result, result, more)
	}
}

// buffer is what a task of attention computes in.
type buffer struct{ queries, before, own, sums, result, more []float32 }

var buffers = sync.Pool{New: func() any { return new(buffer) }}

// take returns n numbers of a buffer, of any value.
func take(b *[]float32, n int) []float32 {
	if cap(*b) < n {
		*b = make([]float32, n+n/4)
	}
	*b = (*b)[:n]
	return *b
}
