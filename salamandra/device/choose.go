package device

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"github.com/gomlx/compute"
)

// auto asks for the best backend there is.
const auto = "auto"

// goConfig selects the Go backend. Without ops_sequential its worker pool can
// wait for itself when large matrix products run side by side.
const goConfig = "go:ops_sequential"

// errBackend: no backend of this program fits what is asked for.
var errBackend = errors.New("no such backend")

// choice is a backend to open, as compute.NewWithConfig takes it, and why.
type choice struct {
	config, why string
}

// kind is what comes before the colon.
func (c choice) kind() string {
	kind, _, _ := strings.Cut(c.config, ":")
	return kind
}

// choices lists what to try, best first: what spec says, else GOMLX_BACKEND, else
// a CUDA plugin where there is an NVIDIA GPU, an XLA CPU plugin, Go.
func choices(spec string) []choice {
	if spec != "" && spec != auto {
		return []choice{{expand(spec), "as asked"}}
	}
	if env := os.Getenv(compute.ConfigEnvVar); env != "" {
		return []choice{{expand(env), compute.ConfigEnvVar}}
	}
	var list []choice
	plugins := Plugins()
	if slices.ContainsFunc(plugins, isCUDA) && HasGPU() {
		list = append(list, choice{"xla:cuda", "CUDA plugin and NVIDIA GPU found"})
	}
	if slices.Contains(plugins, "cpu") {
		list = append(list, choice{"xla:cpu", "XLA CPU plugin found"})
	}
	why := "no XLA plugin found"
	if !HasXLA() {
		why = "this program has no XLA"
	}
	return append(list, choice{goConfig, why})
}

// expand completes the Go backend's name.
func expand(name string) string {
	if name == "go" {
		return goConfig
	}
	return name
}

// check refuses what is not one of the known backends; compute panics on names it
// does not know.
func (c choice) check(known []string) error {
	kind := c.kind()
	switch {
	case len(known) == 0:
		return fmt.Errorf(`%w: this program imports none; add: import _ "github.com/gomlx/compute/gobackend"`, errBackend)
	case slices.Contains(known, kind):
		return nil
	case kind == "xla":
		return fmt.Errorf(`backend %s (%s): %w: this program was built without XLA, which needs cgo, a C compiler and: import _ "github.com/gomlx/go-xla/compute/xla"`, c.config, c.why, errBackend)
	case kind == "go":
		return fmt.Errorf(`backend %s (%s): %w: this program was built without it; add: import _ "github.com/gomlx/compute/gobackend"`, c.config, c.why, errBackend)
	}
	return fmt.Errorf("backend %s (%s): %w: want auto, go, xla:cpu, xla:cuda or xla:/path/to/plugin.so", c.config, c.why, errBackend)
}

// Check reports whether a backend of this name can be asked for in this program,
// without opening it.
func Check(spec string) error {
	c := choices(spec)
	if _, _, err := cutFusedAttention(c[0].config); err != nil {
		return err
	}
	return c[0].check(compute.List())
}

// HasXLA reports whether the program was built with XLA.
func HasXLA() bool { return slices.Contains(compute.List(), "xla") }

// HasGPU reports whether an NVIDIA driver has made a GPU available.
func HasGPU() bool {
	for _, path := range []string{"/dev/nvidia0", "/dev/dxg"} { // dxg: inside WSL
		if _, err := os.Stat(path); err == nil {
			return true
		}
	}
	return false
}

func isCUDA(plugin string) bool { return strings.Contains(plugin, "cuda") }

// pluginNames are the names of files that go-xla loads.
var pluginNames = []*regexp.Regexp{
	regexp.MustCompile(`^pjrt_c_api_(.+)_plugin\.(so|dylib|dll)$`),
	regexp.MustCompile(`^pjrt[-_]plugin[-_](.+)\.(so|dylib|dll)$`),
}

// Plugins lists the PJRT plugins, such as "cpu" or "cuda", in the directories
// where go-xla looks first: those of PJRT_PLUGIN_LIBRARY_PATH, else
// ~/.local/lib/go-xla, /usr/local/lib/go-xla and LD_LIBRARY_PATH. None is loaded.
// In a program without XLA there are none.
func Plugins() []string {
	if !HasXLA() {
		return nil
	}
	var names []string
	for _, dir := range pluginDirs() {
		files, _ := os.ReadDir(dir) // one that is not there has none
		for _, f := range files {
			for _, pattern := range pluginNames {
				if m := pattern.FindStringSubmatch(f.Name()); m != nil && !slices.Contains(names, m[1]) {
					names = append(names, m[1])
				}
			}
		}
	}
	return names
}

func pluginDirs() []string {
	if set, ok := os.LookupEnv("PJRT_PLUGIN_LIBRARY_PATH"); ok {
		return filepath.SplitList(set)
	}
	var dirs []string
	if home, err := os.UserHomeDir(); err == nil {
		dirs = append(dirs, filepath.Join(home, ".local", "lib", "go-xla"))
	}
	dirs = append(dirs, "/usr/local/lib/go-xla")
	for i := range dirs[:len(dirs):len(dirs)] {
		dirs = append(dirs, filepath.Join(dirs[i], "nvidia"))
	}
	return append(dirs, filepath.SplitList(os.Getenv("LD_LIBRARY_PATH"))...)
}

// cutFusedAttention takes fused_attention out of a backend's options: it is not
// the backend's, but says whether its own attention is used, false or true, or
// empty for where the GPU can.
func cutFusedAttention(config string) (rest, fused string, err error) {
	var kept []string
	for option := range strings.SplitSeq(config, ",") {
		value, ours := strings.CutPrefix(option, "fused_attention=")
		if !ours {
			kept = append(kept, option)
		} else if fused = value; fused != "true" && fused != "false" {
			return "", "", fmt.Errorf("%w: %s, want true or false", errBackend, option)
		}
	}
	return strings.Join(kept, ","), fused, nil
}

// threads says how many the Go backend uses.
func threads() string { return fmt.Sprintf("%d threads", runtime.GOMAXPROCS(0)) }
