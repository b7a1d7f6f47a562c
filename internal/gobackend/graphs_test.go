package gobackend_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
)

// randomDot is a product with random axes on both sides.
func randomDot(draw *rand.Rand, dtype dtypes.DType) ([]shapes.Shape, build) {
	var sides [2]struct{ contracted, batch, dims []int }
	type axis struct{ kind, dim int }
	var axes [2][]axis
	for kind := range 2 { // contracted and batch axes are on both sides
		for range draw.IntN(3) {
			d := 1 + draw.IntN(20)
			for s := range axes {
				axes[s] = append(axes[s], axis{kind*10 + len(axes[0]), d})
			}
		}
		axes[0], axes[1] = slices.Clip(axes[0]), slices.Clip(axes[1])
	}
	shared := len(axes[0])
	kinds := make([]int, shared)
	for i := range kinds {
		kinds[i] = axes[0][i].kind / 10
	}
	for s := range axes {
		for i := range axes[s] {
			axes[s][i].kind = i
		}
		for range draw.IntN(3) {
			axes[s] = append(axes[s], axis{-1, 1 + draw.IntN(30)})
		}
		draw.Shuffle(len(axes[s]), func(i, j int) { axes[s][i], axes[s][j] = axes[s][j], axes[s][i] })
		for _, a := range axes[s] {
			sides[s].dims = append(sides[s].dims, a.dim)
		}
		for i, kind := range kinds {
			at := slices.IndexFunc(axes[s], func(a axis) bool { return a.kind == i })
			if kind == 0 {
				sides[s].contracted = append(sides[s].contracted, at)
			} else {
				sides[s].batch = append(sides[s].batch, at)
			}
		}
	}
	config := compute.DotGeneralConfig{}
	if dtype == dtypes.BFloat16 && draw.IntN(2) == 0 {
		config.AccumulatorDType, config.OutputDType = dtypes.Float32, dtypes.Float32
	}
	return []shapes.Shape{shapes.Make(dtype, sides[0].dims...), shapes.Make(dtype, sides[1].dims...)},
		one(func(f compute.Function, x []compute.Value) (compute.Value, error) {
			return f.DotGeneral(x[0], sides[0].contracted, sides[0].batch, x[1], sides[1].contracted, sides[1].batch, config)
		})
}

// TestDotGeneral: random axes, contracted and batched in any order.
func TestDotGeneral(t *testing.T) {
	for seed := range uint64(150) {
		draw := rand.New(rand.NewPCG(seed, 5))
		inputs, graph := randomDot(draw, []dtypes.DType{dtypes.Float32, dtypes.BFloat16}[draw.IntN(2)])
		t.Run(fmt.Sprint(seed, inputs), func(t *testing.T) { same(t, draw, inputs, graph) })
	}
}

// randomGraph makes a graph of operations on arrays that views, memory that is used
// again and results in the place of operands could confuse.
func randomGraph(draw *rand.Rand) ([]shapes.Shape, build) {
	var inputs []shapes.Shape
	for range 1 + draw.IntN(3) {
		dims := make([]int, draw.IntN(4))
		for i := range dims {
			dims[i] = 1 + draw.IntN(6)
		}
		inputs = append(inputs, f32(dims...))
	}
	choices := rand.New(rand.NewPCG(draw.Uint64(), 6))
	seed := choices.Uint64()
	return inputs, func(f compute.Function, x []compute.Value) []compute.Value {
		draw := rand.New(rand.NewPCG(seed, 7)) // the same graph on both backends
		all := slices.Clone(x)
		for range 5 + draw.IntN(25) {
			v := all[draw.IntN(len(all))]
			dims := must(f.Shape(v)).Dimensions
			var r compute.Value
			switch draw.IntN(10) {
			case 0:
				r = must(f.Transpose(v, draw.Perm(len(dims))...))
			case 1:
				to := append(slices.Clone(dims), 1)
				draw.Shuffle(len(to), func(i, j int) { to[i], to[j] = to[j], to[i] })
				r = must(f.Reshape(v, to...))
			case 2:
				starts, limits, steps := make([]int, len(dims)), slices.Clone(dims), make([]int, len(dims))
				for i, d := range dims {
					starts[i], steps[i] = draw.IntN(d), 1+draw.IntN(2)
					limits[i] = starts[i] + 1 + draw.IntN(d-starts[i])
				}
				r = must(f.Slice(v, starts, limits, steps))
			case 3:
				if len(dims) > 3 {
					continue
				}
				to := append([]int{1 + draw.IntN(3)}, dims...)
				axes := make([]int, len(dims))
				for i := range axes {
					axes[i] = i + 1
				}
				r = must(f.BroadcastInDim(v, f32(to...), axes))
			case 4:
				if len(dims) == 0 {
					continue
				}
				r = must(f.ReduceMax(v, draw.IntN(len(dims))))
			case 5:
				if len(dims) == 0 {
					continue
				}
				r = must(f.Concatenate(draw.IntN(len(dims)), v, v))
			case 6:
				r = must(f.Logistic(v))
			case 7:
				r = must(f.Add(v, must(f.Logistic(v))))
			default:
				same := []compute.Value{v}
				for _, w := range all {
					if s := must(f.Shape(w)); slices.Equal(s.Dimensions, dims) || s.Rank() == 0 {
						same = append(same, w)
					}
				}
				w := same[draw.IntN(len(same))]
				if draw.IntN(2) == 0 {
					r = must(f.Sub(v, w))
				} else {
					r = must(f.Max(w, v))
				}
			}
			if must(f.Shape(r)).Size() < 5000 {
				all = append(all, r)
			}
		}
		return all[max(0, len(all)-4):]
	}
}

// TestRandomGraphs: what the backend inside computes.
func TestRandomGraphs(t *testing.T) {
	for seed := range uint64(300) {
		draw := rand.New(rand.NewPCG(seed, 8))
		inputs, graph := randomGraph(draw)
		t.Run(fmt.Sprint(seed), func(t *testing.T) { same(t, draw, inputs, graph) })
	}
}

// FuzzGraphs is TestRandomGraphs with other seeds.
func FuzzGraphs(f *testing.F) {
	f.Add(uint64(1000))
	f.Fuzz(func(t *testing.T, seed uint64) {
		draw := rand.New(rand.NewPCG(seed, 9))
		inputs, graph := randomGraph(draw)
		same(t, draw, inputs, graph)
	})
}
