//go:build linux && cgo && !noxla

package xlacache_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/gomlx/compute"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	_ "github.com/gomlx/go-xla/compute/xla"
	"github.com/gomlx/go-xla/pjrt"

	"github.com/impulse-salamandra/finetune/salamandra/xlacache"
)

// TestProgramsComeFromDisk shows by exchanging the files of two programs that the
// second compilation reads them, and by damaging one that it is not believed.
func TestProgramsComeFromDisk(t *testing.T) {
	path, ok := pjrt.AvailablePlugins()["cpu"]
	if !ok {
		t.Skip("no XLA plugin for the CPU: see docs/install-xla-cpu.sh")
	}
	dir := t.TempDir()
	if ok, err := xlacache.Keep("cpu", path, xlacache.Options{Dir: dir}, pjrt.RegisterPreloadedPlugin); !ok || err != nil {
		t.Fatalf("Keep: %v, %v", ok, err)
	}
	if _, err := xlacache.Keep("cpu", path, xlacache.Options{Dir: dir}, pjrt.RegisterPreloadedPlugin); err == nil {
		t.Error("a second plugin is kept")
	}
	backend, err := compute.NewWithConfig("xla:cpu")
	if err != nil {
		t.Fatal(err)
	}
	defer backend.Finalize()
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
	files := func() []string {
		t.Helper()
		list, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil {
			t.Fatal(err)
		}
		return list
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
