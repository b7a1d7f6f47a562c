package lora

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

// An updater computes the update of one weight, row by row.
type updater struct {
	method  MergeMethod
	density float64
	out, in int
	terms   []*term
}

// A term is what one adapter contributes.
type term struct {
	product *product
	weight  float64
	least   float32           // ties: the smallest magnitude that is kept
	mask    [sha256.Size]byte // dare: where the random choices come from
}

// newUpdater prepares the update that parts, of which there is at least one,
// make by the method of the options.
func newUpdater(ctx context.Context, opts MergeOptions, parts []part) (*updater, error) {
	if opts.Method == MethodSVD {
		parts = []part{{truncate(parts, opts.Rank), 1, 1}}
	}
	u := &updater{method: opts.Method, density: opts.Density, out: parts[0].Out, in: parts[0].In}
	for _, p := range parts {
		t := &term{product: newProduct(p.Module, p.scale), weight: p.weight}
		switch {
		case u.method == MethodDARE:
			t.mask = p.maskKey(opts.Seed)
		case u.method == MethodTIES && u.density < 1:
			var err error
			keep := max(1, int(u.density*float64(u.out)*float64(u.in)))
			if t.least, err = t.magnitude(ctx, u.out, keep); err != nil {
				return nil, err
			}
		}
		u.terms = append(u.terms, t)
	}
	return u, nil
}

// magnitude returns the keep-th largest magnitude of the term's update. The
// update is computed twice instead of being stored: once to count its values
// by their upper bits, which order magnitudes, and once by the lower ones.
func (t *term) magnitude(ctx context.Context, out, keep int) (float32, error) {
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
// not called concurrently. The error is that of ctx.
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

// An updateRow is what one core needs to compute rows of an update.
type updateRow struct {
	*updater
	total []float64
	rows  [][]float32 // of each term
}

func (u *updater) newRow() *updateRow {
	r := &updateRow{updater: u, total: make([]float64, u.in)}
	for range u.terms {
		r.rows = append(r.rows, make([]float32, u.in))
	}
	return r
}

// compute sets dst to row i of the update.
func (r *updateRow) compute(i int, dst []float32) {
	if t := r.terms[0]; len(r.terms) == 1 && t.weight == 1 && r.density == 0 {
		t.product.row(i, dst) // as it is, signs of zeros included
		return
	}
	for k, t := range r.terms {
		t.product.row(i, r.rows[k])
	}
	clear(r.total)
	switch r.method {
	case MethodTIES:
		r.elect()
	case MethodDARE:
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
func (r *updateRow) elect() {
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
func (r *updateRow) drop(i int, t *term, row []float32) {
	seed := sha256.Sum256(binary.LittleEndian.AppendUint64(bytes.Clone(t.mask[:]), uint64(i)))
	chance := rand.New(rand.NewChaCha8(seed))
	factor := t.weight / r.density
	for j, v := range row {
		if chance.Float64() < r.density {
			r.total[j] += float64(factor * float64(v))
		}
	}
}
