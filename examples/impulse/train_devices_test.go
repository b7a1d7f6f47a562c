//go:build linux

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gomlx/compute"
	"github.com/stretchr/testify/require"
)

// TestDevicesDoNotMatter: a run on two devices that is killed and goes on with one
// leaves the files of a run on one.
func TestDevicesDoNotMatter(t *testing.T) {
	if !strings.HasPrefix(os.Getenv(compute.ConfigEnvVar), "xla:cpu") {
		t.Skip("needs several devices: XLA on a CPU has four (GOMLX_BACKEND=xla:cpu)")
	}
	data := shortData(t)
	flags := func(dir, devices string) []string {
		return append(faultRun(data, dir), "--gradient-accumulation-steps", "2", "--average-checkpoints", "0", "--report-samples", "0", "--devices", devices)
	}
	one, cut := filepath.Join(t.TempDir(), "one"), filepath.Join(t.TempDir(), "cut")
	start(t, flags(one, "1")...).end(t, 0)

	p := start(t, flags(cut, "2")...)
	p.until(func() bool { return lines(cut) > 1 })
	_ = p.Process.Kill()
	<-p.ended
	require.Contains(t, p.out.String(), "devices: 2 take the batches of a step in turn")
	require.False(t, p.ProcessState.Exited(), "it was over before it was killed")
	start(t, "train", "--resume", "--output-dir", cut, "--devices", "1").end(t, 0)
	require.Equal(t, outcome(t, one), outcome(t, cut))

	p = start(t, append(flags(one, "3"), "--overwrite", "--dry-run")...)
	p.end(t, 0)
	require.Contains(t, p.out.String(), "warning: --devices 3: a step has 2 batches (--gradient-accumulation-steps), so 1 of 3 devices have nothing to do but evaluations")
	oneError(t, start(t, append(flags(one, "9"), "--overwrite")...), "devices 9: backend xla:cpu has 4")
}
