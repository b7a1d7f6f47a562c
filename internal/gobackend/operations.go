// Made by gen.go; do not edit.

package gobackend

import (
	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
)

// Abs implements [compute.Function].
func (f *function) Abs(a0 compute.Value) (compute.Value, error) {
	r, err := f.record(compute.OpTypeAbs, []compute.Value{a0}, []any{}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.Abs(v[0])
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// Add implements [compute.Function].
func (f *function) Add(a0 compute.Value, a1 compute.Value) (compute.Value, error) {
	r, err := f.record(compute.OpTypeAdd, []compute.Value{a0, a1}, []any{}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.Add(v[0], v[1])
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// ArgMinMax implements [compute.Function].
func (f *function) ArgMinMax(a0 compute.Value, a1 int, a2 dtypes.DType, a3 bool) (compute.Value, error) {
	r, err := f.record(compute.OpTypeArgMinMax, []compute.Value{a0}, []any{a1, a2, a3}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.ArgMinMax(v[0], a1, a2, a3)
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// Atan2 implements [compute.Function].
func (f *function) Atan2(a0 compute.Value, a1 compute.Value) (compute.Value, error) {
	r, err := f.record(compute.OpTypeAtan2, []compute.Value{a0, a1}, []any{}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.Atan2(v[0], v[1])
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// BatchNormForInference implements [compute.Function].
func (f *function) BatchNormForInference(a0 compute.Value, a1 compute.Value, a2 compute.Value, a3 compute.Value, a4 compute.Value, a5 float32, a6 int) (compute.Value, error) {
	r, err := f.record(compute.OpTypeBatchNormForInference, []compute.Value{a0, a1, a2, a3, a4}, []any{a5, a6}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.BatchNormForInference(v[0], v[1], v[2], v[3], v[4], a5, a6)
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// BatchNormForTraining implements [compute.Function].
func (f *function) BatchNormForTraining(a0 compute.Value, a1 compute.Value, a2 compute.Value, a3 float32, a4 int) (compute.Value, compute.Value, compute.Value, error) {
	r, err := f.record(compute.OpTypeBatchNormForTraining, []compute.Value{a0, a1, a2}, []any{a3, a4}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, r1, r2, err := g.BatchNormForTraining(v[0], v[1], v[2], a3, a4)
		return []compute.Value{r0, r1, r2}, err
	})
	if err != nil {
		return nil, nil, nil, err
	}
	return r[0], r[1], r[2], nil
}

// BatchNormGradient implements [compute.Function].
func (f *function) BatchNormGradient(a0 compute.Value, a1 compute.Value, a2 compute.Value, a3 compute.Value, a4 compute.Value, a5 float32, a6 int) (compute.Value, compute.Value, compute.Value, error) {
	r, err := f.record(compute.OpTypeBatchNormGradient, []compute.Value{a0, a1, a2, a3, a4}, []any{a5, a6}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, r1, r2, err := g.BatchNormGradient(v[0], v[1], v[2], v[3], v[4], a5, a6)
		return []compute.Value{r0, r1, r2}, err
	})
	if err != nil {
		return nil, nil, nil, err
	}
	return r[0], r[1], r[2], nil
}

// BitCount implements [compute.Function].
func (f *function) BitCount(a0 compute.Value) (compute.Value, error) {
	r, err := f.record(compute.OpTypeBitCount, []compute.Value{a0}, []any{}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.BitCount(v[0])
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// Bitcast implements [compute.Function].
func (f *function) Bitcast(a0 compute.Value, a1 dtypes.DType) (compute.Value, error) {
	r, err := f.record(compute.OpTypeBitcast, []compute.Value{a0}, []any{a1}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.Bitcast(v[0], a1)
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// BitwiseAnd implements [compute.Function].
func (f *function) BitwiseAnd(a0 compute.Value, a1 compute.Value) (compute.Value, error) {
	r, err := f.record(compute.OpTypeBitwiseAnd, []compute.Value{a0, a1}, []any{}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.BitwiseAnd(v[0], v[1])
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// BitwiseNot implements [compute.Function].
func (f *function) BitwiseNot(a0 compute.Value) (compute.Value, error) {
	r, err := f.record(compute.OpTypeBitwiseNot, []compute.Value{a0}, []any{}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.BitwiseNot(v[0])
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// BitwiseOr implements [compute.Function].
func (f *function) BitwiseOr(a0 compute.Value, a1 compute.Value) (compute.Value, error) {
	r, err := f.record(compute.OpTypeBitwiseOr, []compute.Value{a0, a1}, []any{}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.BitwiseOr(v[0], v[1])
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// BitwiseXor implements [compute.Function].
func (f *function) BitwiseXor(a0 compute.Value, a1 compute.Value) (compute.Value, error) {
	r, err := f.record(compute.OpTypeBitwiseXor, []compute.Value{a0, a1}, []any{}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.BitwiseXor(v[0], v[1])
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// BroadcastInDim implements [compute.Function].
func (f *function) BroadcastInDim(a0 compute.Value, a1 shapes.Shape, a2 []int) (compute.Value, error) {
	r, err := f.record(compute.OpTypeBroadcastInDim, []compute.Value{a0}, []any{a1, a2}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.BroadcastInDim(v[0], a1, a2)
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// Ceil implements [compute.Function].
func (f *function) Ceil(a0 compute.Value) (compute.Value, error) {
	r, err := f.record(compute.OpTypeCeil, []compute.Value{a0}, []any{}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.Ceil(v[0])
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// Clamp implements [compute.Function].
func (f *function) Clamp(a0 compute.Value, a1 compute.Value, a2 compute.Value) (compute.Value, error) {
	r, err := f.record(compute.OpTypeClamp, []compute.Value{a0, a1, a2}, []any{}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.Clamp(v[0], v[1], v[2])
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// Clz implements [compute.Function].
func (f *function) Clz(a0 compute.Value) (compute.Value, error) {
	r, err := f.record(compute.OpTypeClz, []compute.Value{a0}, []any{}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.Clz(v[0])
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// Complex implements [compute.Function].
func (f *function) Complex(a0 compute.Value, a1 compute.Value) (compute.Value, error) {
	r, err := f.record(compute.OpTypeComplex, []compute.Value{a0, a1}, []any{}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.Complex(v[0], v[1])
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// Concatenate implements [compute.Function].
func (f *function) Concatenate(a0 int, a1 ...compute.Value) (compute.Value, error) {
	r, err := f.record(compute.OpTypeConcatenate, append([]compute.Value{}, a1...), []any{a0}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.Concatenate(a0, v[0:]...)
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// Conj implements [compute.Function].
func (f *function) Conj(a0 compute.Value) (compute.Value, error) {
	r, err := f.record(compute.OpTypeConj, []compute.Value{a0}, []any{}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.Conj(v[0])
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// ConvGeneral implements [compute.Function].
func (f *function) ConvGeneral(a0 compute.Value, a1 compute.Value, a2 compute.ConvolveAxesConfig, a3 []int, a4 [][2]int, a5 []int, a6 []int, a7 int, a8 int) (compute.Value, error) {
	r, err := f.record(compute.OpTypeConvGeneral, []compute.Value{a0, a1}, []any{a2, a3, a4, a5, a6, a7, a8}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.ConvGeneral(v[0], v[1], a2, a3, a4, a5, a6, a7, a8)
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// ConvertDType implements [compute.Function].
func (f *function) ConvertDType(a0 compute.Value, a1 dtypes.DType) (compute.Value, error) {
	r, err := f.record(compute.OpTypeConvertDType, []compute.Value{a0}, []any{a1}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.ConvertDType(v[0], a1)
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// Cos implements [compute.Function].
func (f *function) Cos(a0 compute.Value) (compute.Value, error) {
	r, err := f.record(compute.OpTypeCos, []compute.Value{a0}, []any{}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.Cos(v[0])
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// CumSum implements [compute.Function].
func (f *function) CumSum(a0 compute.Value, a1 int, a2 compute.CumSumOptions) (compute.Value, error) {
	r, err := f.record(compute.OpTypeCumSum, []compute.Value{a0}, []any{a1, a2}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.CumSum(v[0], a1, a2)
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// Div implements [compute.Function].
func (f *function) Div(a0 compute.Value, a1 compute.Value) (compute.Value, error) {
	r, err := f.record(compute.OpTypeDiv, []compute.Value{a0, a1}, []any{}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.Div(v[0], v[1])
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// DotGeneral implements [compute.Function].
func (f *function) DotGeneral(a0 compute.Value, a1 []int, a2 []int, a3 compute.Value, a4 []int, a5 []int, a6 compute.DotGeneralConfig) (compute.Value, error) {
	r, err := f.record(compute.OpTypeDotGeneral, []compute.Value{a0, a3}, []any{a1, a2, a4, a5, a6}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.DotGeneral(v[0], a1, a2, v[1], a4, a5, a6)
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// DynamicShape implements [compute.Function].
func (f *function) DynamicShape(a0 compute.Value) (compute.Value, error) {
	r, err := f.record(compute.OpTypeDynamicShape, []compute.Value{a0}, []any{}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.DynamicShape(v[0])
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// DynamicSlice implements [compute.Function].
func (f *function) DynamicSlice(a0 compute.Value, a1 []compute.Value, a2 []int) (compute.Value, error) {
	r, err := f.record(compute.OpTypeDynamicSlice, append([]compute.Value{a0}, a1...), []any{a2}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.DynamicSlice(v[0], v[1:], a2)
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// DynamicUpdateSlice implements [compute.Function].
func (f *function) DynamicUpdateSlice(a0 compute.Value, a1 compute.Value, a2 []compute.Value) (compute.Value, error) {
	r, err := f.record(compute.OpTypeDynamicUpdateSlice, append([]compute.Value{a0, a1}, a2...), []any{}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.DynamicUpdateSlice(v[0], v[1], v[2:])
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// Equal implements [compute.Function].
func (f *function) Equal(a0 compute.Value, a1 compute.Value) (compute.Value, error) {
	r, err := f.record(compute.OpTypeEqual, []compute.Value{a0, a1}, []any{}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.Equal(v[0], v[1])
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// EqualTotalOrder implements [compute.Function].
func (f *function) EqualTotalOrder(a0 compute.Value, a1 compute.Value) (compute.Value, error) {
	r, err := f.record(compute.OpTypeEqualTotalOrder, []compute.Value{a0, a1}, []any{}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.EqualTotalOrder(v[0], v[1])
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// Erf implements [compute.Function].
func (f *function) Erf(a0 compute.Value) (compute.Value, error) {
	r, err := f.record(compute.OpTypeErf, []compute.Value{a0}, []any{}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.Erf(v[0])
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// Exp implements [compute.Function].
func (f *function) Exp(a0 compute.Value) (compute.Value, error) {
	r, err := f.record(compute.OpTypeExp, []compute.Value{a0}, []any{}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.Exp(v[0])
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// Expm1 implements [compute.Function].
func (f *function) Expm1(a0 compute.Value) (compute.Value, error) {
	r, err := f.record(compute.OpTypeExpm1, []compute.Value{a0}, []any{}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.Expm1(v[0])
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// FFT implements [compute.Function].
func (f *function) FFT(a0 compute.Value, a1 compute.FFTType, a2 []int) (compute.Value, error) {
	r, err := f.record(compute.OpTypeFFT, []compute.Value{a0}, []any{a1, a2}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.FFT(v[0], a1, a2)
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// Floor implements [compute.Function].
func (f *function) Floor(a0 compute.Value) (compute.Value, error) {
	r, err := f.record(compute.OpTypeFloor, []compute.Value{a0}, []any{}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.Floor(v[0])
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// Gather implements [compute.Function].
func (f *function) Gather(a0 compute.Value, a1 compute.Value, a2 int, a3 []int, a4 []int, a5 []int, a6 []int, a7 bool) (compute.Value, error) {
	r, err := f.record(compute.OpTypeGather, []compute.Value{a0, a1}, []any{a2, a3, a4, a5, a6, a7}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.Gather(v[0], v[1], a2, a3, a4, a5, a6, a7)
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// GreaterOrEqual implements [compute.Function].
func (f *function) GreaterOrEqual(a0 compute.Value, a1 compute.Value) (compute.Value, error) {
	r, err := f.record(compute.OpTypeGreaterOrEqual, []compute.Value{a0, a1}, []any{}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.GreaterOrEqual(v[0], v[1])
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// GreaterOrEqualTotalOrder implements [compute.Function].
func (f *function) GreaterOrEqualTotalOrder(a0 compute.Value, a1 compute.Value) (compute.Value, error) {
	r, err := f.record(compute.OpTypeGreaterOrEqualTotalOrder, []compute.Value{a0, a1}, []any{}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.GreaterOrEqualTotalOrder(v[0], v[1])
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// GreaterThan implements [compute.Function].
func (f *function) GreaterThan(a0 compute.Value, a1 compute.Value) (compute.Value, error) {
	r, err := f.record(compute.OpTypeGreaterThan, []compute.Value{a0, a1}, []any{}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.GreaterThan(v[0], v[1])
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// GreaterThanTotalOrder implements [compute.Function].
func (f *function) GreaterThanTotalOrder(a0 compute.Value, a1 compute.Value) (compute.Value, error) {
	r, err := f.record(compute.OpTypeGreaterThanTotalOrder, []compute.Value{a0, a1}, []any{}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.GreaterThanTotalOrder(v[0], v[1])
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// Identity implements [compute.Function].
func (f *function) Identity(a0 compute.Value) (compute.Value, error) {
	r, err := f.record(compute.OpTypeIdentity, []compute.Value{a0}, []any{}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.Identity(v[0])
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// Imag implements [compute.Function].
func (f *function) Imag(a0 compute.Value) (compute.Value, error) {
	r, err := f.record(compute.OpTypeImag, []compute.Value{a0}, []any{}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.Imag(v[0])
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// Iota implements [compute.Function].
func (f *function) Iota(a0 shapes.Shape, a1 int) (compute.Value, error) {
	r, err := f.record(compute.OpTypeIota, []compute.Value{}, []any{a0, a1}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.Iota(a0, a1)
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// IsFinite implements [compute.Function].
func (f *function) IsFinite(a0 compute.Value) (compute.Value, error) {
	r, err := f.record(compute.OpTypeIsFinite, []compute.Value{a0}, []any{}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.IsFinite(v[0])
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// IsNaN implements [compute.Function].
func (f *function) IsNaN(a0 compute.Value) (compute.Value, error) {
	r, err := f.record(compute.OpTypeIsNaN, []compute.Value{a0}, []any{}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.IsNaN(v[0])
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// LessOrEqual implements [compute.Function].
func (f *function) LessOrEqual(a0 compute.Value, a1 compute.Value) (compute.Value, error) {
	r, err := f.record(compute.OpTypeLessOrEqual, []compute.Value{a0, a1}, []any{}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.LessOrEqual(v[0], v[1])
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// LessOrEqualTotalOrder implements [compute.Function].
func (f *function) LessOrEqualTotalOrder(a0 compute.Value, a1 compute.Value) (compute.Value, error) {
	r, err := f.record(compute.OpTypeLessOrEqualTotalOrder, []compute.Value{a0, a1}, []any{}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.LessOrEqualTotalOrder(v[0], v[1])
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// LessThan implements [compute.Function].
func (f *function) LessThan(a0 compute.Value, a1 compute.Value) (compute.Value, error) {
	r, err := f.record(compute.OpTypeLessThan, []compute.Value{a0, a1}, []any{}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.LessThan(v[0], v[1])
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// LessThanTotalOrder implements [compute.Function].
func (f *function) LessThanTotalOrder(a0 compute.Value, a1 compute.Value) (compute.Value, error) {
	r, err := f.record(compute.OpTypeLessThanTotalOrder, []compute.Value{a0, a1}, []any{}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.LessThanTotalOrder(v[0], v[1])
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// Log implements [compute.Function].
func (f *function) Log(a0 compute.Value) (compute.Value, error) {
	r, err := f.record(compute.OpTypeLog, []compute.Value{a0}, []any{}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.Log(v[0])
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// Log1p implements [compute.Function].
func (f *function) Log1p(a0 compute.Value) (compute.Value, error) {
	r, err := f.record(compute.OpTypeLog1p, []compute.Value{a0}, []any{}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.Log1p(v[0])
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// LogicalAnd implements [compute.Function].
func (f *function) LogicalAnd(a0 compute.Value, a1 compute.Value) (compute.Value, error) {
	r, err := f.record(compute.OpTypeLogicalAnd, []compute.Value{a0, a1}, []any{}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.LogicalAnd(v[0], v[1])
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// LogicalNot implements [compute.Function].
func (f *function) LogicalNot(a0 compute.Value) (compute.Value, error) {
	r, err := f.record(compute.OpTypeLogicalNot, []compute.Value{a0}, []any{}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.LogicalNot(v[0])
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// LogicalOr implements [compute.Function].
func (f *function) LogicalOr(a0 compute.Value, a1 compute.Value) (compute.Value, error) {
	r, err := f.record(compute.OpTypeLogicalOr, []compute.Value{a0, a1}, []any{}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.LogicalOr(v[0], v[1])
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// LogicalXor implements [compute.Function].
func (f *function) LogicalXor(a0 compute.Value, a1 compute.Value) (compute.Value, error) {
	r, err := f.record(compute.OpTypeLogicalXor, []compute.Value{a0, a1}, []any{}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.LogicalXor(v[0], v[1])
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// Logistic implements [compute.Function].
func (f *function) Logistic(a0 compute.Value) (compute.Value, error) {
	r, err := f.record(compute.OpTypeLogistic, []compute.Value{a0}, []any{}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.Logistic(v[0])
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// Max implements [compute.Function].
func (f *function) Max(a0 compute.Value, a1 compute.Value) (compute.Value, error) {
	r, err := f.record(compute.OpTypeMax, []compute.Value{a0, a1}, []any{}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.Max(v[0], v[1])
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// Min implements [compute.Function].
func (f *function) Min(a0 compute.Value, a1 compute.Value) (compute.Value, error) {
	r, err := f.record(compute.OpTypeMin, []compute.Value{a0, a1}, []any{}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.Min(v[0], v[1])
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// Mul implements [compute.Function].
func (f *function) Mul(a0 compute.Value, a1 compute.Value) (compute.Value, error) {
	r, err := f.record(compute.OpTypeMul, []compute.Value{a0, a1}, []any{}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.Mul(v[0], v[1])
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// Neg implements [compute.Function].
func (f *function) Neg(a0 compute.Value) (compute.Value, error) {
	r, err := f.record(compute.OpTypeNeg, []compute.Value{a0}, []any{}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.Neg(v[0])
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// NotEqual implements [compute.Function].
func (f *function) NotEqual(a0 compute.Value, a1 compute.Value) (compute.Value, error) {
	r, err := f.record(compute.OpTypeNotEqual, []compute.Value{a0, a1}, []any{}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.NotEqual(v[0], v[1])
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// NotEqualTotalOrder implements [compute.Function].
func (f *function) NotEqualTotalOrder(a0 compute.Value, a1 compute.Value) (compute.Value, error) {
	r, err := f.record(compute.OpTypeNotEqualTotalOrder, []compute.Value{a0, a1}, []any{}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.NotEqualTotalOrder(v[0], v[1])
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// OptimizationBarrier implements [compute.Function].
func (f *function) OptimizationBarrier(a0 ...compute.Value) ([]compute.Value, error) {
	r, err := f.record(compute.OpTypeOptimizationBarrier, append([]compute.Value{}, a0...), []any{}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		return g.OptimizationBarrier(v[0:]...)
	})
	return r, err
}

// Pad implements [compute.Function].
func (f *function) Pad(a0 compute.Value, a1 compute.Value, a2 ...compute.PadAxis) (compute.Value, error) {
	r, err := f.record(compute.OpTypePad, []compute.Value{a0, a1}, []any{a2}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.Pad(v[0], v[1], a2...)
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// Pow implements [compute.Function].
func (f *function) Pow(a0 compute.Value, a1 compute.Value) (compute.Value, error) {
	r, err := f.record(compute.OpTypePow, []compute.Value{a0, a1}, []any{}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.Pow(v[0], v[1])
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// RNGBitGenerator implements [compute.Function].
func (f *function) RNGBitGenerator(a0 compute.Value, a1 shapes.Shape) (compute.Value, compute.Value, error) {
	r, err := f.record(compute.OpTypeRNGBitGenerator, []compute.Value{a0}, []any{a1}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, r1, err := g.RNGBitGenerator(v[0], a1)
		return []compute.Value{r0, r1}, err
	})
	if err != nil {
		return nil, nil, err
	}
	return r[0], r[1], nil
}

// Real implements [compute.Function].
func (f *function) Real(a0 compute.Value) (compute.Value, error) {
	r, err := f.record(compute.OpTypeReal, []compute.Value{a0}, []any{}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.Real(v[0])
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// ReduceBitwiseAnd implements [compute.Function].
func (f *function) ReduceBitwiseAnd(a0 compute.Value, a1 ...int) (compute.Value, error) {
	r, err := f.record(compute.OpTypeReduceBitwiseAnd, []compute.Value{a0}, []any{a1}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.ReduceBitwiseAnd(v[0], a1...)
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// ReduceBitwiseOr implements [compute.Function].
func (f *function) ReduceBitwiseOr(a0 compute.Value, a1 ...int) (compute.Value, error) {
	r, err := f.record(compute.OpTypeReduceBitwiseOr, []compute.Value{a0}, []any{a1}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.ReduceBitwiseOr(v[0], a1...)
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// ReduceBitwiseXor implements [compute.Function].
func (f *function) ReduceBitwiseXor(a0 compute.Value, a1 ...int) (compute.Value, error) {
	r, err := f.record(compute.OpTypeReduceBitwiseXor, []compute.Value{a0}, []any{a1}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.ReduceBitwiseXor(v[0], a1...)
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// ReduceLogicalAnd implements [compute.Function].
func (f *function) ReduceLogicalAnd(a0 compute.Value, a1 ...int) (compute.Value, error) {
	r, err := f.record(compute.OpTypeReduceLogicalAnd, []compute.Value{a0}, []any{a1}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.ReduceLogicalAnd(v[0], a1...)
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// ReduceLogicalOr implements [compute.Function].
func (f *function) ReduceLogicalOr(a0 compute.Value, a1 ...int) (compute.Value, error) {
	r, err := f.record(compute.OpTypeReduceLogicalOr, []compute.Value{a0}, []any{a1}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.ReduceLogicalOr(v[0], a1...)
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// ReduceLogicalXor implements [compute.Function].
func (f *function) ReduceLogicalXor(a0 compute.Value, a1 ...int) (compute.Value, error) {
	r, err := f.record(compute.OpTypeReduceLogicalXor, []compute.Value{a0}, []any{a1}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.ReduceLogicalXor(v[0], a1...)
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// ReduceMax implements [compute.Function].
func (f *function) ReduceMax(a0 compute.Value, a1 ...int) (compute.Value, error) {
	r, err := f.record(compute.OpTypeReduceMax, []compute.Value{a0}, []any{a1}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.ReduceMax(v[0], a1...)
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// ReduceMin implements [compute.Function].
func (f *function) ReduceMin(a0 compute.Value, a1 ...int) (compute.Value, error) {
	r, err := f.record(compute.OpTypeReduceMin, []compute.Value{a0}, []any{a1}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.ReduceMin(v[0], a1...)
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// ReduceProduct implements [compute.Function].
func (f *function) ReduceProduct(a0 compute.Value, a1 ...int) (compute.Value, error) {
	r, err := f.record(compute.OpTypeReduceProduct, []compute.Value{a0}, []any{a1}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.ReduceProduct(v[0], a1...)
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// ReduceSum implements [compute.Function].
func (f *function) ReduceSum(a0 compute.Value, a1 ...int) (compute.Value, error) {
	r, err := f.record(compute.OpTypeReduceSum, []compute.Value{a0}, []any{a1}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.ReduceSum(v[0], a1...)
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// ReduceWindow implements [compute.Function].
func (f *function) ReduceWindow(a0 compute.Value, a1 compute.ReduceOpType, a2 []int, a3 []int, a4 []int, a5 []int, a6 [][2]int) (compute.Value, error) {
	r, err := f.record(compute.OpTypeReduceWindow, []compute.Value{a0}, []any{a1, a2, a3, a4, a5, a6}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.ReduceWindow(v[0], a1, a2, a3, a4, a5, a6)
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// Rem implements [compute.Function].
func (f *function) Rem(a0 compute.Value, a1 compute.Value) (compute.Value, error) {
	r, err := f.record(compute.OpTypeRem, []compute.Value{a0, a1}, []any{}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.Rem(v[0], v[1])
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// Reshape implements [compute.Function].
func (f *function) Reshape(a0 compute.Value, a1 ...int) (compute.Value, error) {
	r, err := f.record(compute.OpTypeReshape, []compute.Value{a0}, []any{a1}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.Reshape(v[0], a1...)
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// Reverse implements [compute.Function].
func (f *function) Reverse(a0 compute.Value, a1 ...int) (compute.Value, error) {
	r, err := f.record(compute.OpTypeReverse, []compute.Value{a0}, []any{a1}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.Reverse(v[0], a1...)
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// Round implements [compute.Function].
func (f *function) Round(a0 compute.Value) (compute.Value, error) {
	r, err := f.record(compute.OpTypeRound, []compute.Value{a0}, []any{}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.Round(v[0])
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// Rsqrt implements [compute.Function].
func (f *function) Rsqrt(a0 compute.Value) (compute.Value, error) {
	r, err := f.record(compute.OpTypeRsqrt, []compute.Value{a0}, []any{}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.Rsqrt(v[0])
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// ScatterMax implements [compute.Function].
func (f *function) ScatterMax(a0 compute.Value, a1 compute.Value, a2 compute.Value, a3 int, a4 []int, a5 []int, a6 []int, a7 bool, a8 bool) (compute.Value, error) {
	r, err := f.record(compute.OpTypeScatterMax, []compute.Value{a0, a1, a2}, []any{a3, a4, a5, a6, a7, a8}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.ScatterMax(v[0], v[1], v[2], a3, a4, a5, a6, a7, a8)
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// ScatterMin implements [compute.Function].
func (f *function) ScatterMin(a0 compute.Value, a1 compute.Value, a2 compute.Value, a3 int, a4 []int, a5 []int, a6 []int, a7 bool, a8 bool) (compute.Value, error) {
	r, err := f.record(compute.OpTypeScatterMin, []compute.Value{a0, a1, a2}, []any{a3, a4, a5, a6, a7, a8}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.ScatterMin(v[0], v[1], v[2], a3, a4, a5, a6, a7, a8)
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// ScatterSum implements [compute.Function].
func (f *function) ScatterSum(a0 compute.Value, a1 compute.Value, a2 compute.Value, a3 int, a4 []int, a5 []int, a6 []int, a7 bool, a8 bool) (compute.Value, error) {
	r, err := f.record(compute.OpTypeScatterSum, []compute.Value{a0, a1, a2}, []any{a3, a4, a5, a6, a7, a8}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.ScatterSum(v[0], v[1], v[2], a3, a4, a5, a6, a7, a8)
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// SchedulingBarrier implements [compute.Function].
func (f *function) SchedulingBarrier(a0 compute.Value, a1 ...compute.Value) (compute.Value, error) {
	r, err := f.record(compute.OpTypeSchedulingBarrier, append([]compute.Value{a0}, a1...), []any{}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.SchedulingBarrier(v[0], v[1:]...)
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// SelectAndScatterMax implements [compute.Function].
func (f *function) SelectAndScatterMax(a0 compute.Value, a1 compute.Value, a2 []int, a3 []int, a4 [][2]int) (compute.Value, error) {
	r, err := f.record(compute.OpTypeSelectAndScatterMax, []compute.Value{a0, a1}, []any{a2, a3, a4}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.SelectAndScatterMax(v[0], v[1], a2, a3, a4)
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// SelectAndScatterMin implements [compute.Function].
func (f *function) SelectAndScatterMin(a0 compute.Value, a1 compute.Value, a2 []int, a3 []int, a4 [][2]int) (compute.Value, error) {
	r, err := f.record(compute.OpTypeSelectAndScatterMin, []compute.Value{a0, a1}, []any{a2, a3, a4}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.SelectAndScatterMin(v[0], v[1], a2, a3, a4)
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// ShiftLeft implements [compute.Function].
func (f *function) ShiftLeft(a0 compute.Value, a1 compute.Value) (compute.Value, error) {
	r, err := f.record(compute.OpTypeShiftLeft, []compute.Value{a0, a1}, []any{}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.ShiftLeft(v[0], v[1])
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// ShiftRightArithmetic implements [compute.Function].
func (f *function) ShiftRightArithmetic(a0 compute.Value, a1 compute.Value) (compute.Value, error) {
	r, err := f.record(compute.OpTypeShiftRightArithmetic, []compute.Value{a0, a1}, []any{}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.ShiftRightArithmetic(v[0], v[1])
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// ShiftRightLogical implements [compute.Function].
func (f *function) ShiftRightLogical(a0 compute.Value, a1 compute.Value) (compute.Value, error) {
	r, err := f.record(compute.OpTypeShiftRightLogical, []compute.Value{a0, a1}, []any{}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.ShiftRightLogical(v[0], v[1])
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// Sign implements [compute.Function].
func (f *function) Sign(a0 compute.Value) (compute.Value, error) {
	r, err := f.record(compute.OpTypeSign, []compute.Value{a0}, []any{}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.Sign(v[0])
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// Sin implements [compute.Function].
func (f *function) Sin(a0 compute.Value) (compute.Value, error) {
	r, err := f.record(compute.OpTypeSin, []compute.Value{a0}, []any{}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.Sin(v[0])
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// Slice implements [compute.Function].
func (f *function) Slice(a0 compute.Value, a1 []int, a2 []int, a3 []int) (compute.Value, error) {
	r, err := f.record(compute.OpTypeSlice, []compute.Value{a0}, []any{a1, a2, a3}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.Slice(v[0], a1, a2, a3)
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// Sqrt implements [compute.Function].
func (f *function) Sqrt(a0 compute.Value) (compute.Value, error) {
	r, err := f.record(compute.OpTypeSqrt, []compute.Value{a0}, []any{}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.Sqrt(v[0])
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// Sub implements [compute.Function].
func (f *function) Sub(a0 compute.Value, a1 compute.Value) (compute.Value, error) {
	r, err := f.record(compute.OpTypeSub, []compute.Value{a0, a1}, []any{}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.Sub(v[0], v[1])
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// Tanh implements [compute.Function].
func (f *function) Tanh(a0 compute.Value) (compute.Value, error) {
	r, err := f.record(compute.OpTypeTanh, []compute.Value{a0}, []any{}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.Tanh(v[0])
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// Transpose implements [compute.Function].
func (f *function) Transpose(a0 compute.Value, a1 ...int) (compute.Value, error) {
	r, err := f.record(compute.OpTypeTranspose, []compute.Value{a0}, []any{a1}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.Transpose(v[0], a1...)
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// Where implements [compute.Function].
func (f *function) Where(a0 compute.Value, a1 compute.Value, a2 compute.Value) (compute.Value, error) {
	r, err := f.record(compute.OpTypeWhere, []compute.Value{a0, a1, a2}, []any{}, func(g compute.Function, v []compute.Value) ([]compute.Value, error) {
		r0, err := g.Where(v[0], v[1], v[2])
		return []compute.Value{r0}, err
	})
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

// recorded reports whether graphs may have the operation.
func recorded(op compute.OpType) bool {
	switch op {
	case compute.OpTypeParameter, compute.OpTypeConstant,
		compute.OpTypeAbs,
		compute.OpTypeAdd,
		compute.OpTypeArgMinMax,
		compute.OpTypeAtan2,
		compute.OpTypeBatchNormForInference,
		compute.OpTypeBatchNormForTraining,
		compute.OpTypeBatchNormGradient,
		compute.OpTypeBitCount,
		compute.OpTypeBitcast,
		compute.OpTypeBitwiseAnd,
		compute.OpTypeBitwiseNot,
		compute.OpTypeBitwiseOr,
		compute.OpTypeBitwiseXor,
		compute.OpTypeBroadcastInDim,
		compute.OpTypeCeil,
		compute.OpTypeClamp,
		compute.OpTypeClz,
		compute.OpTypeComplex,
		compute.OpTypeConcatenate,
		compute.OpTypeConj,
		compute.OpTypeConvGeneral,
		compute.OpTypeConvertDType,
		compute.OpTypeCos,
		compute.OpTypeCumSum,
		compute.OpTypeDiv,
		compute.OpTypeDotGeneral,
		compute.OpTypeDynamicShape,
		compute.OpTypeDynamicSlice,
		compute.OpTypeDynamicUpdateSlice,
		compute.OpTypeEqual,
		compute.OpTypeEqualTotalOrder,
		compute.OpTypeErf,
		compute.OpTypeExp,
		compute.OpTypeExpm1,
		compute.OpTypeFFT,
		compute.OpTypeFloor,
		compute.OpTypeGather,
		compute.OpTypeGreaterOrEqual,
		compute.OpTypeGreaterOrEqualTotalOrder,
		compute.OpTypeGreaterThan,
		compute.OpTypeGreaterThanTotalOrder,
		compute.OpTypeIdentity,
		compute.OpTypeImag,
		compute.OpTypeIota,
		compute.OpTypeIsFinite,
		compute.OpTypeIsNaN,
		compute.OpTypeLessOrEqual,
		compute.OpTypeLessOrEqualTotalOrder,
		compute.OpTypeLessThan,
		compute.OpTypeLessThanTotalOrder,
		compute.OpTypeLog,
		compute.OpTypeLog1p,
		compute.OpTypeLogicalAnd,
		compute.OpTypeLogicalNot,
		compute.OpTypeLogicalOr,
		compute.OpTypeLogicalXor,
		compute.OpTypeLogistic,
		compute.OpTypeMax,
		compute.OpTypeMin,
		compute.OpTypeMul,
		compute.OpTypeNeg,
		compute.OpTypeNotEqual,
		compute.OpTypeNotEqualTotalOrder,
		compute.OpTypeOptimizationBarrier,
		compute.OpTypePad,
		compute.OpTypePow,
		compute.OpTypeRNGBitGenerator,
		compute.OpTypeReal,
		compute.OpTypeReduceBitwiseAnd,
		compute.OpTypeReduceBitwiseOr,
		compute.OpTypeReduceBitwiseXor,
		compute.OpTypeReduceLogicalAnd,
		compute.OpTypeReduceLogicalOr,
		compute.OpTypeReduceLogicalXor,
		compute.OpTypeReduceMax,
		compute.OpTypeReduceMin,
		compute.OpTypeReduceProduct,
		compute.OpTypeReduceSum,
		compute.OpTypeReduceWindow,
		compute.OpTypeRem,
		compute.OpTypeReshape,
		compute.OpTypeReverse,
		compute.OpTypeRound,
		compute.OpTypeRsqrt,
		compute.OpTypeScatterMax,
		compute.OpTypeScatterMin,
		compute.OpTypeScatterSum,
		compute.OpTypeSchedulingBarrier,
		compute.OpTypeSelectAndScatterMax,
		compute.OpTypeSelectAndScatterMin,
		compute.OpTypeShiftLeft,
		compute.OpTypeShiftRightArithmetic,
		compute.OpTypeShiftRightLogical,
		compute.OpTypeSign,
		compute.OpTypeSin,
		compute.OpTypeSlice,
		compute.OpTypeSqrt,
		compute.OpTypeSub,
		compute.OpTypeTanh,
		compute.OpTypeTranspose,
		compute.OpTypeWhere:
		return true
	}
	return false
}
