package update

import "slices"

// Centred returns parts less a mean of their factors. Their sum is the sum of
// the parts less the update of that mean: with b and a the distances from the
// means B and A, the mean of (B+b)(A+a) is BA and the mean of ba.
func Centred(parts []Part, mean Factors) []Part {
	less := func(x, y []float32) []float32 {
		d := make([]float32, len(x))
		for i := range x {
			d[i] = x[i] - y[i]
		}
		return d
	}
	list := slices.Clone(parts)
	for i := range list {
		list[i].A, list[i].B = less(parts[i].A, mean.A), less(parts[i].B, mean.B)
	}
	return list
}

// SquareNorm is the square of the Frobenius norm of the sum of parts, which is never formed: with the sum as L*R^T it is the inner
// product of L^T*L and R^T*R.
func SquareNorm(parts []Part) float64 {
	width := 0
	for _, p := range parts {
		width += p.Rank
	}
	left, right := make([]float64, width*width), make([]float64, width*width) // upper triangles
	row := make([]float64, width)
	addRow := func(gram []float64) {
		for k, v := range row {
			addTo(gram[k*width+k:(k+1)*width], row[k:], v)
		}
	}
	for i := range parts[0].Out {
		at := 0
		for _, p := range parts {
			for _, v := range p.B[i*p.Rank : (i+1)*p.Rank] {
				row[at] = p.Weight * p.Scale * float64(v)
				at++
			}
		}
		addRow(left)
	}
	for j := range parts[0].In {
		at := 0
		for _, p := range parts {
			for r := range p.Rank {
				row[at] = float64(p.A[r*p.In+j])
				at++
			}
		}
		addRow(right)
	}
	sum := 0.0
	for k := range width {
		for l := k; l < width; l++ {
			product := left[k*width+l] * right[k*width+l]
			if l > k {
				product *= 2
			}
			sum += product
		}
	}
	return max(0, sum)
}
