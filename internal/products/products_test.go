package products_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/impulse-salamandra/finetune/internal/products"
	"github.com/impulse-salamandra/finetune/internal/simd"
	"github.com/impulse-salamandra/finetune/salamandra/salamandratest"
)

// flat computes a node and returns its shape and numbers.
func flat(t *testing.T, b compute.Backend, build func(g *Graph) *Node) ([]int, []float32) {
	t.Helper()
	out, err := CallOnce(b, func(g *Graph) *Node { return build(g) })
	if err != nil {
		t.Fatal(err)
	}
	return out.Shape().Dimensions, tensors.MustCopyFlatData[float32](out)
}

// TestTransposed compares the transpose in halves with the plain one, for sizes
// that can be halved and that cannot.
func TestTransposed(t *testing.T) {
	salamandratest.OnEach(t, func(t *testing.T, b compute.Backend) {
		for _, dims := range [][]int{{4, 3}, {3, 4}, {3, 5}, {2, 2}, {1, 6}, {2, 4, 3}, {3, 3, 4}, {2, 3, 5}} {
			t.Run(fmt.Sprint(dims), func(t *testing.T) {
				shape, got := flat(t, b, func(g *Graph) *Node { return products.Transposed(IotaFull(g, shapes.Make(dtypes.Float32, dims...))) })
				rank := len(dims)
				n, m := dims[rank-2], dims[rank-1]
				if want := append(slices.Clone(dims[:rank-2]), m, n); !slices.Equal(shape, want) {
					t.Fatalf("shape %v, want %v", shape, want)
				}
				for i, x := range got {
					batch, j, k := i/(n*m), i%(n*m)/n, i%n
					if want := float32(batch*n*m + k*m + j); x != want {
						t.Fatalf("number %d is %v, want %v", i, x, want)
					}
				}
			})
		}
	})
}

// TestPanels: a weight in panels is the weight.
func TestPanels(t *testing.T) {
	const out, in = 32, 5
	weight := make([]byte, out*in)
	for i := range weight {
		weight[i] = byte(i * 7 % 120)
	}
	panels := simd.ToPanels(weight, in, 1)
	wide := func(g *Graph, bytes []byte, dims ...int) *Node {
		return ConvertDType(ConvertDType(Reshape(Const(g, bytes), dims...), dtypes.Int32), dtypes.Float32)
	}
	forms := func(g *Graph) (products.Weight, products.Weight) {
		return products.Of(wide(g, panels, out/simd.PanelColumns, in, simd.PanelColumns)), products.Of(wide(g, weight, out, in))
	}
	for name, of := range map[string]func(w products.Weight, x *Node) *Node{
		"Linear": products.Weight.Linear, "Matrix": products.Weight.Matrix,
		"gradient": func(w products.Weight, x *Node) *Node { return Gradient(ReduceAllSum(Square(w.Linear(x))), x)[0] },
	} {
		b := salamandratest.Go(t)
		input := func(g *Graph) *Node { return IotaFull(g, shapes.Make(dtypes.Float32, 3, in)) }
		shape, got := flat(t, b, func(g *Graph) *Node { w, _ := forms(g); return of(w, input(g)) })
		wantShape, want := flat(t, b, func(g *Graph) *Node { _, w := forms(g); return of(w, input(g)) })
		if !slices.Equal(shape, wantShape) || !slices.Equal(got, want) {
			t.Errorf("%s: %v %v, want %v %v", name, shape, got, wantShape, want)
		}
	}
}

// TestProductsByHand multiplies matrices small enough to follow.
func TestProductsByHand(t *testing.T) {
	x, w := [][]float32{{1, 2}, {3, 4}}, [][]float32{{5, 6}, {7, 8}}
	for _, row := range []struct {
		name  string
		build func(x, w *Node) *Node
		want  []float32
	}{
		{"x·Wᵀ", products.Linear, []float32{17, 23, 39, 53}},
		{"x·W", products.Times, []float32{19, 22, 43, 50}},
		{"x·W in float32", products.TimesFloat32, []float32{19, 22, 43, 50}},
		{"xᵀ·y", products.OverRows, []float32{26, 30, 38, 44}},
		{"batched", func(x, w *Node) *Node { return products.Batched(ExpandAxes(x, 0), 2, ExpandAxes(w, 0), 2) }, []float32{17, 23, 39, 53}},
	} {
		t.Run(row.name, func(t *testing.T) {
			for _, dtype := range []dtypes.DType{dtypes.Float32, dtypes.BFloat16} {
				_, got := flat(t, salamandratest.Go(t), func(g *Graph) *Node {
					z := row.build(ConvertDType(Const(g, x), dtype), ConvertDType(Const(g, w), dtype))
					if row.name != "xᵀ·y" && row.name != "x·W in float32" && z.DType() != dtype {
						t.Errorf("%s operands give %s", dtype, z.DType())
					}
					return ConvertDType(z, dtypes.Float32)
				})
				if !slices.Equal(got, row.want) {
					t.Errorf("%s: %v, want %v", dtype, got, row.want)
				}
			}
		})
	}
}
