package gobackend_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/dtypes/bfloat16"
	inside "github.com/gomlx/compute/gobackend"
	"github.com/gomlx/compute/shapes"

	"github.com/impulse-salamandra/finetune/internal/gobackend"
)

// backends are the Go backend itself and the one around it.
func backends(t testing.TB) (plain compute.Backend, fast *gobackend.Backend) {
	t.Helper()
	plain, err := inside.New("ops_sequential")
	if err != nil {
		t.Fatal(err)
	}
	return plain, gobackend.New(plain)
}

// must is for graphs, where an error is the test's own.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// build makes a graph of inputs and returns its outputs.
type build func(f compute.Function, x []compute.Value) []compute.Value

// compiled compiles a graph.
func compiled(b compute.Backend, inputs []shapes.Shape, graph build) compute.Executable {
	builder := b.Builder("test")
	f := builder.Main()
	var x []compute.Value
	for i, s := range inputs {
		x = append(x, must(f.Parameter(fmt.Sprint("x", i), s, nil)))
	}
	if err := f.Return(graph(f, x), nil); err != nil {
		panic(err)
	}
	return must(builder.Compile())
}

// run computes a program's outputs.
func run(b compute.Backend, p compute.Executable, inputs []any) []any {
	_, dims := p.Inputs()
	buffers := make([]compute.Buffer, len(inputs))
	for i, flat := range inputs {
		buffers[i] = must(b.BufferFromFlatData(0, flat, dims[i]))
	}
	var out []any
	for _, r := range must(p.Execute(buffers, nil, 0)) {
		if r.Backend() != b {
			panic("a buffer of another backend")
		}
		out = append(out, must(r.Data()))
	}
	return out
}

// numbers makes random data.
func numbers(draw *rand.Rand, s shapes.Shape) any {
	n := s.Size()
	switch s.DType {
	case dtypes.Float32:
		list := make([]float32, n)
		for i := range list {
			list[i] = float32(draw.NormFloat64())
		}
		return list
	case dtypes.BFloat16:
		list := make([]bfloat16.BFloat16, n)
		for i := range list {
			list[i] = bfloat16.FromFloat32(float32(draw.NormFloat64()))
		}
		return list
	case dtypes.Int32:
		list := make([]int32, n)
		for i := range list {
			list[i] = draw.Int32N(9) - 2
		}
		return list
	case dtypes.Uint32:
		list := make([]uint32, n)
		for i := range list {
			list[i] = draw.Uint32()
		}
		return list
	case dtypes.Int8:
		list := make([]int8, n)
		for i := range list {
			list[i] = int8(draw.IntN(256))
		}
		return list
	case dtypes.Uint8:
		list := make([]uint8, n)
		for i := range list {
			list[i] = uint8(draw.IntN(256))
		}
		return list
	case dtypes.Bool:
		list := make([]bool, n)
		for i := range list {
			list[i] = draw.IntN(2) == 0
		}
		return list
	}
	panic(s.DType)
}

// differ says where two results are further apart than rounding explains.
func differ(got, want any) error {
	if fmt.Sprintf("%T", got) != fmt.Sprintf("%T", want) {
		return fmt.Errorf("%T, want %T", got, want)
	}
	close := func(i int, x, y, limit float64) error {
		if math.Abs(x-y) > limit*(1+math.Abs(y)) || (x != x) != (y != y) {
			return fmt.Errorf("number %d is %v, want %v", i, x, y)
		}
		return nil
	}
	switch want := want.(type) {
	case []float32:
		for i, y := range want {
			if err := close(i, float64(got.([]float32)[i]), float64(y), 2e-5); err != nil {
				return err
			}
		}
	case []bfloat16.BFloat16:
		for i, y := range want {
			if err := close(i, float64(got.([]bfloat16.BFloat16)[i].Float32()), float64(y.Float32()), 0.02); err != nil {
				return err
			}
		}
	default:
		if x, y := fmt.Sprint(got), fmt.Sprint(want); x != y {
			return fmt.Errorf("%s, want %s", x, y)
		}
	}
	return nil
}

// same computes a graph on both backends.
func same(t *testing.T, draw *rand.Rand, inputs []shapes.Shape, graph build) {
	t.Helper()
	plain, fast := backends(t)
	var data []any
	for _, s := range inputs {
		data = append(data, numbers(draw, s))
	}
	want := run(plain, compiled(plain, inputs, graph), data)
	p := compiled(fast, inputs, graph)
	for range 2 { // the second time in memory that was used
		for i, got := range run(fast, p, data) {
			if err := differ(got, want[i]); err != nil {
				t.Fatalf("output %d %s: %v", i, p.Outputs()[i], err)
			}
		}
	}
}

func f32(dims ...int) shapes.Shape { return shapes.Make(dtypes.Float32, dims...) }

