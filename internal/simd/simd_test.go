package simd

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
)

// withoutVectors runs a test with the kernels of this processor and without.
func withoutVectors(t *testing.T, test func(t *testing.T)) {
	t.Run("here", test)
	if !vectors {
		return
	}
	t.Run("plain", func(t *testing.T) {
		vectors = false
		defer func() { vectors = true }()
		test(t)
	})
}

func random(draw *rand.Rand, n int) []float32 {
	list := make([]float32, n)
	for i := range list {
		list[i] = float32(draw.NormFloat64())
	}
	return list
}

// layout is how a matrix lies in memory.
type layout struct {
	byColumns, half, whole bool
	gap                    int // between rows, or columns
}

// matrix lays random numbers out, and returns them in float64, by rows.
func (l layout) matrix(draw *rand.Rand, rows, columns int) (Matrix, []float64) {
	m := Matrix{Row: columns + l.gap, Column: 1}
	if l.byColumns {
		m = Matrix{Row: 1, Column: rows + l.gap}
	}
	n := rows*columns + l.gap*max(rows, columns) + 1
	switch {
	case l.half:
		m.Half = make([]uint16, n)
		Narrow(m.Half, random(draw, n))
	case l.whole:
		m.Whole = make([]int8, n)
		for i := range m.Whole {
			m.Whole[i] = int8(draw.IntN(256))
		}
	default:
		m.Data = random(draw, n)
	}
	want := make([]float64, rows*columns)
	for i := range rows {
		for j := range columns {
			want[i*columns+j] = float64(m.at(i*m.Row + j*m.Column))
		}
	}
	return m, want
}

// checkProducts multiplies and compares with three loops in float64.
func checkProducts(t *testing.T, draw *rand.Rand, la, lb layout, products, m, n, k int) {
	t.Helper()
	as, bs := make([]Matrix, products), make([]Matrix, products)
	want, scale := make([]float64, products*m*n), make([]float64, products*m*n)
	for p := range products {
		var a, b []float64
		as[p], a = la.matrix(draw, m, k)
		bs[p], b = lb.matrix(draw, k, n)
		for i := range m {
			for j := range n {
				for l := range k {
					x := a[i*k+l] * b[l*n+j]
					want[(p*m+i)*n+j] += x
					scale[(p*m+i)*n+j] += math.Abs(x)
				}
			}
		}
	}
	got := random(draw, products*m*n+1)
	end := got[products*m*n]
	Multiply(products, func(p int) Product { return Product{C: got[p*m*n : (p+1)*m*n], A: as[p], B: bs[p]} }, m, n, k)
	for i, x := range want {
		if math.Abs(float64(got[i])-x) > 3e-7*math.Sqrt(float64(k+8))*scale[i] {
			t.Fatalf("%d products [%d %d %d], %+v times %+v: number %d is %v, want %v", products, m, n, k, la, lb, i, got[i], x)
		}
	}
	if got[products*m*n] != end {
		t.Fatalf("[%d %d %d]: wrote behind the end", m, n, k)
	}
}

// layouts are all that a matrix may have.
func layouts() []layout {
	var list []layout
	for i := range 8 {
		list = append(list, layout{byColumns: i&1 != 0, half: i&2 != 0, gap: i >> 2 * 3})
		if i&2 != 0 {
			list = append(list, layout{byColumns: i&1 != 0, whole: true, gap: i >> 2 * 3})
		}
	}
	return list
}

// TestMultiply: every layout of both sides, at the sizes where tiles, panels and the
// depth of a panel begin and end.
func TestMultiply(t *testing.T) {
	withoutVectors(t, func(t *testing.T) {
		draw := rand.New(rand.NewPCG(1, 2))
		for _, size := range [][3]int{
			{0, 3, 4}, {3, 0, 4}, {3, 4, 0}, {1, 1, 1}, {1, 16, 8}, {2, 15, 7}, {3, 17, 9}, {4, 31, 1}, {5, 33, 16}, {6, 16, 65},
			{7, 5, 100}, {13, 48, 385}, {25, 20, 770}, {32, 64, 32}, {61, 3, 12},
		} {
			for _, la := range layouts() {
				for _, lb := range layouts() {
					checkProducts(t, draw, la, lb, 1+draw.IntN(2), size[0], size[1], size[2])
				}
			}
		}
	})
}

