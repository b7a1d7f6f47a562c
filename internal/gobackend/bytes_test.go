package gobackend_test

import (
	"math/rand/v2"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
)

// TestNumbersOfEightBits: what quantised weights are made of. Products read whole numbers
// that were converted for them as they were, also through a transpose and a slice; who
// else wants them converted gets them so.
func TestNumbersOfEightBits(t *testing.T) {
	type V = compute.Value
	type F = compute.Function
	i8 := func(dims ...int) shapes.Shape { return shapes.Make(dtypes.Int8, dims...) }
	u8 := func(dims ...int) shapes.Shape { return shapes.Make(dtypes.Uint8, dims...) }
	list := func(s ...shapes.Shape) []shapes.Shape { return s }
	dot := func(f F, x, y V, axis int) V {
		return must(f.DotGeneral(x, []int{1}, nil, y, []int{axis}, nil, compute.DotGeneralConfig{}))
	}
	table := make([]float32, 256)
	for i := range table {
		table[i] = float32(i*i) / 7
	}
	zero := func(f F, dtype dtypes.DType) V { return must(f.ConvertDType(must(f.Constant([]float32{0})), dtype)) }
	for _, row := range []struct {
		name   string
		inputs []shapes.Shape
		f      build
	}{
		{"converted", list(i8(5, 33)), one(func(f F, x []V) (V, error) { return f.ConvertDType(x[0], dtypes.Float32) })},
		{"converted to bfloat16", list(i8(5, 33)), one(func(f F, x []V) (V, error) { return f.ConvertDType(x[0], dtypes.BFloat16) })},
		{"or nothing", list(i8(5, 33)), one(func(f F, x []V) (V, error) { return f.BitwiseOr(x[0], zero(f, dtypes.Int8)) })},
		{"or nothing, of other shapes", list(u8(1, 33)), one(func(f F, x []V) (V, error) {
			return f.BitwiseOr(x[0], must(f.Constant(make([]uint8, 3), 3, 1)))
		})},
		{"or something", list(u8(5, 33)), one(func(f F, x []V) (V, error) { return f.BitwiseOr(x[0], must(f.Constant([]uint8{3}))) })},
		{"the high half", list(u8(5, 33)), one(func(f F, x []V) (V, error) { return f.ShiftRightLogical(x[0], must(f.Constant([]uint8{4}))) })},
		{"a product and the numbers", list(f32(3, 40), i8(20, 40)), func(f F, x []V) []V {
			w := must(f.ConvertDType(must(f.BitwiseOr(x[1], zero(f, dtypes.Int8))), dtypes.Float32))
			return []V{dot(f, x[0], w, 1), must(f.Exp(must(f.Mul(w, must(f.Constant([]float32{0.01}))))))}
		}},
		{"a product with a part, transposed", list(f32(3, 40), i8(40, 24)), func(f F, x []V) []V {
			w := must(f.ConvertDType(x[1], dtypes.Float32))
			part := must(f.Slice(w, []int{0, 2}, []int{40, 19}, nil))
			return []V{dot(f, x[0], part, 0), dot(f, x[0], must(f.Transpose(part, 1, 0)), 1)}
		}},
		{"products with panels", list(f32(3, 40), i8(5, 40, 16), f32(2, 40, 16)), func(f F, x []V) []V {
			w := must(f.ConvertDType(x[1], dtypes.Float32))
			part := must(f.Slice(w, []int{1, 0, 0}, []int{4, 40, 16}, nil))
			x[0] = must(f.Mul(x[0], must(f.Constant([]float32{0.001}))))
			y := dot(f, x[0], w, 1)
			back := must(f.DotGeneral(must(f.Mul(y, must(f.Constant([]float32{0.001})))), []int{1, 2}, nil, w, []int{0, 2}, nil, compute.DotGeneralConfig{}))
			return []V{y, back, dot(f, x[0], part, 1), dot(f, x[0], x[2], 1), must(f.DotGeneral(w, []int{1}, nil, x[0], []int{1}, nil, compute.DotGeneralConfig{}))}
		}},
		{"a number of a table for each byte", list(u8(70, 300)), one(func(f F, x []V) (V, error) {
			index := must(f.Reshape(x[0], 70, 300, 1))
			return f.Gather(must(f.Constant(table, 256)), index, 2, nil, []int{0}, []int{0}, []int{1}, false)
		})},
	} {
		t.Run(row.name, func(t *testing.T) { same(t, rand.New(rand.NewPCG(5, 6)), row.inputs, row.f) })
	}
}
