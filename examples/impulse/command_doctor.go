package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"
	"github.com/spf13/cobra"

	"github.com/impulse-salamandra/finetune/salamandra/hub"
)

func newDoctorCommand() *cobra.Command {
	var backend string
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Show what this machine can compute on, what is missing, and how to get it",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runDoctor(cmd.Context(), backend, cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVar(&backend, "backend", "auto", "backend to try: auto, go, xla:cpu, xla:cuda or xla:/path/to/plugin.so")
	return cmd
}

// runDoctor reports on the machine. It fails only if the chosen backend does
// not work.
func runDoctor(ctx context.Context, flag string, out io.Writer) error {
	line := func(name, format string, args ...any) {
		fmt.Fprintf(out, "%-12s %s\n", name, fmt.Sprintf(format, args...))
	}
	line("program", "%s, %s/%s, %d threads", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.GOMAXPROCS(0))
	line("cgo", "%s", map[bool]string{
		true:  "yes: XLA can be used",
		false: "no: Go backend alone (build with CGO_ENABLED=1 and a C compiler for XLA)",
	}[haveXLA])
	line("Go backend", "yes, float32%s", simdNote())
	plugins := xlaPlugins()
	switch {
	case len(plugins) > 0:
		line("XLA plugins", "%s", strings.Join(plugins, ", "))
	case haveXLA:
		line("XLA plugins", "none in ~/.local/lib/go-xla, /usr/local/lib/go-xla or $PJRT_PLUGIN_LIBRARY_PATH")
	}
	if !slices.Contains(plugins, "cpu") {
		line("", "for XLA on the CPU (3 to 20 times faster): bash docs/install-xla-cpu.sh")
	}
	line("GPU", "%s", gpu(ctx))
	if nvidiaDevice() && !slices.ContainsFunc(plugins, isCUDA) {
		line("", "for CUDA: pip install 'jax[cuda13]' && bash docs/install-xla-cuda.sh")
	}
	if env := os.Getenv(compute.ConfigEnvVar); env != "" {
		line(compute.ConfigEnvVar, "%s", env)
	}
	if set := os.Getenv(tunablesVar); set != "" {
		line(tunablesVar, "%s", set)
	}
	if dir, err := hub.CacheDir(); err == nil {
		line("models", "local directories, and hub ids found in %s", dir)
	}
	d, chosen, err := openBackend(flag)
	if err != nil {
		return err
	}
	defer d.backend.Finalize()
	line("chosen", "%s", strings.TrimPrefix(chosen, "backend "))
	line("device", "%s", d.backend.DeviceDescription(0))
	line("dtypes", "%s", workingDtypes(d.backend))
	return nil
}

// simdNote says whether the Go backend was built with vector instructions.
func simdNote() string {
	if strings.Contains(runtime.Version(), "simd") {
		return ", SIMD build"
	}
	return " (build with GOEXPERIMENT=simd for faster matrix products)"
}

// gpu describes the NVIDIA GPU as its driver does.
func gpu(ctx context.Context) string {
	if !nvidiaDevice() {
		return "no NVIDIA device"
	}
	text, err := exec.CommandContext(ctx, "nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader").Output()
	if err != nil {
		return fmt.Sprintf("NVIDIA device, but nvidia-smi fails: %v", err)
	}
	return strings.Join(strings.Split(strings.TrimSpace(string(text)), "\n"), "; ")
}

// workingDtypes multiplies two small matrices in each dtype a model can have.
func workingDtypes(b compute.Backend) string {
	var works []string
	for _, d := range []dtypes.DType{dtypes.Float32, dtypes.BFloat16, dtypes.Float16} {
		_, err := graph.CallOnce(b, func(g *graph.Graph) *graph.Node {
			x := graph.Ones(g, shapes.Make(d, 8, 8))
			return graph.Dot(x, x).Product()
		})
		if err == nil {
			works = append(works, strings.ToLower(d.String()))
		}
	}
	return strings.Join(works, ", ")
}
