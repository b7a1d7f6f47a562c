//go:build linux && cgo && !noxla

package xlaplugin_test

import (
	"slices"
	"testing"

	"github.com/gomlx/compute"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/impulse-salamandra/finetune/internal/donation"
	"github.com/impulse-salamandra/finetune/salamandra/salamandratest"
)

// vector is a tensor that XLA has made: 0, 1, ... n-1 and what is added to it.
func vector(t *testing.T, b compute.Backend, n int, plus float64) *tensors.Tensor {
	t.Helper()
	exec, err := NewExec(b, func(x *Node) *Node { return AddScalar(x, plus) })
	if err != nil {
		t.Fatal(err)
	}
	defer exec.Finalize()
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(i)
	}
	out, err := exec.Call1(x)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func values(t *testing.T, x *tensors.Tensor) []float32 {
	t.Helper()
	v, err := tensors.CopyFlatData[float32](x)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestResultsLieInWhatIsGivenUp: of programs that are given up their first two of three
// arguments, results lie where these were, as often as there are results of their
// shape; and where they are not given up at a call, they stay as they were. The results
// are the same. The second compilation is read from disk.
func TestResultsLieInWhatIsGivenUp(t *testing.T) {
	b := backend(t)
	const n = 5000
	for _, row := range []struct {
		name  string
		reuse int // how many results lie in arguments
		f     func(x, y, z *Node) []*Node
	}{
		{"both", 2, func(x, y, z *Node) []*Node { return []*Node{Add(x, z), Mul(y, z)} }},
		{"each needs the other", 2, func(x, y, z *Node) []*Node { return []*Node{Mul(Add(x, y), z), Sub(x, y)} }},
		{"reversed", 1, func(x, y, z *Node) []*Node { return []*Node{Add(Reverse(x, 0), z)} }},
		{"more results than arguments", 2, func(x, y, z *Node) []*Node { return []*Node{Add(x, z), Mul(y, z), Add(x, y)} }},
		{"as they are, changed over", 2, func(x, y, z *Node) []*Node { return []*Node{y, x, Add(x, z)} }},
		{"one twice", 2, func(x, y, z *Node) []*Node { return []*Node{x, x} }},
		{"no result of the shape", 0, func(x, y, z *Node) []*Node { return []*Node{ReduceAllSum(Add(x, y))} }},
	} {
		for _, from := range []string{"compiled", "from disk"} {
			t.Run(row.name+", "+from, func(t *testing.T) {
				exec, err := NewExec(b, row.f)
				if err != nil {
					t.Fatal(err)
				}
				defer exec.Finalize()
				exec.WithName(donation.Name("test", 0, 2))
				x, y, z := vector(t, b, n, 1), vector(t, b, n, 2), vector(t, b, n, 3)
				want, err := exec.Call(x, y, z)
				if err != nil {
					t.Fatal(err)
				}
				for i, v := range []*tensors.Tensor{x, y, z} {
					if !slices.Equal(values(t, v), values(t, vector(t, b, n, float64(i+1)))) {
						t.Fatalf("argument %d was not given up, and is changed", i)
					}
					if slices.ContainsFunc(want, func(r *tensors.Tensor) bool { return salamandratest.Place(t, r) == salamandratest.Place(t, v) }) {
						t.Fatalf("argument %d was not given up, and a result lies in it", i)
					}
				}
				places := []uintptr{salamandratest.Place(t, x), salamandratest.Place(t, y)}
				in := []any{nil, nil, z}
				for i, v := range []*tensors.Tensor{x, y} {
					if in[i], err = DonateTensorBuffer(v, b, 0); err != nil {
						t.Fatal(err)
					}
				}
				got, err := exec.Call(in...)
				if err != nil {
					t.Fatal(err)
				}
				reused := 0
				for i, r := range got {
					if !slices.Equal(values(t, r), values(t, want[i])) {
						t.Errorf("result %d is another if arguments are given up", i)
					}
					if slices.Contains(places, salamandratest.Place(t, r)) {
						reused++
					}
				}
				if reused != row.reuse {
					t.Errorf("%d results lie in what was given up, want %d", reused, row.reuse)
				}
			})
		}
	}
}

// TestHostsMemoryIsNotTaken: of what the host has made a result has a copy, since the
// host frees it.
func TestHostsMemoryIsNotTaken(t *testing.T) {
	b := backend(t)
	exec, err := NewExec(b, func(x *Node) *Node { return AddScalar(x, 1) })
	if err != nil {
		t.Fatal(err)
	}
	defer exec.Finalize()
	exec.WithName(donation.Name("host", 0, 1))
	x := tensors.FromFlatDataAndDimensions(make([]float32, 5000), 5000)
	if err := x.MaterializeOnDevice(b, true, 0); err != nil {
		t.Fatal(err)
	}
	place := salamandratest.Place(t, x)
	in, err := DonateTensorBuffer(x, b, 0)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Call1(in)
	if err != nil {
		t.Fatal(err)
	}
	if salamandratest.Place(t, out) == place {
		t.Error("a result lies in memory of the host")
	}
	if v := values(t, out); v[0] != 1 || v[4999] != 1 {
		t.Errorf("%v", v[:3])
	}
}
