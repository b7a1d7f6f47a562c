//go:build linux && cgo && !noxla

package xlaplugin_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/gomlx/compute"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	_ "github.com/gomlx/go-xla/compute/xla"
	"github.com/gomlx/go-xla/pjrt"

	"github.com/impulse-salamandra/finetune/salamandra/xlaplugin"
)

// kept is where the programs of these tests are kept.
var kept string

func TestMain(m *testing.M) {
	var err error
	if kept, err = os.MkdirTemp("", "programs"); err != nil {
		panic(err)
	}
	code := m.Run()
	if err := os.RemoveAll(kept); err != nil {
		panic(err)
	}
	os.Exit(code)
}

// backend is XLA on the CPU, by a plugin that is wrapped.
func backend(t *testing.T) compute.Backend {
	t.Helper()
	if _, ok := pjrt.AvailablePlugins()["cpu"]; !ok {
		t.Skip("no XLA plugin for the CPU: see docs/install-xla-cpu.sh")
	}
	xlaplugin.Wrap(pjrt.AvailablePlugins, pjrt.RegisterPreloadedPlugin, xlaplugin.Options{Dir: kept})
	for range 2 { // the second time it is there
		if ok, err := xlaplugin.Load("cpu"); !ok || err != nil {
			t.Fatalf("Load: %v, %v", ok, err)
		}
	}
	if ok, err := xlaplugin.Load("another"); ok || err != nil {
		t.Fatalf("Load of a plugin that is not there: %v, %v", ok, err)
	}
	b, err := compute.NewWithConfig("xla:cpu")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Finalize)
	return b
}

// TestProgramsComeFromDisk shows by exchanging the files of two programs that the
// second compilation reads them, and by damaging one that it is not believed.
func TestProgramsComeFromDisk(t *testing.T) {
	backend := backend(t)
	times := func(k float64) float32 {
		t.Helper()
		exec, err := NewExec(backend, func(x *Node) *Node { return MulScalar(x, k) })
		if err != nil {
			t.Fatal(err)
		}
		defer exec.Finalize()
		out, err := exec.WithName("times").Call(float32(7))
		if err != nil {
			t.Fatal(err)
		}
		return tensors.ToScalar[float32](out[0])
	}
	want := func(k float64, result float32, why string) {
		t.Helper()
		if got := times(k); got != result {
			t.Errorf("7 times %v is %v, want %v: %s", k, got, result, why)
		}
	}
	before, err := filepath.Glob(filepath.Join(kept, "*"))
	if err != nil {
		t.Fatal(err)
	}
	files := func() []string {
		t.Helper()
		list, err := filepath.Glob(filepath.Join(kept, "*"))
		if err != nil {
			t.Fatal(err)
		}
		return slices.DeleteFunc(list, func(path string) bool { return slices.Contains(before, path) })
	}
	want(2, 14, "compiled")
	twice := files()
	want(3, 21, "compiled")
	both := files()
	if len(twice) != 1 || len(both) != 2 {
		t.Fatalf("%d files after a program, %d after two", len(twice), len(both))
	}
	thrice := both[0]
	if thrice == twice[0] {
		thrice = both[1]
	}
	data, err := os.ReadFile(thrice)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(twice[0], data, 0o600); err != nil {
		t.Fatal(err)
	}
	want(2, 21, "the other program was put in its place")
	data[len(data)-1] ^= 1
	if err := os.WriteFile(twice[0], data, 0o600); err != nil {
		t.Fatal(err)
	}
	want(2, 14, "a damaged file is compiled anew")
	want(2, 14, "and kept again")
	if got := len(files()); got != 2 {
		t.Errorf("%d files, want 2", got)
	}
}