// FuzzMultiply is TestMultiply with other sizes.
func FuzzMultiply(f *testing.F) {
	f.Add(uint64(1), uint8(1), uint8(20), uint8(40), uint16(500), uint8(9))
	f.Fuzz(func(t *testing.T, seed uint64, products, m, n uint8, k uint16, layout uint8) {
		all := layouts()
		checkProducts(t, rand.New(rand.NewPCG(seed, 3)), all[int(layout)%len(all)], all[int(layout)/len(all)%len(all)], int(products%4), int(m), int(n), int(k%1024))
	})
}

// TestMultiplyAlone: an element is the same to the last bit whatever is beside it, and
// however many processors compute.
func TestMultiplyAlone(t *testing.T) {
	withoutVectors(t, func(t *testing.T) {
		const m, n, k = 67, 83, 450
		draw := rand.New(rand.NewPCG(4, 5))
		a, b := random(draw, m*k), random(draw, k*n)
		multiply := func(i, j, rows, columns int) []float32 {
			c := make([]float32, rows*columns)
			Multiply(1, func(int) Product {
				return Product{C: c, A: Matrix{Data: a[i*k:], Row: k, Column: 1}, B: Matrix{Data: b[j:], Row: n, Column: 1}}
			}, rows, columns, k)
			return c
		}
		whole := multiply(0, 0, m, n)
		for range 50 {
			i, j := draw.IntN(m), draw.IntN(n)
			rows, columns := 1+draw.IntN(m-i), 1+draw.IntN(n-j)
			part := multiply(i, j, rows, columns)
			for r := range rows {
				if !slices.Equal(part[r*columns:(r+1)*columns], whole[(i+r)*n+j:][:columns]) {
					t.Fatalf("row %d of [%d:%d, %d:%d] differs from the whole", r, i, i+rows, j, j+columns)
				}
			}
		}
		for _, procs := range []int{1, 3, 8} {
			func() {
				defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
				if !slices.Equal(multiply(0, 0, m, n), whole) {
					t.Errorf("%d processors change the product", procs)
				}
			}()
		}
	})
}

// TestPanels: a right side that lies in panels gives the bits of one that lies in rows.
func TestPanels(t *testing.T) {
	withoutVectors(t, func(t *testing.T) {
		draw := rand.New(rand.NewPCG(10, 11))
		for _, size := range [][3]int{{1, 16, 1}, {3, 48, 33}, {7, 32, 385}, {16, 96, 770}, {61, 16, 40}} {
			m, n, k := size[0], size[1], size[2]
			a := Matrix{Data: random(draw, m*k), Row: k, Column: 1}
			for _, l := range []layout{{}, {half: true}, {whole: true}} {
				rows, _ := l.matrix(draw, k, n)
				stride := k*tileColumns + draw.IntN(3)
				panels := Matrix{Panels: stride}
				at := func(i, j int) int { return j/tileColumns*stride + i*tileColumns + j%tileColumns }
				switch length := n / tileColumns * stride; {
				case l.half:
					panels.Half = make([]uint16, length)
				case l.whole:
					panels.Whole = make([]int8, length)
				default:
					panels.Data = make([]float32, length)
				}
				for i := range k {
					for j := range n {
						switch {
						case l.half:
							panels.Half[at(i, j)] = rows.Half[i*n+j]
						case l.whole:
							panels.Whole[at(i, j)] = rows.Whole[i*n+j]
						default:
							panels.Data[at(i, j)] = rows.Data[i*n+j]
						}
					}
				}
				got, want := make([]float32, m*n), make([]float32, m*n)
				Multiply(1, func(int) Product { return Product{C: want, A: a, B: rows} }, m, n, k)
				Multiply(1, func(int) Product { return Product{C: got, A: a, B: panels} }, m, n, k)
				if !slices.Equal(got, want) {
					t.Errorf("[%d %d %d], %+v: not equal bit for bit", m, n, k, l)
				}
			}
		}
	})
}

