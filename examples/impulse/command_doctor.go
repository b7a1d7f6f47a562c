package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"
	"github.com/spf13/cobra"

	"github.com/impulse-salamandra/finetune/internal/hub"
	"github.com/impulse-salamandra/finetune/salamandra/device"
)

func newDoctorCommand() *cobra.Command {
	var backend string
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Show what this machine can compute on, what is missing, and how to get it",
		Args:  flagsOnly,
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
		false: "no: only the Go backend (build with CGO_ENABLED=1 and a C compiler for XLA)",
	}[device.HasXLA()])
	line("Go backend", "yes, float32%s", simdNote())
	plugins := device.Plugins()
	switch {
	case len(plugins) > 0:
		line("XLA plugins", "%s", strings.Join(plugins, ", "))
	case device.HasXLA():
		line("XLA plugins", "none in ~/.local/lib/go-xla, /usr/local/lib/go-xla or $PJRT_PLUGIN_LIBRARY_PATH")
	}
	if !slices.Contains(plugins, "cpu") {
		line("", "for XLA on the CPU (3 to 20 times faster): bash docs/install-xla-cpu.sh")
	}
	facts, card := gpu(ctx)
	line("GPU", "%s", facts)
	if card != nil {
		line("CUDA plugin", "%s", card.plugin())
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
	d, err := device.Open(flag)
	if err != nil {
		return err
	}
	defer d.Close()
	line("chosen", "%s", strings.TrimPrefix(d.String(), "backend "))
	line("device", "%s", d.Backend.DeviceDescription(0))
	line("dtypes", "%s", workingDtypes(d.Backend))
	return nil
}

// simdNote says whether the Go backend was built with vector instructions.
func simdNote() string {
	if strings.Contains(runtime.Version(), "simd") {
		return ", SIMD build"
	}
	return " (build with GOEXPERIMENT=simd for faster matrix products)"
}

// gpuCard is what decides which plugin an NVIDIA GPU needs, the first one where
// there are several.
type gpuCard struct {
	capability float64 // 8.6 of an RTX 3090
	driver     int     // the major version
}

// gpu describes the NVIDIA GPU as its driver does; the card is nil if there is none
// or the driver does not answer.
func gpu(ctx context.Context) (facts string, card *gpuCard) {
	if !device.HasGPU() {
		return "no NVIDIA device", nil
	}
	text, err := exec.CommandContext(ctx, "nvidia-smi", "--query-gpu=name,memory.total,driver_version,compute_cap", "--format=csv,noheader").Output()
	if err != nil {
		return fmt.Sprintf("NVIDIA device, but nvidia-smi fails: %v", err), nil
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines, "; "), parseCard(lines[0])
}

// parseCard reads "NVIDIA A100, 81920 MiB, 580.65.06, 8.0", nil if it is not such a
// line.
func parseCard(line string) *gpuCard {
	fields := strings.Split(line, ", ")
	if len(fields) < 4 {
		return nil
	}
	major, _, _ := strings.Cut(fields[2], ".")
	driver, err := strconv.Atoi(major)
	capability, capErr := strconv.ParseFloat(fields[3], 64)
	if err != nil || capErr != nil {
		return nil
	}
	return &gpuCard{capability, driver}
}

// plugin says which of JAX's CUDA plugins the card needs. CUDA 13 has left cards
// before Turing, such as the V100, and wants driver 580; CUDA 12 wants 525.
func (c gpuCard) plugin() string {
	const then = " && eval \"$(bash docs/install-xla-cuda.sh)\""
	switch {
	case c.driver < 525:
		return fmt.Sprintf("none for driver %d: update it to 525 or newer, for CUDA 12, or 580, for CUDA 13", c.driver)
	case c.capability < 7.5:
		return "CUDA 12, the last for this card: pip install 'jax[cuda12]'" + then
	case c.driver < 580:
		return fmt.Sprintf("CUDA 12, for driver %d: pip install 'jax[cuda12]'%s", c.driver, then)
	}
	return "CUDA 13: pip install 'jax[cuda13]'" + then
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
