package salamandratest

import (
	"fmt"
	"maps"
	"math"
	"sync/atomic"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
)

// OnFused runs a test with a backend that has attention of its own: the stand-in
// [FusedAttention] everywhere, and cuDNN's where there is a GPU.
func OnFused(t *testing.T, test func(t *testing.T, b compute.Backend)) {
	OnEach(t, func(t *testing.T, b compute.Backend) {
		t.Run("stand-in", func(t *testing.T) { test(t, &FusedAttention{Backend: b, Separate: true}) })
		t.Run("its own", func(t *testing.T) {
			if !b.Capabilities().Operations[compute.OpTypeFusedScaledDotProductAttentionVJP] {
				t.Skipf("%s has no fused attention: set GOMLX_BACKEND=xla:cuda on a machine with an NVIDIA GPU", b.Description())
			}
			test(t, b)
		})
	})
}

// FusedAttention is a backend with the attention operation that XLA has on CUDA
// and its gradient, computed from plain operations in float32: what may be
// asked of it, and what it gives, is the same, so that all but cuDNN's own
// kernels can be tested without a GPU.
type FusedAttention struct {
	compute.Backend
	// Separate says that the host cannot reach the device's memory, as on a GPU.
	Separate bool
	// Forward and Backward count how often a graph asked for the operations.
	Forward, Backward atomic.Int32
}

// Capabilities implements [compute.Backend].
func (b *FusedAttention) Capabilities() compute.Capabilities {
	c := b.Backend.Capabilities()
	c.Operations = maps.Clone(c.Operations)
	c.Operations[compute.OpTypeFusedScaledDotProductAttention] = true
	c.Operations[compute.OpTypeFusedScaledDotProductAttentionVJP] = true
	return c
}

// HasSharedBuffers implements [compute.Backend].
func (b *FusedAttention) HasSharedBuffers() bool { return !b.Separate && b.Backend.HasSharedBuffers() }

// BufferFromFlatData implements [compute.Backend].
func (b *FusedAttention) BufferFromFlatData(device compute.DeviceNum, flat any, shape shapes.Shape) (compute.Buffer, error) {
	buffer, err := b.Backend.BufferFromFlatData(device, flat, shape)
	return fusedBuffer{buffer, b}, err
}

// NewSharedBuffer implements [compute.Backend].
func (b *FusedAttention) NewSharedBuffer(device compute.DeviceNum, shape shapes.Shape) (compute.Buffer, any, error) {
	buffer, flat, err := b.Backend.NewSharedBuffer(device, shape)
	return fusedBuffer{buffer, b}, flat, err
}

// Builder implements [compute.Backend].
func (b *FusedAttention) Builder(name string) compute.Builder {
	return fusedBuilder{b.Backend.Builder(name), b}
}

type fusedBuilder struct {
	compute.Builder
	owner *FusedAttention
}

func (b fusedBuilder) Main() compute.Function { return fusedFunction{b.Builder.Main(), b.owner} }

// Compile implements [compute.Builder].
func (b fusedBuilder) Compile() (compute.Executable, error) {
	e, err := b.Builder.Compile()
	return fusedExecutable{e, b.owner}, err
}

// fusedExecutable gives results that programs of the stand-in take again.
type fusedExecutable struct {
	compute.Executable
	owner *FusedAttention
}

// Execute implements [compute.Executable].
func (e fusedExecutable) Execute(inputs []compute.Buffer, donate []bool, device compute.DeviceNum) ([]compute.Buffer, error) {
	own := make([]compute.Buffer, len(inputs))
	for i, b := range inputs {
		own[i] = b
		if f, ok := b.(fusedBuffer); ok {
			own[i] = f.Buffer
		}
	}
	out, err := e.Executable.Execute(own, donate, device)
	for i, b := range out {
		out[i] = fusedBuffer{b, e.owner}
	}
	return out, err
}

type fusedBuffer struct {
	compute.Buffer
	owner *FusedAttention
}

// Backend implements [compute.Buffer].
func (b fusedBuffer) Backend() compute.Backend { return b.owner }

type fusedFunction struct {
	compute.Function
	owner *FusedAttention
}

// FusedScaledDotProductAttention implements [compute.Function]; the state for
// the gradient is the logarithm of each softmax's sum, [B, H, S].
func (f fusedFunction) FusedScaledDotProductAttention(query, key, value compute.Value, layout compute.AttentionAxesLayout, options *compute.ScaledDotProductAttentionConfig) (output compute.Value, states []compute.Value, err error) {
	defer catch(&err)
	f.owner.Forward.Add(1)
	a := f.attention(query, key, value, layout, options)
	top := must(f.ReduceMax(a.scores, 3))
	logSum := must(f.Add(top, must(f.Log(must(f.ReduceSum(must(f.Exp(a.minus(a.scores, top))), 3))))))
	out := a.dot(must(f.Exp(a.minus(a.scores, logSum))), 3, a.v, 2) // [B, H, S, D]
	return a.outer(out, a.dtype), []compute.Value{logSum}, nil
}