// TestTiles compares the kernels with their law, with and without adding.
func TestTiles(t *testing.T) {
	draw := rand.New(rand.NewPCG(6, 7))
	for rows := 1; rows <= tileRows; rows++ {
		for k := range 21 {
			lda, ldc := k+draw.IntN(3), tileColumns+draw.IntN(5)
			a, b, c := random(draw, rows*lda+1), random(draw, k*tileColumns+1), random(draw, rows*ldc+1)
			for _, add := range []bool{false, true} {
				got, want := slices.Clone(c), slices.Clone(c)
				if k > 0 {
					tile(rows, got, ldc, a, lda, b, k, add)
					tileGo(rows, want, ldc, a, lda, b, k, add)
				}
				for i := range got {
					if math.Abs(float64(got[i]-want[i])) > 1e-5 {
						t.Fatalf("%d rows, k = %d, add %v: number %d is %v, want %v", rows, k, add, i, got[i], want[i])
					}
				}
			}
		}
	}
}

// TestPackTransposed compares with its law.
func TestPackTransposed(t *testing.T) {
	draw := rand.New(rand.NewPCG(8, 9))
	for k := 1; k < 40; k++ {
		stride := k + draw.IntN(4)
		b := random(draw, 16*stride)
		got, want := make([]float32, k*tileColumns), make([]float32, k*tileColumns)
		packTransposed(got, b, stride, k)
		packTransposedGo(want, b, stride, k)
		if !slices.Equal(got, want) {
			t.Fatalf("k = %d: differs", k)
		}
	}
}

// TestBinary: each operation at each length, with one number on either side, in place
// or not, gives what Go's operators give.
func TestBinary(t *testing.T) {
	withoutVectors(t, func(t *testing.T) {
		draw := rand.New(rand.NewPCG(10, 11))
		for op := Add; op <= Div; op++ {
			for n := range 70 {
				for _, one := range []string{"none", "a", "b"} {
					a, b := random(draw, n), random(draw, n)
					if n > 0 && one == "a" {
						a = a[:1]
					}
					if n > 0 && one == "b" {
						b = b[:1]
					}
					want := make([]float32, n)
					for i := range want {
						want[i] = op.of(a[min(i, len(a)-1)], b[min(i, len(b)-1)])
					}
					got := make([]float32, n)
					op.Apply(got, a, b)
					if !slices.Equal(got, want) {
						t.Fatalf("operation %d, %d numbers, one: %s: %v, want %v", op, n, one, got, want)
					}
					if len(a) == n {
						op.Apply(a, a, b)
						if !slices.Equal(a, want) {
							t.Fatalf("operation %d, %d numbers, in place: %v, want %v", op, n, a, want)
						}
					}
				}
			}
		}
	})
}

// TestExp: Exp and Logistic over their whole range, and where they end.
func TestExp(t *testing.T) {
	withoutVectors(t, func(t *testing.T) {
		inf := float32(math.Inf(1))
		list := []float32{0, float32(math.Copysign(0, -1)), 1, -1, 88.7, 88.73, 89, 1e30, inf, -87.3, -87.4, -95, -103.9, -104, -1e30, -inf, float32(math.NaN()), 1e-40}
		for x := float32(-105); x < 90; x += 0.0137 {
			list = append(list, x)
		}
		for name, f := range map[string]struct {
			got  func(dst, a []float32)
			want func(x float64) float64
		}{
			"exp":      {Exp, math.Exp},
			"logistic": {Logistic, func(x float64) float64 { return 1 / (1 + math.Exp(-x)) }},
		} {
			got := make([]float32, len(list))
			f.got(got, list)
			for i, x := range list {
				want := float32(f.want(float64(x)))
				ok := got[i] == want || math.Abs(float64(got[i]-want)) <= 3e-7*math.Abs(float64(want))+2e-45 || got[i] != got[i] && x != x
				if name == "logistic" && x < -85 { // 1/exp(-x), which may be infinite
					ok = math.Abs(float64(got[i])) < 2e-37
				}
				if !ok {
					t.Errorf("%s(%v) = %v, want %v", name, x, got[i], want)
				}
			}
		}
	})
}

