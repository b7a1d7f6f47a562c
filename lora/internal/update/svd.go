package update

import (
	"cmp"
	"math"
	"slices"
)

// Matrices here are lists of columns in float64.

// Nearest returns the factors of at most rank whose B*A is nearest to the sum of
// parts, in the Frobenius norm. The sum is never formed: with its factors as L*R^T, both orthogonalised, only a square matrix
// of the summed ranks remains to be decomposed. B and A share the singular
// values evenly.
func Nearest(parts []Part, rank int) Factors {
	m := parts[0].Factors
	var left, right [][]float64 // L [Out, sum of ranks] and R [In, sum of ranks]
	for _, p := range parts {
		for r := range p.Rank {
			b, a := make([]float64, p.Out), make([]float64, p.In)
			for i := range b {
				b[i] = p.Weight * p.Scale * float64(p.B[i*p.Rank+r])
			}
			for j := range a {
				a[j] = float64(p.A[r*p.In+j])
			}
			left, right = append(left, b), append(right, a)
		}
	}
	ql, rl := orthogonalise(left)
	qr, rr := orthogonalise(right)
	core := make([][]float64, len(left)) // rl*rr^T
	for k := range core {
		core[k] = make([]float64, len(left))
		for j := range left {
			addTo(core[k], rl[j], rr[j][k])
		}
	}
	v := jacobi(core) // core*V, whose columns are U*S
	order := make([]int, len(core))
	norms := make([]float64, len(core))
	for j := range order {
		order[j], norms[j] = j, math.Sqrt(dot(core[j], core[j]))
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(norms[b], norms[a]) })

	m.Rank = min(rank, len(order))
	m.A, m.B = make([]float32, m.Rank*m.In), make([]float32, m.Out*m.Rank)
	for r, j := range order[:m.Rank] {
		root := math.Sqrt(norms[j])
		if root == 0 {
			break // only zeros are left
		}
		for i, x := range apply(ql, core[j], m.Out) {
			m.B[i*m.Rank+r] = float32(x / root)
		}
		for i, x := range apply(qr, v[j], m.In) {
			m.A[r*m.In+i] = float32(x * root)
		}
	}
	return m
}

// negligible is what rounding leaves of a column that depends on others.
const negligible = 1e-13

// orthogonalise returns q and an upper triangular r with columns = q*r, by
// modified Gram and Schmidt, done twice against rounding. A column that depends
// on those before it has a zero column in q.
func orthogonalise(columns [][]float64) (q, r [][]float64) {
	for j, column := range columns {
		v, coefficients := slices.Clone(column), make([]float64, len(columns))
		whole := math.Sqrt(dot(v, v))
		for range 2 {
			for i, qi := range q {
				d := dot(qi, v)
				coefficients[i] += d
				addTo(v, qi, -d)
			}
		}
		if n := math.Sqrt(dot(v, v)); n > negligible*whole {
			coefficients[j] = n
			for i := range v {
				v[i] /= n
			}
		} else {
			clear(v)
		}
		q, r = append(q, v), append(r, coefficients)
	}
	return q, r
}

// maxSweeps bounds jacobi, which takes less than ten in practice.
const maxSweeps = 60

// jacobi turns the columns of m until they are orthogonal to each other, and
// returns the orthogonal matrix it multiplied m by from the right.
//
// Source: Hestenes 1958, doi:10.1137/0106005.
func jacobi(m [][]float64) (v [][]float64) {
	for j := range m {
		v = append(v, make([]float64, len(m)))
		v[j][j] = 1
	}
	for range maxSweeps {
		turned := false
		for p := range m {
			for q := p + 1; q < len(m); q++ {
				a, b, c := dot(m[p], m[p]), dot(m[q], m[q]), dot(m[p], m[q])
				if math.Abs(c) <= 1e-15*math.Sqrt(a)*math.Sqrt(b) {
					continue
				}
				turned = true
				zeta := (b - a) / (2 * c)
				t := math.Copysign(1, zeta) / (math.Abs(zeta) + math.Hypot(1, zeta))
				cos := 1 / math.Hypot(1, t)
				turn(m[p], m[q], cos, cos*t)
				turn(v[p], v[q], cos, cos*t)
			}
		}
		if !turned {
			break
		}
	}
	return v
}

// turn rotates two columns in their plane.
func turn(p, q []float64, cos, sin float64) {
	for i, x := range p {
		p[i], q[i] = cos*x-sin*q[i], sin*x+cos*q[i]
	}
}

// apply returns the columns of a matrix, of n rows, times x.
func apply(columns [][]float64, x []float64, n int) []float64 {
	y := make([]float64, n)
	for k, c := range columns {
		addTo(y, c, x[k])
	}
	return y
}

// addTo adds f*x to y.
func addTo(y, x []float64, f float64) {
	for i, v := range x {
		y[i] += f * v
	}
}

func dot(x, y []float64) float64 {
	sum := 0.0
	for i, v := range x {
		sum += v * y[i]
	}
	return sum
}
