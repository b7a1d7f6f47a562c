package simd

import "sync"

const (
	tileRows    = 6   // rows of the largest kernel
	tileColumns = 16  // columns of all kernels
	depth       = 384 // terms that are added up before they are stored: a panel of 24 KB
	blockBytes  = 1 << 19
	packing     = 6 // rows that take as long as reading a panel
)

// Matrix is a view of rows and columns: element (i, j) is Data[i*Row+j*Column], or
// the same place of Half, whose elements are bfloat16, or of Whole. Two of the three
// are nil.
//
// With Panels, the right side of a product lies as the kernels read it: sixteen columns
// after sixteen, row after row of each, the first elements of two panels Panels apart.
// Row and Column mean nothing then, and the columns are a multiple of sixteen.
type Matrix struct {
	Data        []float32
	Half        []uint16
	Whole       []int8
	Row, Column int
	Panels      int
}

// from returns the view that begins at row i, column j.
func (m Matrix) from(i, j int) Matrix {
	at := i*m.Row + j*m.Column
	if m.Panels > 0 {
		at = j/tileColumns*m.Panels + i*tileColumns
	}
	switch {
	case m.Half != nil:
		m.Half = m.Half[at:]
	case m.Whole != nil:
		m.Whole = m.Whole[at:]
	default:
		m.Data = m.Data[at:]
	}
	return m
}

// widen converts n elements, from element at on and one after another, to float32.
func (m Matrix) widen(dst []float32, at, n int) {
	switch {
	case m.Half != nil:
		Widen(dst, m.Half[at:at+n])
	case m.Whole != nil:
		WidenWhole(dst, m.Whole[at:at+n])
	default:
		copy(dst, m.Data[at:at+n])
	}
}

// at is element i of the array.
func (m Matrix) at(i int) float32 {
	switch {
	case m.Half != nil:
		return widen(m.Half[i])
	case m.Whole != nil:
		return float32(m.Whole[i])
	}
	return m.Data[i]
}

// Product is one of several matrix products of a size: C [M, N] = A [M, K] · B [K, N].
type Product struct {
	C    []float32 // by rows, without gaps
	A, B Matrix
}

// Multiply computes products of one size, on all processors.
func Multiply(products int, product func(i int) Product, m, n, k int) {
	if products*m*n == 0 {
		return
	}
	// Tasks of about a million multiplications, cut by rows first: whoever takes a
	// range of rows packs all of B that it needs.
	rows := max(24, min(blockBytes/4/max(1, min(k, depth)), (m+3)/4)) / tileRows * tileRows
	panels := (n + tileColumns - 1) / tileColumns
	rowTasks := (m + rows - 1) / rows
	columnTasks := max(1, min(panels, min(8, products*(m+packing)*n*k/(1<<19))/(products*rowTasks)))
	Parallel(products*rowTasks*columnTasks, func(task int) {
		p := product(task / (rowTasks * columnTasks))
		r, c := task/columnTasks%rowTasks*rows, task%columnTasks
		multiply(p, r, min(r+rows, m), c*panels/columnTasks*tileColumns, min((c+1)*panels/columnTasks*tileColumns, n), n, k)
	})
}

// Compute computes one product, on the processor that calls it.
func (p Product) Compute(m, n, k int) {
	if m*n > 0 {
		multiply(p, 0, m, 0, n, n, k)
	}
}

