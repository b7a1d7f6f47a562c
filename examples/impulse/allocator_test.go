//go:build linux && cgo && !noxla

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/salamandra/device"
)

// TestTuneAllocator: where there is a plugin for the CPU the program starts anew,
// once, with glibc's allocator set for it; settings of the user's stay.
func TestTuneAllocator(t *testing.T) {
	plugins, none := t.TempDir(), t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(plugins, "pjrt_c_api_cpu_plugin.so"), nil, 0o755))
	for _, row := range []struct{ name, plugins, set, want string }{
		{"no plugin", none, "", ""},
		{"a plugin", plugins, "", device.GlibcTunables},
		{"other settings", plugins, "glibc.rtld.nns=4", "glibc.rtld.nns=4:" + device.GlibcTunables},
		{"the user's settings", plugins, "glibc.malloc.arena_max=8", "glibc.malloc.arena_max=8"},
	} {
		t.Run(row.name, func(t *testing.T) {
			program := exec.CommandContext(t.Context(), os.Args[0], "doctor", "--backend", "go")
			program.Env = append(os.Environ(), asProgram+"=1", "HOME="+none, "PJRT_PLUGIN_LIBRARY_PATH="+row.plugins, tunablesVar+"="+row.set)
			out, err := program.CombinedOutput()
			require.NoError(t, err, string(out))
			if row.want == "" {
				require.NotContains(t, string(out), "glibc")
			} else {
				require.Regexp(t, tunablesVar+` +`+row.want+"\n", string(out))
			}
		})
	}
}
