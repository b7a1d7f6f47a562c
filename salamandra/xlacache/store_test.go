//go:build linux && cgo && !noxla

package xlacache

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