// scratch holds what a task copies: a panel of B, rows of A, and a tile's edge.
type scratch struct {
	panel [depth * tileColumns]float32
	edge  [tileRows * tileColumns]float32
	rows  []float32
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// multiply computes rows [r0, r1) and columns [c0, c1) of a product with n columns.
func multiply(p Product, r0, r1, c0, c1, n, k int) {
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	if k == 0 {
		for i := r0; i < r1; i++ {
			clear(p.C[i*n+c0 : i*n+c1])
		}
		return
	}
	a := p.A.from(r0, 0)
	if a.Data == nil || a.Column != 1 && k > 1 {
		a = s.copyRows(a, r1-r0, k)
	}
	pieces := (k + depth - 1) / depth
	for piece := range pieces {
		k0, k1 := piece*k/pieces, (piece+1)*k/pieces
		for c := c0; c < c1; c += tileColumns {
			width := min(tileColumns, c1-c)
			b := p.B.from(k0, c)
			if b.Panels > 0 && b.Whole != nil && wholeTiles(p.C[r0*n+c:], n, a, r1-r0, k0, k1, b.Whole) {
				continue
			}
			panel := s.pack(b, k1-k0, width)
			for r, high := r0, 0; r < r1; r += high {
				high = tileHeight(r1 - r)
				rows := a.Data[(r-r0)*a.Row+k0:]
				if width == tileColumns {
					tile(high, p.C[r*n+c:], n, rows, a.Row, panel, k1-k0, piece > 0)
					continue
				}
				tile(high, s.edge[:], tileColumns, rows, a.Row, panel, k1-k0, false)
				for i := range high {
					to := p.C[(r+i)*n+c:][:width]
					for j, x := range s.edge[i*tileColumns:][:width] {
						if piece > 0 {
							x += to[j]
						}
						to[j] = x
					}
				}
			}
		}
	}
}

// wholeTiles are the tiles of some rows of a and a panel of whole numbers, of the terms
// from k0 to k1. It says false where there are no kernels for these.
func wholeTiles(c []float32, ldc int, a Matrix, rows, k0, k1 int, panel []int8) bool {
	for r, high := 0, 0; r < rows; r += high {
		high = tileHeight(rows - r)
		if !wholeTile(high, c[r*ldc:], ldc, a.Data[r*a.Row+k0:], a.Row, panel, k1-k0, k0 > 0) {
			return false
		}
	}
	return true
}

// tileHeight is how many of the rows left a tile takes. Less than four take a kernel as
// long as four, so that two share what would leave so few.
func tileHeight(left int) int {
	if left > tileRows && left < tileRows+4 {
		return (left + 1) / 2
	}
	return min(tileRows, left)
}

// copyRows copies a view to float32, by rows.
func (s *scratch) copyRows(a Matrix, m, k int) Matrix {
	if cap(s.rows) < m*k {
		s.rows = make([]float32, m*k)
	}
	s.rows = s.rows[:m*k]
	for i := range m {
		to := s.rows[i*k:][:k]
		switch {
		case a.Column == 1:
			a.widen(to, i*a.Row, k)
		case a.Data == nil:
			for j := range to {
				to[j] = a.at(i*a.Row + j*a.Column)
			}
		default:
			for j := range to {
				to[j] = a.Data[i*a.Row+j*a.Column]
			}
		}
	}
	return Matrix{Data: s.rows, Row: k, Column: 1}
}

// pack returns k rows of up to sixteen columns as a panel, [k][16], with zeros at the
// right: a copy, unless they are one.
func (s *scratch) pack(b Matrix, k, width int) []float32 {
	panel := s.panel[:k*tileColumns]
	switch {
	case b.Panels == 0:
		pack(panel, b, k, width)
	case b.Data != nil:
		return b.Data
	default:
		b.widen(panel, 0, len(panel))
	}
	return panel
}

// pack copies k rows of up to sixteen columns to a panel.
func pack(panel []float32, b Matrix, k, width int) {
	if width < tileColumns {
		clear(panel)
	}
	switch {
	case b.Column == 1 && b.Data != nil && width == tileColumns:
		for i := range k {
			copy(panel[i*tileColumns:][:tileColumns], b.Data[i*b.Row:])
		}
	case b.Row == 1 && b.Data != nil && width == tileColumns:
		packTransposed(panel, b.Data, b.Column, k)
	case b.Data != nil && b.Row < b.Column:
		for j := range width {
			for i := range k {
				panel[i*tileColumns+j] = b.Data[i*b.Row+j*b.Column]
			}
		}
	case b.Data != nil:
		for i := range k {
			for j := range width {
				panel[i*tileColumns+j] = b.Data[i*b.Row+j*b.Column]
			}
		}
	case b.Row == 1 && width == tileColumns:
		var wide [tileColumns * 64]float32
		for from := 0; from < k; from += 64 {
			n := min(64, k-from)
			for j := range tileColumns {
				b.widen(wide[j*64:], j*b.Column+from, n)
			}
			packTransposed(panel[from*tileColumns:], wide[:], 64, n)
		}
	case b.Column == 1:
		for i := range k {
			b.widen(panel[i*tileColumns:], i*b.Row, width)
		}
	default:
		for i := range k {
			for j := range width {
				panel[i*tileColumns+j] = b.at(i*b.Row + j*b.Column)
			}
		}
	}
}

// tileGo is the kernels' law: c [rows, 16] = or += a [rows, k] · b [k, 16].
func tileGo(rows int, c []float32, ldc int, a []float32, lda int, b []float32, k int, add bool) {
	for i := range rows {
		var sums [tileColumns]float32
		for j, x := range a[i*lda:][:k] {
			for l, y := range b[j*tileColumns:][:tileColumns] {
				sums[l] += x * y
			}
		}
		to := c[i*ldc:][:tileColumns]
		for l, x := range sums {
			if add {
				x += to[l]
			}
			to[l] = x
		}
	}
}

// packTransposedGo lays sixteen rows of k numbers out as k rows of sixteen.
func packTransposedGo(panel, b []float32, stride, k int) {
	for i := range k {
		to := panel[i*tileColumns:][:tileColumns]
		for j := range to {
			to[j] = b[i+j*stride]
		}
	}
}