// one is a graph with one output.
func one(f func(f compute.Function, x []compute.Value) (compute.Value, error)) build {
	return func(g compute.Function, x []compute.Value) []compute.Value { return []compute.Value{must(f(g, x))} }
}

// TestOperations: each operation with a kernel, and some without, against the backend
// inside.
func TestOperations(t *testing.T) {
	type V = compute.Value
	type F = compute.Function
	bf16 := func(dims ...int) shapes.Shape { return shapes.Make(dtypes.BFloat16, dims...) }
	i32 := func(dims ...int) shapes.Shape { return shapes.Make(dtypes.Int32, dims...) }
	u32 := func(dims ...int) shapes.Shape { return shapes.Make(dtypes.Uint32, dims...) }
	boolean := func(dims ...int) shapes.Shape { return shapes.Make(dtypes.Bool, dims...) }
	list := func(s ...shapes.Shape) []shapes.Shape { return s }
	for _, row := range []struct {
		name   string
		inputs []shapes.Shape
		f      func(f F, x []V) (V, error)
	}{
		{"exp", list(f32(7, 33)), func(f F, x []V) (V, error) { return f.Exp(x[0]) }},
		{"exp of bfloat16", list(bf16(7, 333)), func(f F, x []V) (V, error) { return f.Exp(x[0]) }},
		{"logistic", list(f32(1000)), func(f F, x []V) (V, error) { return f.Logistic(x[0]) }},
		{"neg", list(f32()), func(f F, x []V) (V, error) { return f.Neg(x[0]) }},
		{"abs of integers", list(i32(5)), func(f F, x []V) (V, error) { return f.Abs(x[0]) }},
		{"rsqrt", list(f32(9)), func(f F, x []V) (V, error) { return f.Rsqrt(must(f.Abs(x[0]))) }},
		{"cos", list(f32(9)), func(f F, x []V) (V, error) { return f.Cos(x[0]) }},
		{"erf, which is left inside", list(f32(9)), func(f F, x []V) (V, error) { return f.Erf(x[0]) }},
		{"add a column", list(f32(40, 50), f32(40, 1)), func(f F, x []V) (V, error) { return f.Add(x[0], x[1]) }},
		{"subtract from a row", list(f32(1, 50), f32(40, 50)), func(f F, x []V) (V, error) { return f.Sub(x[0], x[1]) }},
		{"divide by a number", list(f32(3, 5), f32()), func(f F, x []V) (V, error) { return f.Div(x[0], x[1]) }},
		{"divide a number", list(f32(), f32(3, 50)), func(f F, x []V) (V, error) { return f.Div(x[0], x[1]) }},
		{"two columns and rows", list(f32(3, 1, 5), f32(1, 4, 1)), func(f F, x []V) (V, error) { return f.Mul(x[0], x[1]) }},
		{"bfloat16", list(bf16(3, 700), bf16(3, 1)), func(f F, x []V) (V, error) { return f.Sub(x[0], x[1]) }},
		{"bfloat16, from a number", list(bf16(), bf16(1300)), func(f F, x []V) (V, error) { return f.Sub(x[0], x[1]) }},
		{"of itself transposed", list(f32(30, 30)), func(f F, x []V) (V, error) {
			y := must(f.Exp(x[0]))
			return f.Sub(y, must(f.Transpose(y, 1, 0)))
		}},
		{"of its own rows", list(f32(4, 8)), func(f F, x []V) (V, error) {
			y := must(f.Exp(x[0]))
			return f.Sub(y, must(f.Slice(y, []int{3, 0}, []int{4, 8}, nil)))
		}},
		{"maximum", list(f32(9), f32(9)), func(f F, x []V) (V, error) { return f.Max(x[0], x[1]) }},
		{"shift", list(u32(9), u32()), func(f F, x []V) (V, error) {
			return f.ShiftRightLogical(x[0], must(f.BitwiseAnd(x[1], must(f.Constant([]uint32{31})))))
		}},
		{"compare", list(i32(9), i32(9)), func(f F, x []V) (V, error) { return f.GreaterThan(x[0], x[1]) }},
		{"and", list(boolean(9), boolean(9)), func(f F, x []V) (V, error) { return f.LogicalAnd(x[0], x[1]) }},
		{"not", list(boolean(9)), func(f F, x []V) (V, error) { return f.LogicalNot(x[0]) }},
		{"choose", list(boolean(3, 9), f32(3, 9), f32()), func(f F, x []V) (V, error) { return f.Where(x[0], x[1], x[2]) }},
		{"transpose", list(f32(3, 35, 17)), func(f F, x []V) (V, error) { return f.Transpose(x[0], 2, 0, 1) }},
		{"transpose bytes", list(boolean(35, 17)), func(f F, x []V) (V, error) { return f.Transpose(x[0], 1, 0) }},
		{"merge transposed axes", list(f32(3, 5, 4)), func(f F, x []V) (V, error) {
			return f.Reshape(must(f.Transpose(x[0], 2, 0, 1)), 2, 6, 5)
		}},
		{"split transposed axes", list(f32(6, 8)), func(f F, x []V) (V, error) {
			return f.Reshape(must(f.Transpose(x[0], 1, 0)), 2, 4, 1, 3, 2)
		}},
		{"broadcast", list(f32(3, 1)), func(f F, x []V) (V, error) { return f.BroadcastInDim(x[0], f32(2, 3, 5), []int{1, 2}) }},
		{"slice with steps", list(f32(9, 11)), func(f F, x []V) (V, error) { return f.Slice(x[0], []int{1, 2}, []int{8, 11}, []int{2, 3}) }},
		{"concatenate", list(f32(3, 2), f32(3, 5)), func(f F, x []V) (V, error) { return f.Concatenate(1, x...) }},
		{"concatenate transposed", list(f32(3, 2), f32(3, 5)), func(f F, x []V) (V, error) {
			return f.Concatenate(0, must(f.Transpose(x[0], 1, 0)), must(f.Transpose(x[1], 1, 0)))
		}},
		{"pad", list(f32(3, 2), f32()), func(f F, x []V) (V, error) {
			return f.Pad(x[0], x[1], compute.PadAxis{Start: 1, End: 2}, compute.PadAxis{End: 1})
		}},
		{"pad between", list(f32(3, 2), f32()), func(f F, x []V) (V, error) { return f.Pad(x[0], x[1], compute.PadAxis{Interior: 2}, compute.PadAxis{}) }},
		{"gather rows", list(f32(5, 3, 2), i32(4, 6, 1)), func(f F, x []V) (V, error) {
			return f.Gather(x[0], x[1], 2, []int{2, 3}, []int{0}, []int{0}, []int{1, 3, 2}, false)
		}},
		{"gather numbers", list(f32(5, 6), i32(7, 2)), func(f F, x []V) (V, error) {
			return f.Gather(x[0], x[1], 1, nil, []int{0, 1}, []int{0, 1}, []int{1, 1}, false)
		}},
		{"gather parts of rows", list(f32(5, 6), i32(7, 1)), func(f F, x []V) (V, error) {
			return f.Gather(x[0], x[1], 1, []int{1}, []int{0}, []int{0}, []int{1, 3}, false)
		}},
		{"add up where indices say", list(f32(5, 6), i32(7, 1), f32(7, 6)), func(f F, x []V) (V, error) {
			at := must(f.Min(must(f.Max(x[1], must(f.Constant([]int32{0})))), must(f.Constant([]int32{4}))))
			return f.ScatterSum(x[0], at, x[2], 1, []int{1}, []int{0}, []int{0}, false, false)
		}},
		{"sum of rows", list(f32(40, 70)), func(f F, x []V) (V, error) { return f.ReduceSum(x[0], 1) }},
		{"sum over rows", list(f32(40, 70)), func(f F, x []V) (V, error) { return f.ReduceSum(x[0], 0) }},
		{"sum in the middle", list(f32(4, 70, 3)), func(f F, x []V) (V, error) { return f.ReduceSum(x[0], 1) }},
		{"sum around the middle", list(f32(4, 7, 33)), func(f F, x []V) (V, error) { return f.ReduceSum(x[0], 0, 2) }},
		{"sum of all", list(f32(300, 200)), func(f F, x []V) (V, error) { return f.Div(must(f.ReduceSum(x[0])), must(f.Constant([]float32{60000}))) }},
		{"sum of bfloat16", list(bf16(4, 6)), func(f F, x []V) (V, error) { return f.ReduceSum(x[0], 1) }},
		{"maximum of rows", list(f32(4, 7, 33)), func(f F, x []V) (V, error) { return f.ReduceMax(x[0], 2) }},
		{"maximum over rows", list(f32(4, 7, 33)), func(f F, x []V) (V, error) { return f.ReduceMax(x[0], 0, 1) }},
		{"where the maximum is", list(f32(4, 100)), func(f F, x []V) (V, error) { return f.ArgMinMax(x[0], 1, dtypes.Int32, false) }},
		{"where the minimum is", list(f32(4, 100)), func(f F, x []V) (V, error) { return f.ArgMinMax(x[0], 1, dtypes.Int32, true) }},
		{"to bfloat16", list(f32(4, 100)), func(f F, x []V) (V, error) { return f.ConvertDType(x[0], dtypes.BFloat16) }},
		{"from booleans", list(boolean(4)), func(f F, x []V) (V, error) { return f.ConvertDType(x[0], dtypes.Float32) }},
		{"to 64 bits", list(i32(4)), func(f F, x []V) (V, error) { return f.ConvertDType(x[0], dtypes.Int64) }},
		{"constants are computed once", list(f32(4, 3)), func(f F, x []V) (V, error) {
			return f.Add(x[0], must(f.Transpose(must(f.Exp(must(f.Iota(f32(3, 4), 1)))), 1, 0)))
		}},
		{"a constant transposed", list(f32(3, 2)), func(f F, x []V) (V, error) {
			y := must(f.Transpose(must(f.Constant([]float32{1, 2, 3, 4, 5, 6}, 2, 3)), 1, 0))
			return f.Add(must(f.Add(x[0], y)), must(f.Exp(y)))
		}},
	} {
		t.Run(row.name, func(t *testing.T) { same(t, rand.New(rand.NewPCG(1, 2)), row.inputs, one(row.f)) })
	}
}

