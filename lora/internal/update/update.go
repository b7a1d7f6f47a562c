package update

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
)

// An Update is what parts come to for one weight [Out, In], row by row.
type Update struct {
	Out, In int

	terms     []*term
	rule      rule
	density   float64
	magnitude []float32 // [Out] with DoRA, otherwise nil
}

// A rule says how the terms become one value.
type rule int

const (
	ruleSum rule = iota
	ruleElect
	ruleDrop
)

// A term is what one part contributes.
type term struct {
	product *product
	weight  float64
	least   float32           // TIES: the smallest magnitude that is kept
	mask    [sha256.Size]byte // DARE: where the random choices come from
}

// Sum is the sum of parts, of which there is at least one.
func Sum(parts []Part) *Update {
	u := &Update{Out: parts[0].Out, In: parts[0].In, magnitude: parts[0].Magnitude}
	for _, p := range parts {
		u.terms = append(u.terms, &term{product: newProduct(p.Factors, p.Scale), weight: p.Weight})
	}
	return u
}

// Elect is the update of TIES: of each part the density largest entries by
// magnitude are kept; each entry takes the sign of the sum of these, and is the
// mean of those that are not zero and have that sign. It fails only with ctx.
func Elect(ctx context.Context, parts []Part, density float64) (*Update, error) {
	u := Sum(parts)
	u.rule, u.density = ruleElect, density
	if density >= 1 {
		return u, nil
	}
	keep := max(1, int(density*float64(u.Out)*float64(u.In)))
	for _, t := range u.terms {
		var err error
		if t.least, err = t.keptMagnitude(ctx, u.Out, keep); err != nil {
			return nil, err
		}
	}
	return u, nil
}

// Drop is the update of DARE: the sum of parts, of which each entry is kept with
// probability density and divided by it.
func Drop(parts []Part, density float64, seed uint64) *Update {
	u := Sum(parts)
	u.rule, u.density = ruleDrop, density
	for k, t := range u.terms {
		t.mask = parts[k].maskKey(seed)
	}
	return u
}

// keptMagnitude returns the keep-th largest magnitude of the term's update. The
// update is computed twice instead of being stored: once to count its values
// by their upper bits, which order magnitudes, and once by the lower ones.
func (t *term) keptMagnitude(ctx context.Context, out, keep int) (float32, error) {
	var upper uint32
	for _, shift := range []int{16, 0} {
		counts, err := t.count(ctx, out, shift, upper)
		if err != nil {
			return 0, err
		}
		bin := len(counts) - 1
		for ; counts[bin] < keep; bin-- {
			keep -= counts[bin]
		}
		upper = upper<<16 | uint32(bin)
	}
	return math.Float32frombits(upper), nil
}

// count returns how many magnitudes have each value of 16 bits, counted from
// shift, among those with these upper bits.
func (t *term) count(ctx context.Context, out, shift int, upper uint32) ([]int, error) {
	var all [][]int
	err := eachRow(ctx, out, func() func(i int) {
		counts := make([]int, 1<<16)
		all = append(all, counts)
		row := make([]float32, t.product.In)
		return func(i int) {
			t.product.row(i, row)
			for _, v := range row {
				if bits := math.Float32bits(v) &^ (1 << 31); uint64(bits)>>(shift+16) == uint64(upper) {
					counts[bits>>shift&0xffff]++
				}
			}
		}
	})
	total := make([]int, 1<<16)
	for _, counts := range all {
		for i, n := range counts {
			total[i] += n
		}
	}
	return total, err
}

// eachRow calls what newWorker returns for every row, on all cores. newWorker is
// not called concurrently. It fails only with ctx.
func eachRow(ctx context.Context, rows int, newWorker func() func(i int)) error {
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(rows, runtime.GOMAXPROCS(0)) {
		work := newWorker()
		workers.Go(func() {
			for i := int(next.Add(1)) - 1; i < rows && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				work(i)
			}
		})
	}
	workers.Wait()
	return ctx.Err()
}

// An evaluator computes rows of an update on one core.
type evaluator struct {
	*Update
	total []float64
	rows  [][]float32 // of each term
}

func (u *Update) evaluator() *evaluator {
	r := &evaluator{Update: u, total: make([]float64, u.In)}
	for range u.terms {
		r.rows = append(r.rows, make([]float32, u.In))
	}
	return r
}

// compute sets dst to row i of the update.
func (r *evaluator) compute(i int, dst []float32) {
	if t := r.terms[0]; len(r.terms) == 1 && t.weight == 1 && r.rule == ruleSum {
		t.product.row(i, dst) // as it is, signs of zeros included
		return
	}
	for k, t := range r.terms {
		t.product.row(i, r.rows[k])
	}
	clear(r.total)
	switch r.rule {
	case ruleElect:
		r.elect()
	case ruleDrop:
		for k, t := range r.terms {
			r.drop(i, t, r.rows[k])
		}
	default:
		for k, t := range r.terms {
			for j, v := range r.rows[k] {
				r.total[j] += float64(t.weight * float64(v)) // converted, so that it is never fused
			}
		}
	}
	for j, v := range r.total {
		dst[j] = float32(v)
	}
}

// elect sets each total to the mean of the values that are kept and agree with
// the sign of their sum.
func (r *evaluator) elect() {
	for j := range r.total {
		var sum float64
		for k, t := range r.terms {
			sum += t.trimmed(r.rows[k][j])
		}
		count, agreed := 0, 0.0
		for k, t := range r.terms {
			if v := t.trimmed(r.rows[k][j]); v != 0 && sum != 0 && (v > 0) == (sum > 0) {
				count++
				agreed += v
			}
		}
		if count > 0 {
			r.total[j] = agreed / float64(count)
		}
	}
}

// trimmed returns the weighted value, or 0 if it is too small to be kept.
func (t *term) trimmed(v float32) float64 {
	if max(v, -v) < t.least {
		return 0
	}
	return t.weight * float64(v)
}

// drop adds the values of row i that chance keeps, each divided by how probable
// that was.
func (r *evaluator) drop(i int, t *term, row []float32) {
	seed := sha256.Sum256(binary.LittleEndian.AppendUint64(bytes.Clone(t.mask[:]), uint64(i)))
	chance := rand.New(rand.NewChaCha8(seed))
	factor := t.weight / r.density
	for j, v := range row {
		if chance.Float64() < r.density {
			r.total[j] += float64(factor * float64(v))
		}
	}
}
