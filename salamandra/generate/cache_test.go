package generate

import (
	"math/rand/v2"
	"testing"

	"github.com/gomlx/gomlx/core/tensors"
	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/salamandra/salamandratest"
)

// TestCacheOnDevice: a program that writes to the cache leaves in it what the host's
// writing does, and on XLA it changes the cache where it lies once that is the device's.
func TestCacheOnDevice(t *testing.T) {
	b := salamandratest.XLA(t)
	if b == nil || !b.HasSharedBuffers() {
		t.Skip("needs XLA on the CPU (GOMLX_BACKEND=xla:cpu)")
	}
	for _, row := range []struct {
		rows   int
		places []place
	}{
		{1, []place{{0, 0}, {0, 1}, {0, 5}}},
		{3, []place{{2, 7}, {0, 1}, {1, 0}}},
	} {
		m := salamandratest.Load(t, b, salamandratest.Reference(t, "models", "tiny-gqa"))
		ps := newPrograms(m)
		defer ps.close()
		host, device := kvCache{model: m}, kvCache{model: m}
		defer host.free()
		defer device.free()
		require.NoError(t, host.grow(row.rows, 8))
		require.NoError(t, device.grow(row.rows, 8))
		draw := rand.New(rand.NewPCG(1, 2))
		for step := range 3 {
			config, n := m.Config, len(row.places)
			flat := make([]float32, 2*config.NumHiddenLayers*n*config.NumKeyValueHeads*config.HeadDim)
			for i := range flat {
				flat[i] = float32(draw.NormFloat64())
			}
			kv := tensors.FromFlatDataAndDimensions(flat, 2*config.NumHiddenLayers, n, config.NumKeyValueHeads, config.HeadDim)
			var were []uintptr
			for _, c := range device.tensors {
				were = append(were, salamandratest.Place(t, c))
			}
			require.NoError(t, host.write(ps, []*tensors.Tensor{kv}, row.places))
			require.NoError(t, device.writeOnDevice(ps, []*tensors.Tensor{kv}, row.places))
			for i, c := range device.tensors {
				require.Equal(t, tensors.MustCopyFlatData[float32](host.tensors[i]), tensors.MustCopyFlatData[float32](c))
				if step > 0 {
					require.Equal(t, were[i], salamandratest.Place(t, c), "write %d of tensor %d", step, i)
				}
			}
			row.places = row.places[:n-1]
		}
	}
}
