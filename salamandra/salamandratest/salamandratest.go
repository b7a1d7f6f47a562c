// Package salamandratest helps tests of this module: the executors to run on,
// the reference models, and comparisons that say how far apart numbers are.
// It imports backends, which the library packages never do, and is not meant
// for programs.
package salamandratest

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"github.com/gomlx/compute"
	_ "github.com/gomlx/compute/gobackend" // the executor that is always there
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/impulse-salamandra/finetune/internal/gobackend"
	"github.com/impulse-salamandra/finetune/internal/safetensors"
	"github.com/impulse-salamandra/finetune/salamandra"
)

// goConfig selects the Go backend. Without ops_sequential its worker pool can
// wait for itself: see TestGoBackendDoesNotHang.
const goConfig = "go:ops_sequential"

var backends struct {
	sync.Mutex
	open   map[string]compute.Backend
	plugin string // file of that of XLA
}

// backend opens an executor once for the whole test program.
func backend(tb testing.TB, config string) compute.Backend {
	backends.Lock()
	defer backends.Unlock()
	if b, ok := backends.open[config]; ok {
		return b
	}
	b, err := compute.NewWithConfig(config)
	if err != nil {
		tb.Fatalf("backend %s: %v", config, err)
	}
	if config == goConfig {
		b = gobackend.New(b)
	}
	if backends.open == nil {
		backends.open = map[string]compute.Backend{}
	}
	backends.open[config] = b
	return b
}

// Go returns the pure Go backend.
func Go(tb testing.TB) compute.Backend { return backend(tb, goConfig) }

// XLA returns the XLA backend that the environment variable GOMLX_BACKEND
// names ("xla:" and a plugin), nil if it names none or XLA is not compiled in.
func XLA(tb testing.TB) compute.Backend {
	config := os.Getenv("GOMLX_BACKEND")
	if !strings.HasPrefix(config, "xla") {
		return nil
	}
	if !haveXLA {
		tb.Logf("GOMLX_BACKEND=%s is not used: this test program was built without XLA (needs cgo, no tag noxla)", config)
		return nil
	}
	backends.Lock()
	if _, ok := backends.open[config]; !ok {
		var err error
		name, _, _ := strings.Cut(strings.TrimPrefix(config, "xla:"), ",")
		if backends.plugin, err = wrapPlugin(name); err != nil {
			tb.Logf("every program is compiled: %v", err)
		}
	}
	backends.Unlock()
	return backend(tb, config)
}

// Unwrapped returns the backend of [XLA] by its plugin as it is, so that no result lies
// in what a program is given up; nil if there is no such backend, or another way to it.
func Unwrapped(tb testing.TB) compute.Backend {
	if XLA(tb) == nil || !filepath.IsAbs(backends.plugin) {
		return nil
	}
	return backend(tb, "xla:"+backends.plugin)
}

// Place returns where a tensor of a backend on the host lies.
func Place(tb testing.TB, t *tensors.Tensor) (place uintptr) {
	tb.Helper()
	if err := t.ConstBytes(func(data []byte) { place = uintptr(unsafe.Pointer(unsafe.SliceData(data))) }); err != nil {
		tb.Fatal(err)
	}
	return place
}

// OnEach runs a test on the Go backend and, where a plugin is present, on XLA.
func OnEach(t *testing.T, test func(t *testing.T, b compute.Backend)) {
	t.Run("go", func(t *testing.T) { test(t, Go(t)) })
	if b := XLA(t); b != nil {
		t.Run("xla", func(t *testing.T) { test(t, b) })
	} else {
		t.Log("only the Go backend: no XLA plugin (set GOMLX_BACKEND=xla:/path/to/plugin.so)")
	}
}

// Trials reports whether the environment variable SALAMANDRA_TRIALS asks for heavy
// trials. A test that runs more of them then has one of each kind without it.
func Trials() bool { return os.Getenv("SALAMANDRA_TRIALS") != "" }

