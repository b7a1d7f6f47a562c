package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/gomlx/compute"
	_ "github.com/gomlx/compute/gobackend" // always there: the embedded default

	"github.com/impulse-salamandra/finetune/salamandra"
)

// choice is a backend to open and why it was chosen.
type choice struct {
	config string // as compute.NewWithConfig takes it
	why    string
}

// goConfig selects the Go backend. Without ops_sequential its worker pool can
// wait for itself when large matrix products run side by side.
const goConfig = "go:ops_sequential"

// tunablesVar holds settings of the C library, its allocator's among them.
const tunablesVar = "GLIBC_TUNABLES"

// goBackendName is how the Go backend calls itself.
const goBackendName = "Go Backend"

// chooseBackend resolves the flag --backend: what the flag says, then what
// GOMLX_BACKEND says, then a CUDA plugin where there is an NVIDIA GPU, then an
// XLA CPU plugin, then the Go backend. Nothing is ever downloaded.
func chooseBackend(flag string) choice {
	if flag != "" && flag != "auto" {
		return choice{expandBackend(flag), "--backend"}
	}
	if env := os.Getenv(compute.ConfigEnvVar); env != "" {
		return choice{expandBackend(env), compute.ConfigEnvVar}
	}
	plugins := xlaPlugins()
	switch {
	case slices.ContainsFunc(plugins, isCUDA) && nvidiaDevice():
		return choice{"xla:cuda", "CUDA plugin and NVIDIA GPU found"}
	case slices.Contains(plugins, "cpu"):
		return choice{"xla:cpu", "XLA CPU plugin found"}
	case !haveXLA:
		return choice{goConfig, "built without cgo, so without XLA"}
	}
	return choice{goConfig, "no XLA plugin found"}
}

func isCUDA(plugin string) bool { return strings.Contains(plugin, "cuda") }

// expandBackend completes the Go backend's name.
func expandBackend(name string) string {
	if name == "go" {
		return goConfig
	}
	return name
}

// nvidiaDevice tells whether the driver has made a GPU available.
func nvidiaDevice() bool {
	for _, path := range []string{"/dev/nvidia0", "/dev/dxg"} { // dxg: inside WSL
		if _, err := os.Stat(path); err == nil {
			return true
		}
	}
	return false
}

// kind is what comes before the colon.
func (c choice) kind() string {
	kind, _, _ := strings.Cut(c.config, ":")
	return kind
}

// check refuses what is not a backend of this program; compute panics on names
// it does not know.
func (c choice) check() error {
	switch kind := c.kind(); {
	case kind != "go" && kind != "xla":
		return fmt.Errorf("backend %s (%s): want auto, go, xla:cpu, xla:cuda or xla:/path/to/plugin.so", c.config, c.why)
	case kind == "xla" && !haveXLA:
		return fmt.Errorf("backend %s: this program was built without cgo and has the Go backend alone; rebuild with CGO_ENABLED=1 and a C compiler, or use --backend go", c.config)
	}
	return nil
}

// device is an open backend and how models are loaded on it.
type device struct {
	backend compute.Backend
	options salamandra.Options
}

// openBackend opens the chosen backend and returns a line that says which one
// it is and why.
func openBackend(flag string) (device, string, error) {
	c := chooseBackend(flag)
	if err := c.check(); err != nil {
		return device{}, "", err
	}
	config, fused, err := cutFusedAttention(c.config)
	if err != nil {
		return device{}, "", fmt.Errorf("backend %s (%s): %w", c.config, c.why, err)
	}
	b, err := compute.NewWithConfig(config)
	if err != nil {
		return device{}, "", fmt.Errorf("backend %s: %w (see 'impulse doctor')", c.config, err)
	}
	d := device{b, salamandra.DefaultOptions()}
	if c.kind() == "xla" {
		d.options.Compiled = trimMemory
	}
	line := fmt.Sprintf("backend %s (%s)", c.config, c.why)
	has := b.Capabilities().Operations[compute.OpTypeFusedScaledDotProductAttentionVJP]
	if fused == "false" || fused == "" && has && beforeAmpere() {
		d.options.PlainAttention = true
		line += ", attention from matrix products"
	}
	if c.kind() == "go" {
		line += fmt.Sprintf(", %d threads", runtime.GOMAXPROCS(0))
	}
	return d, line, nil
}

// cutFusedAttention takes fused_attention out of a backend's options: it is not
// the backend's, but says whether its own attention is used, false or true, or
// empty for where the GPU can.
func cutFusedAttention(config string) (rest, fused string, err error) {
	var kept []string
	for _, option := range strings.Split(config, ",") {
		value, ours := strings.CutPrefix(option, "fused_attention=")
		if !ours {
			kept = append(kept, option)
		} else if fused = value; fused != "true" && fused != "false" {
			return "", "", fmt.Errorf("%s, want true or false", option)
		}
	}
	return strings.Join(kept, ","), fused, nil
}

// beforeAmpere tells whether there is an NVIDIA GPU older than cuDNN's flash
// attention, which needs compute capability 8.0.
func beforeAmpere() bool {
	if !nvidiaDevice() {
		return false
	}
	out, err := exec.Command("nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader").Output()
	capability, parseErr := strconv.ParseFloat(strings.TrimSpace(strings.SplitN(string(out), "\n", 2)[0]), 64)
	return err == nil && parseErr == nil && capability < 8
}