// TestSeveralResults: operations that have them, an input and a constant as outputs,
// one output twice, and results that nobody asks for.
func TestSeveralResults(t *testing.T) {
	same(t, rand.New(rand.NewPCG(3, 4)), []shapes.Shape{f32(3, 4)}, func(f compute.Function, x []compute.Value) []compute.Value {
		y := must(f.Exp(x[0]))
		barrier := must(f.OptimizationBarrier(y, x[0]))
		must(f.Log(y))
		twice := must(f.Add(barrier[0], barrier[1]))
		return []compute.Value{twice, twice, x[0], must(f.Constant([]int32{7, 8}, 2)), must(f.Transpose(y, 1, 0)), y, must(f.SchedulingBarrier(x[0], twice))}
	})
}

// softmaxed is a product, the softmax of its rows, and another product.
func softmaxed(f compute.Function, x []compute.Value) []compute.Value {
	scores := must(f.DotGeneral(x[0], []int{1}, nil, x[1], []int{1}, nil, compute.DotGeneralConfig{}))
	rows := must(f.Shape(scores)).Dim(0)
	column := func(v compute.Value) compute.Value { return must(f.Reshape(v, rows, 1)) }
	e := must(f.Exp(must(f.Sub(scores, column(must(f.ReduceMax(scores, 1)))))))
	weights := must(f.Div(e, column(must(f.ReduceSum(e, 1)))))
	return []compute.Value{must(f.DotGeneral(weights, []int{1}, nil, x[1], []int{0}, nil, compute.DotGeneralConfig{}))}
}

