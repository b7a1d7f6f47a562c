//go:build linux && cgo && !noxla

package xlaplugin

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestStoreForgetsWhatWasNotUsedForLongest(t *testing.T) {
	s := store{t.TempDir(), 3 * (32 + 10)}
	program := func(name string) []byte { return []byte(strings.Repeat(name, 10)) }
	for i, name := range []string{"a", "b", "c"} {
		if err := s.write(name, program(name)); err != nil {
			t.Fatal(err)
		}
		old := time.Now().Add(time.Duration(i-10) * time.Hour)
		if err := os.Chtimes(s.path(name), old, old); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.read("a"); !slices.Equal(got, program("a")) {
		t.Fatalf("a is %q", got)
	}
	if err := s.write("d", program("d")); err != nil {
		t.Fatal(err)
	}
	for name, kept := range map[string]bool{"a": true, "b": false, "c": true, "d": true} {
		if got := s.read(name) != nil; got != kept {
			t.Errorf("%s is kept: %v, want %v", name, got, kept)
		}
	}
}

func TestKeysTellPartsApart(t *testing.T) {
	keys := map[string]bool{}
	for _, parts := range [][][]byte{{[]byte("ab"), []byte("c")}, {[]byte("a"), []byte("bc")}, {[]byte("abc")}, {[]byte("abc"), nil}} {
		keys[key(parts...)] = true
	}
	if len(keys) != 4 {
		t.Errorf("%d keys of 4 lists", len(keys))
	}
}

func TestOthersMayNotWrite(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "xla")
	o := Options{Dir: dir}
	if err := o.settle(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := o.settle(); err == nil {
		t.Error("a directory that others can write to is taken")
	}
}

// TestCUDAData: a plugin for CUDA is told where CUDA's files are if they lie beside it,
// unless it was told otherwise; as go-xla tells those that it loads.
func TestCUDAData(t *testing.T) {
	dir := t.TempDir()
	nvidia := filepath.Join(dir, "nvidia")
	for _, row := range []struct{ name, flags, want string }{
		{"cuda", "--a=b", "--a=b"},
		{"cpu", "", ""},
		{"cuda", "", "--xla_gpu_cuda_data_dir=" + nvidia},
		{"cuda", "--a=b", "--a=b --xla_gpu_cuda_data_dir=" + nvidia},
		{"cuda", "--xla_gpu_cuda_data_dir=/c", "--xla_gpu_cuda_data_dir=/c"},
	} {
		t.Setenv("XLA_FLAGS", row.flags)
		if err := cudaData(row.name, filepath.Join(dir, "lib", "plugin.so")); err != nil {
			t.Fatal(err)
		}
		if got := os.Getenv("XLA_FLAGS"); got != row.want {
			t.Errorf("%s with %q: %q, want %q", row.name, row.flags, got, row.want)
		}
		if err := os.MkdirAll(nvidia, 0o755); err != nil { // from the second row on
			t.Fatal(err)
		}
	}
}
