package salamandra_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/salamandra/salamandratest"
)

// TestServiceModule builds a program of another module, without cgo, and runs
// it: what go get and a deployment do.
func TestServiceModule(t *testing.T) {
	program := filepath.Join(t.TempDir(), "service")
	build := exec.Command("go", "build", "-o", program, ".")
	build.Dir = filepath.Join("testdata", "service")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=readonly")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)

	model := salamandratest.Reference(t, "models", "tiny-gqa")
	out, err = exec.Command(program, model, filepath.Join(model, "golden", "adapter-lora"), filepath.Join(t.TempDir(), "merged")).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Equal(t, "base and adapter: 8 tokens\ntensors merged: 28\nmerged: 8 tokens, the same: true\n", string(out))
}