// TestBytes: the same bytes on any number of processors, and from one program that
// runs many times at once.
func TestBytes(t *testing.T) {
	_, b := backends(t)
	inputs := []shapes.Shape{f32(300, 40), f32(500, 40)}
	draw := rand.New(rand.NewPCG(10, 11))
	data := []any{numbers(draw, inputs[0]), numbers(draw, inputs[1])}
	p := compiled(b, inputs, softmaxed)
	want := run(b, p, data)[0].([]float32)
	for _, procs := range []int{1, 2, 5} {
		func() {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
			if !slices.Equal(run(b, p, data)[0].([]float32), want) {
				t.Errorf("%d processors give other bytes", procs)
			}
		}()
	}
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 3 {
				if !slices.Equal(run(b, p, data)[0].([]float32), want) {
					t.Error("programs side by side give other bytes")
				}
			}
		})
	}
	group.Wait()
}

// TestRefuses: what graphs must not have, and inputs that do not fit.
func TestRefuses(t *testing.T) {
	_, b := backends(t)
	f := b.Builder("one").Main()
	x := must(f.Parameter("x", f32(2), nil))
	for name, err := range map[string]error{
		"a value of no graph": func() error { _, err := f.Exp("x"); return err }(),
		"other sizes":         func() error { _, err := f.Add(x, must(f.Constant([]float32{1, 2, 3}, 3))); return err }(),
		"control flow":        func() error { _, err := f.Closure(); return err }(),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := f.While(nil, nil); !errors.Is(err, compute.ErrNotImplemented) {
		t.Errorf("While: %v", err)
	}
	if b.Capabilities().Operations[compute.OpTypeWhile] || !b.Capabilities().Operations[compute.OpTypeDotGeneral] {
		t.Error("capabilities are not what graphs may have")
	}
	p := compiled(b, []shapes.Shape{f32(2)}, one(func(f compute.Function, x []compute.Value) (compute.Value, error) { return f.Exp(x[0]) }))
	if _, err := p.Execute(nil, nil, 0); err == nil {
		t.Error("no input: no error")
	}
	if _, err := p.Execute([]compute.Buffer{must(b.BufferFromFlatData(0, []float32{1}, f32(1)))}, nil, 0); err == nil {
		t.Error("an input of another size: no error")
	}
}
