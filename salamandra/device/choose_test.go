package device

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCheck: what this program has not is refused with the import that brings it.
func TestCheck(t *testing.T) {
	for _, row := range []struct {
		config, known, want string
	}{
		{"go:ops_sequential", "", `import _ "github.com/gomlx/compute/gobackend"`},
		{"go:ops_sequential", "xla", `import _ "github.com/gomlx/compute/gobackend"`},
		{"xla:cuda", "go", `import _ "github.com/gomlx/go-xla/compute/xla"`},
		{"tpu", "go xla", "want auto, go, xla:cpu"},
		{"go:ops_sequential", "xla go", ""},
		{"xla:cpu", "xla go", ""},
	} {
		err := choice{row.config, "as asked"}.check(strings.Fields(row.known))
		if row.want == "" && err != nil {
			t.Errorf("%s of %q: %v", row.config, row.known, err)
		}
		if row.want != "" && (!errors.Is(err, errBackend) || !strings.Contains(err.Error(), row.want)) {
			t.Errorf("%s of %q: %v, want %s", row.config, row.known, err, row.want)
		}
	}
}

// TestGroupMemory: the tightest limit of the groups above holds, and what the
// kernel can drop is room.
func TestGroupMemory(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"a/memory.max": "9000\n", "a/memory.current": "5000\n", "a/memory.stat": "anon 1\ninactive_file 700\n",
		"a/b/memory.max": "max\n", "a/b/memory.current": "10\n",
		"memory/memory.limit_in_bytes": "3000\n", "memory/memory.usage_in_bytes": "4000\n",
	} {
		path := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	for group, want := range map[string]int64{
		"0::/a/b\n":                         4700,
		"0::/\n":                            -1,
		"3:cpu:/a\n":                        -1,
		"7:memory:/of/the/host\n0::/a\n":    0,
		"nothing known\n1:name=systemd:/\n": -1,
	} {
		left, limited := groupMemory(group, root)
		if limited != (want >= 0) || limited && left != want {
			t.Errorf("%q: %d, limited %v, want %d", group, left, limited, want)
		}
	}
}

// TestMemoryShare: on a GPU, and only there, XLA is given nine tenths and more of
// the memory if nothing else is asked for, and leaves CUDA its own.
func TestMemoryShare(t *testing.T) {
	for config, want := range map[string]string{
		"xla:cuda": "xla:cuda,memory_fraction=0.92", "xla:cuda,tf32=false": "xla:cuda,tf32=false,memory_fraction=0.92",
		"xla:cuda,memory_fraction=0.5": "xla:cuda,memory_fraction=0.5", "xla:cpu": "xla:cpu", "go:ops_sequential": "go:ops_sequential",
	} {
		if got := withMemoryShare(config); got != want {
			t.Errorf("%s: %s, want %s", config, got, want)
		}
	}
	const gb = 1_000_000_000
	for _, row := range []struct {
		config      string
		total, want int64
	}{
		{"xla:cuda", 24 * gb, 22_080_000_000},
		{"xla:cuda,memory_fraction=0.5,tf32=false", 24 * gb, 12 * gb},
		{"xla:cuda,memory_fraction=1", 24 * gb, 23_300_000_000},
		{"xla:cuda", 4 * gb, 3_300_000_000},
	} {
		if got := usable(row.config, row.total); got != row.want {
			t.Errorf("%s of %d: %d, want %d", row.config, row.total, got, row.want)
		}
	}
}
