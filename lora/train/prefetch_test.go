package train

import (
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/salamandra/salamandratest"
)

// TestPrefetch: the next batch is prepared while one is in use, and no other.
func TestPrefetch(t *testing.T) {
	r := newRun(t, tinyModel(t, salamandratest.Go(t)), "", nil)
	order := r.train.Epoch(0, 1)
	require.Greater(t, len(order), 3)
	begun := make(chan int, len(order))
	f := r.feed(r.train, order, 2, func(i int) []uint64 { begun <- i; return randomState(0, 0) })
	require.Zero(t, <-begun)
	first := <-f[0].inputs
	require.NoError(t, first.err)
	require.Equal(t, 1, <-begun, "it does not wait for the first to be done")
	r.closeFeeds(f)
	require.Empty(t, begun, "one ahead, no more")

	want, err := r.train.Batch(order[0])
	require.NoError(t, err)
	require.Equal(t, want, first.Batch)
	_, err = r.gradient(first, r.layers.Params())
	require.NoError(t, err)
	for _, x := range first.tensors {
		require.False(t, x.Ok(), "the program took it")
	}
	require.ErrorContains(t, (<-r.feed(r.train, [][]int{{-1}}, 1, nil)[0].inputs).err, "index -1")
}

// TestDonates: a step gives the old adapter and moments up.
func TestDonates(t *testing.T) {
	salamandratest.OnEach(t, func(t *testing.T, b compute.Backend) {
		r := newRun(t, tinyModel(t, b), "", func(c *Config, _ *lora.Config, _ *dataset.PlanOptions) { c.MaxSteps = 1 })
		old := []*tensors.Tensor{r.layers.Params(), r.state.m1, r.state.m2}
		require.NoError(t, r.Run(t.Context(), r.hooks))
		for _, x := range old {
			require.False(t, x.Ok())
		}
	})
}
