package generate_test

import (
	"sync"
	"testing"

	"github.com/gomlx/compute"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/salamandra"
	"github.com/impulse-salamandra/finetune/salamandra/generate"
	"github.com/impulse-salamandra/finetune/salamandra/salamandratest"
)

// TestPaddedAdapters puts adapters of different ranks, scales and layers, and
// none, in one another's place, side by side and by a swap: after the first
// nothing is compiled, and each answers as it does by itself.
func TestPaddedAdapters(t *testing.T) {
	salamandratest.OnEach(t, func(t *testing.T, b compute.Backend) {
		m := salamandratest.Load(t, b, salamandratest.Reference(t, "models", "tiny-gqa"))
		prompt := []int32{4, 557, 398, 134, 979, 996, 200}
		var padded []*lora.Layers
		var want [][]int32
		for _, name := range []string{"adapter-lora", "adapter-rslora", "adapter-patterns", "train-end", ""} {
			if name == "" {
				layers, err := lora.AttachPadded(m, nil, 16)
				require.NoError(t, err)
				padded, want = append(padded, layers), append(want, uncached(t, m, nil, prompt, 12))
				continue
			}
			a, err := lora.ReadAdapter(salamandratest.Reference(t, "models", "tiny-gqa", "golden", name))
			require.NoError(t, err)
			plain, err := lora.Attach(m, a)
			require.NoError(t, err)
			layers, err := lora.AttachPadded(m, a, 16)
			require.NoError(t, err)
			salamandratest.Near(t, name, logitsOf(t, m, layers, prompt), logitsOf(t, m, plain, prompt), 1e-6, 2e-6)
			padded, want = append(padded, layers), append(want, uncached(t, m, plain, prompt, 12))
		}
		require.NotEqual(t, want[0], want[4], "the adapter changes something")

		g := generate.New(m, padded[0])
		defer g.Close()
		g.SpeculativeTokens = 0 // drafts make steps of other lengths
		require.NoError(t, g.Warm(t.Context(), prompt[:4]))
		for range 2 { // one row, then more
			got, err := g.Generate(t.Context(), [][]int32{prompt, prompt}, generate.Options{Sampling: generate.Greedy(), MaxNewTokens: 12})
			require.NoError(t, err)
			require.Equal(t, want[0], got[0].IDs)
			alone, err := g.Do(t.Context(), request(prompt, 12))
			require.NoError(t, err)
			require.Equal(t, want[0], alone.IDs)
		}
		compiled := g.Compiled()
		require.Positive(t, compiled)
		var group sync.WaitGroup
		for i, layers := range padded {
			group.Go(func() {
				h, err := g.With(layers)
				if !assert.NoError(t, err) {
					return
				}
				defer h.Close()
				got, err := h.Do(t.Context(), request(prompt, 12))
				assert.NoError(t, err)
				assert.Equal(t, want[i], got.IDs)
				assert.Equal(t, 4, got.CachedTokens)
			})
		}
		group.Wait()
		for i, layers := range padded {
			require.NoError(t, g.Swap(layers))
			got, err := g.Do(t.Context(), request(prompt, 12))
			require.NoError(t, err)
			require.Equal(t, want[i], got.IDs)
		}
		require.Equal(t, compiled, g.Compiled(), "compiled after the first adapter")

		require.NoError(t, g.Swap(twoAdapters(t, m)[0]))
		_, err := g.Do(t.Context(), request(prompt, 1))
		require.NoError(t, err)
		require.Greater(t, g.Compiled(), compiled, "one that is not filled up needs programs of its own")
	})
}

// logitsOf are the logits of a prompt in one vector.
func logitsOf(t *testing.T, m *salamandra.Model, a salamandra.Adapter, prompt []int32) []float32 {
	t.Helper()
	rows, err := m.Logits(a, [][]int32{prompt})
	require.NoError(t, err)
	var flat []float32
	for _, row := range rows[0] {
		flat = append(flat, row...)
	}
	return flat
}

// TestPaddedAdapterErrors refuses what does not fit, and keeps DoRA.
func TestPaddedAdapterErrors(t *testing.T) {
	m := salamandratest.Load(t, salamandratest.Go(t), salamandratest.Reference(t, "models", "tiny-gqa"))
	prompt := []int32{4, 557, 398, 134}
	a, err := lora.ReadAdapter(salamandratest.Reference(t, "models", "tiny-gqa", "golden", "adapter-dora"))
	require.NoError(t, err)
	plain, err := lora.Attach(m, a)
	require.NoError(t, err)
	layers, err := lora.AttachPadded(m, a, 32)
	require.NoError(t, err)
	salamandratest.Near(t, "dora", logitsOf(t, m, layers, prompt), logitsOf(t, m, plain, prompt), 1e-6, 2e-6)

	_, err = lora.AttachPadded(m, a, 2)
	require.ErrorContains(t, err, "more than 2")
	_, err = lora.AttachPadded(m, nil, 0)
	require.ErrorContains(t, err, "r: 0, want at least 1")
	a.Modules = a.Modules[1:]
	_, err = lora.AttachPadded(m, a, 32)
	require.ErrorContains(t, err, "adapter does not fit the model")
}
