package salamandra_test

import (
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/salamandra/salamandratest"
)

// TestGoBackendDoesNotHang runs a graph on which the Go backend of compute
// v0.1.6 waits for itself for ever when it executes operations side by side:
// more independent large matrix products than it has workers, each of which
// holds a worker while it waits for another. The option ops_sequential, with
// which we always open it, avoids that. With SALAMANDRA_GO_BACKEND=go, the
// backend without the option, this test fails after its time limit; once it
// passes so, the option is no longer needed.
func TestGoBackendDoesNotHang(t *testing.T) {
	b := salamandratest.Go(t)
	if config := os.Getenv("SALAMANDRA_GO_BACKEND"); config != "" {
		var err error
		b, err = compute.NewWithConfig(config)
		require.NoError(t, err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := CallOnce(b, func(g *Graph) *Node {
			x := Iota(g, shapes.Make(dtypes.Float32, 256, 256), 0)
			var sum *Node
			for i := range 8 * runtime.GOMAXPROCS(0) {
				y := Dot(x, AddScalar(x, i)).Product()
				if sum == nil {
					sum = y
				} else {
					sum = Add(sum, y)
				}
			}
			return ReduceAllSum(sum)
		})
		done <- err
	}()
	select {
	case err := <-done:
		require.NoError(t, err)
	case <-time.After(30 * time.Second):
		t.Fatal("the Go backend hangs")
	}
}