// TestSum: at each length the sum is close to the true one and the maximum exact, and
// vector instructions change no bit of them.
func TestSum(t *testing.T) {
	draw := rand.New(rand.NewPCG(12, 13))
	here := vectors
	defer func() { vectors = here }()
	for n := range 200 {
		a := random(draw, n)
		vectors = here
		sum, top := Sum(a), Max(a)
		vectors = false
		if plain := Sum(a); plain != sum {
			t.Errorf("%d numbers: sum %v, without vectors %v", n, sum, plain)
		}
		want := 0.0
		for _, x := range a {
			want += float64(x)
		}
		if math.Abs(float64(sum)-want) > 1e-5*float64(n) {
			t.Errorf("%d numbers: sum %v, want %v", n, sum, want)
		}
		if n == 0 {
			if top != float32(math.Inf(-1)) {
				t.Errorf("maximum of none is %v", top)
			}
			continue
		}
		if top != slices.Max(a) || Max(a) != top {
			t.Errorf("%d numbers: maximum %v, without vectors %v, want %v", n, top, Max(a), slices.Max(a))
		}
		vectors = here
		a[draw.IntN(n)] = float32(math.NaN())
		if x := Max(a); x == x {
			t.Errorf("%d numbers, one not a number: maximum %v", n, x)
		}
	}
}

// TestBFloat16: every bfloat16 survives, and float32 is rounded to the nearest.
func TestBFloat16(t *testing.T) {
	withoutVectors(t, func(t *testing.T) {
		all := make([]uint16, 1<<16)
		for i := range all {
			all[i] = uint16(i)
		}
		wide, back := make([]float32, len(all)), make([]uint16, len(all))
		Widen(wide, all)
		Narrow(back, wide)
		for i, x := range wide {
			if math.Float32bits(x) != uint32(i)<<16 {
				t.Fatalf("%#x is %#x", i, math.Float32bits(x))
			}
			if back[i] != all[i] && x == x {
				t.Fatalf("%#x comes back as %#x", i, back[i])
			}
		}
		for _, row := range []struct{ from, want uint32 }{
			{0x3f808000, 0x3f80}, {0x3f818000, 0x3f82}, {0x3f808001, 0x3f81}, {0x3f807fff, 0x3f80}, {0x7f7fffff, 0x7f80}, {0x7f800001, 0x7fc0}, {0xffffffff, 0xffff},
		} {
			var got [1]uint16
			Narrow(got[:], []float32{math.Float32frombits(row.from)})
			if uint32(got[0]) != row.want {
				t.Errorf("%#x rounds to %#x, want %#x", row.from, got[0], row.want)
			}
		}
	})
}

// TestRanges: every index once, whatever the grain.
func TestRanges(t *testing.T) {
	for _, row := range [][2]int{{0, 4}, {1, 4}, {7, 1}, {1000, 3}, {100, 100}, {5, 0}} {
		t.Run(fmt.Sprint(row), func(t *testing.T) {
			seen := make([]int32, row[0])
			Ranges(row[0], row[1], func(from, to int) {
				for i := from; i < to; i++ {
					seen[i]++
				}
			})
			for i, n := range seen {
				if n != 1 {
					t.Fatalf("%d was seen %d times", i, n)
				}
			}
		})
	}
}