// FusedScaledDotProductAttentionVJP implements [compute.Function].
func (f fusedFunction) FusedScaledDotProductAttentionVJP(query, key, value compute.Value, layout compute.AttentionAxesLayout, options *compute.ScaledDotProductAttentionConfig, output compute.Value, states []compute.Value, dOutput compute.Value) (dQuery, dKey, dValue compute.Value, err error) {
	defer catch(&err)
	f.owner.Backward.Add(1)
	a := f.attention(query, key, value, layout, options)
	out, dOut := a.inner(output), a.inner(dOutput)
	w := must(f.Exp(a.minus(a.scores, states[0])))
	inner := must(f.ReduceSum(must(f.Mul(out, dOut)), 3))
	dScores := must(f.Mul(w, a.minus(a.dot(dOut, 3, a.v, 3), inner)))
	dScores = must(f.Mul(dScores, must(f.Constant([]float32{float32(a.scale)}))))
	ofHeads := func(x compute.Value) compute.Value { // the sum over the queries of a key head
		x = must(f.Reshape(x, a.b, a.kvHeads, a.h/a.kvHeads, a.s, a.d))
		return a.outer(must(f.ReduceSum(x, 2)), a.dtype)
	}
	return a.outer(a.dot(dScores, 3, a.k, 2), a.dtype), ofHeads(a.dot(dScores, 2, a.q, 2)), ofHeads(a.dot(w, 2, dOut, 2)), nil
}

// attention is what both operations begin with, heads first and in float32.
type attention struct {
	fusedFunction
	dtype      dtypes.DType
	b, s, h, d int
	kvHeads    int
	scale      float64
	q, k, v    compute.Value // [B, H, S, D]
	scores     compute.Value // [B, H, S, S], later keys hidden if causal, or those beyond a length
}

// attention refuses what cuDNN refuses, and what it would compute wrongly.
func (f fusedFunction) attention(query, key, value compute.Value, layout compute.AttentionAxesLayout, options *compute.ScaledDotProductAttentionConfig) attention {
	q, k, v := must(f.Shape(query)), must(f.Shape(key)), must(f.Shape(value))
	if layout != compute.AttentionAxesLayoutBSHD || options.Mask != nil || options.Bias != nil || options.Scale != 0 ||
		(options.QuerySeqLen == nil) != (options.KeyValueSeqLen == nil) || options.Causal && options.QuerySeqLen != nil {
		panic(fmt.Errorf("attention %v %+v, want [B, S, H, D], causal, with lengths of queries and keys, or neither", layout, options))
	}
	if q.Rank() != 4 || !q.DType.IsHalfPrecision() || q.Dim(3)%8 != 0 || q.Dim(3) > 128 {
		panic(fmt.Errorf("queries %s, want 16 bits and heads of 8 to 128 numbers", q))
	}
	want := shapes.Make(q.DType, q.Dim(0), q.Dim(1), k.Dim(2), q.Dim(3))
	if !k.Equal(want) || !v.Equal(want) || q.Dim(2)%k.Dim(2) != 0 {
		panic(fmt.Errorf("queries %s, keys %s, values %s", q, k, v))
	}
	a := attention{fusedFunction: f, dtype: q.DType, b: q.Dim(0), s: q.Dim(1), h: q.Dim(2), d: q.Dim(3), kvHeads: k.Dim(2)}
	a.scale = 1 / math.Sqrt(float64(a.d))
	a.q, a.k, a.v = a.inner(query), a.inner(key), a.inner(value)
	x := must(f.Mul(a.dot(a.q, 3, a.k, 3), must(f.Constant([]float32{float32(a.scale)}))))
	square := shapes.Make(dtypes.Int32, a.b, a.h, a.s, a.s)
	var seen compute.Value
	switch {
	case options.Causal:
		seen = must(f.GreaterOrEqual(must(f.Iota(square, 2)), must(f.Iota(square, 3))))
	case options.KeyValueSeqLen != nil:
		seen = must(f.LessThan(must(f.Iota(square, 3)), must(f.BroadcastInDim(options.KeyValueSeqLen, square, []int{0}))))
	default:
		a.scores = x
		return a
	}
	hidden := must(f.BroadcastInDim(must(f.Constant([]float32{-1e30})), shapes.Make(dtypes.Float32, a.b, a.h, a.s, a.s), nil))
	a.scores = must(f.Where(seen, x, hidden))
	return a
}

// inner makes [B, S, heads, D] [B, H, S, D] in float32, a key head repeated for
// each of its queries' heads.
func (a attention) inner(x compute.Value) compute.Value {
	x = must(a.Transpose(must(a.ConvertDType(x, dtypes.Float32)), 0, 2, 1, 3))
	heads := must(a.Shape(x)).Dim(1)
	x = must(a.Reshape(x, a.b, heads, 1, a.s, a.d))
	x = must(a.BroadcastInDim(x, shapes.Make(dtypes.Float32, a.b, heads, a.h/heads, a.s, a.d), []int{0, 1, 2, 3, 4}))
	return must(a.Reshape(x, a.b, a.h, a.s, a.d))
}

// outer undoes inner, without the repetition.
func (a attention) outer(x compute.Value, dtype dtypes.DType) compute.Value {
	return must(a.Transpose(must(a.ConvertDType(x, dtype)), 0, 2, 1, 3))
}

// dot multiplies x and y over these axes, for each row and head.
func (a attention) dot(x compute.Value, xAxis int, y compute.Value, yAxis int) compute.Value {
	return must(a.DotGeneral(x, []int{xAxis}, []int{0, 1}, y, []int{yAxis}, []int{0, 1}, compute.DotGeneralConfig{}))
}

// minus subtracts y [B, H, S] from x [B, H, S, S].
func (a attention) minus(x, y compute.Value) compute.Value {
	y = must(a.BroadcastInDim(y, shapes.Make(dtypes.Float32, a.b, a.h, a.s, a.s), []int{0, 1, 2}))
	return must(a.Sub(x, y))
}

// must and catch carry an error to the operation that is built.
func must[T any](x T, err error) T {
	if err != nil {
		panic(err)
	}
	return x
}

func catch(err *error) {
	if e, ok := recover().(error); ok {
		*err = fmt.Errorf("fused attention: %w", e)
	}
}