// Reference returns a path inside the reference directory: that of the
// environment variable SALAMANDRA_REFERENCE, else the one kept in testdata.
func Reference(tb testing.TB, elem ...string) string {
	tb.Helper()
	dir := os.Getenv("SALAMANDRA_REFERENCE")
	if dir == "" {
		_, file, _, _ := runtime.Caller(0)
		dir = filepath.Join(filepath.Dir(file), "..", "testdata", "reference")
	}
	path := filepath.Join(append([]string{dir}, elem...)...)
	if _, err := os.Stat(path); err != nil {
		tb.Fatalf("reference data: %v", err)
	}
	return path
}

// EachModel runs a test for each reference model with its directory.
func EachModel(t *testing.T, test func(t *testing.T, dir string)) {
	configs, err := filepath.Glob(filepath.Join(Reference(t, "models"), "*", "config.json"))
	if err != nil || len(configs) == 0 {
		t.Fatalf("no reference models in %s", Reference(t, "models"))
	}
	for _, c := range configs {
		dir := filepath.Dir(c)
		t.Run(filepath.Base(dir), func(t *testing.T) { test(t, dir) })
	}
}

// Load loads a model in float32 and frees it when the test ends.
func Load(tb testing.TB, b compute.Backend, dir string) *salamandra.Model {
	tb.Helper()
	m, err := salamandra.Load(context.Background(), b, dir, salamandra.Options{Dtype: "float32"})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = m.Close() })
	return m
}

// Floats reads all floating point tensors of a safetensors file as float32.
func Floats(tb testing.TB, path string) map[string][]float32 {
	tb.Helper()
	f := open(tb, path)
	all := map[string][]float32{}
	for _, info := range f.Tensors() {
		if info.Dtype == safetensors.I64 {
			continue
		}
		data, err := f.Bytes(info.Name)
		if err != nil {
			tb.Fatal(err)
		}
		all[info.Name] = make([]float32, info.NumElements())
		if err := safetensors.DecodeFloat32(all[info.Name], data, info.Dtype); err != nil {
			tb.Fatal(err)
		}
	}
	return all
}

// Rows reads a matrix of int64 from a safetensors file.
func Rows(tb testing.TB, path, name string) [][]int32 {
	tb.Helper()
	f := open(tb, path)
	info, ok := f.Info(name)
	if !ok || info.Dtype != safetensors.I64 || len(info.Shape) != 2 {
		tb.Fatalf("%s: no matrix %s of I64", path, name)
	}
	data, err := f.Bytes(name)
	if err != nil {
		tb.Fatal(err)
	}
	rows := make([][]int32, info.Shape[0])
	for i := range rows {
		rows[i] = make([]int32, info.Shape[1])
		for j := range rows[i] {
			at := (i*info.Shape[1] + j) * 8
			rows[i][j] = int32(uint32(data[at]) | uint32(data[at+1])<<8 | uint32(data[at+2])<<16 | uint32(data[at+3])<<24)
		}
	}
	return rows
}

func open(tb testing.TB, path string) *safetensors.Reader {
	tb.Helper()
	f, err := safetensors.Open(path)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = f.Close() })
	return f
}

// Near fails unless each number of got is within absolute of want, or within
// relative of want's largest magnitude, whichever is wider. It names the worst,
// and logs how far apart they are.
func Near(tb testing.TB, name string, got, want []float32, absolute, relative float64) {
	tb.Helper()
	if len(got) != len(want) {
		tb.Errorf("%s: %d numbers, want %d", name, len(got), len(want))
		return
	}
	worst, at, top := 0.0, 0, 0.0
	for i := range want {
		d := math.Abs(float64(got[i]) - float64(want[i]))
		if !(d <= worst) { // NaN counts as worst
			worst, at = d, i
		}
		top = math.Max(top, math.Abs(float64(want[i])))
	}
	limit := math.Max(absolute, relative*top)
	tb.Logf("%s: off by %.3g, limit %.3g", name, worst, limit)
	if !(worst <= limit) {
		tb.Errorf("%s: number %d is %v, want %v: off by %.3g, limit %.3g", name, at, got[at], want[at], worst, limit)
	}
}
