package generate_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gomlx/compute"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/salamandra"
	"github.com/impulse-salamandra/finetune/salamandra/generate"
	"github.com/impulse-salamandra/finetune/salamandra/salamandratest"
)

// twoAdapters are two different adapters of the same shape on a model.
func twoAdapters(t *testing.T, m *salamandra.Model) [2]*lora.Layers {
	t.Helper()
	a, err := lora.ReadAdapter(salamandratest.Reference(t, "models", "tiny-gqa", "golden", "adapter-lora"))
	require.NoError(t, err)
	first, err := lora.Attach(m, a)
	require.NoError(t, err)
	for _, module := range a.Modules {
		slices.Reverse(module.A)
	}
	second, err := lora.Attach(m, a)
	require.NoError(t, err)
	return [2]*lora.Layers{first, second}
}

func request(prompt []int32, n int) generate.Request {
	return generate.Request{Prompt: prompt, Sampling: generate.Greedy(), MaxNewTokens: n}
}

// TestAdaptersSideBySide changes the adapter while requests are under way, and
// asks two adapters and the base at the same time.
func TestAdaptersSideBySide(t *testing.T) {
	salamandratest.OnEach(t, func(t *testing.T, b compute.Backend) {
		m := salamandratest.Load(t, b, salamandratest.Reference(t, "models", "tiny-gqa"))
		adapters := twoAdapters(t, m)
		prompt := []int32{4, 557, 398, 134, 979, 996, 200}
		var want [3][]int32
		for i, a := range []salamandra.Adapter{adapters[0], adapters[1], nil} {
			want[i] = uncached(t, m, a, prompt, 12)
		}
		require.NotEqual(t, want[0], want[1], "the adapters differ")

		g := generate.New(m, adapters[0])
		defer g.Close()
		require.NoError(t, g.Warm(t.Context(), prompt[:4]))
		second, err := g.With(adapters[1])
		require.NoError(t, err)
		defer second.Close()
		base, err := g.With(nil)
		require.NoError(t, err)
		defer base.Close()
		var group sync.WaitGroup
		for i, h := range []*generate.Generator{g, second, base, g, second} {
			group.Go(func() {
				got, err := h.Do(t.Context(), request(prompt, 12))
				assert.NoError(t, err)
				assert.Equal(t, want[i%3], got.IDs)
				assert.Equal(t, 4, got.CachedTokens, "the prefix is kept for each adapter")
			})
		}
		group.Wait()

		// The request under way ends with the first adapter.
		started, swapped := make(chan struct{}), make(chan struct{})
		group.Go(func() {
			r, once := request(prompt, 12), sync.Once{}
			r.OnToken = func(int32) {
				once.Do(func() { close(started); <-swapped })
			}
			got, err := g.Do(t.Context(), r)
			assert.NoError(t, err)
			assert.Equal(t, want[0], got.IDs)
		})
		<-started
		require.NoError(t, g.Swap(adapters[1]))
		close(swapped)
		got, err := g.Do(t.Context(), request(prompt, 12))
		require.NoError(t, err)
		require.Equal(t, want[1], got.IDs)
		group.Wait()
	})
}

// TestTrainedAdapter asks the same layers before and after their numbers have
// changed, as training does it.
func TestTrainedAdapter(t *testing.T) {
	m := salamandratest.Load(t, salamandratest.Go(t), salamandratest.Reference(t, "models", "tiny-gqa"))
	adapters := twoAdapters(t, m)
	prompts := [][]int32{make([]int32, 40), make([]int32, 41)}
	prompts[0][39] = 7
	opts := generate.DefaultOptions()
	opts.MaxNewTokens = 5
	g := generate.New(m, adapters[0])
	defer g.Close()
	for range 2 {
		got, err := g.Generate(t.Context(), prompts, opts)
		require.NoError(t, err)
		for i, p := range prompts {
			require.Equal(t, uncached(t, m, adapters[0], p, 5), got[i].IDs)
			require.Equal(t, 39, got[i].CachedTokens)
		}
		require.NoError(t, adapters[0].SetParams(adapters[1].Params()))
		require.NoError(t, g.Swap(adapters[0]))
	}
}

// TestRequestsEnd cancels requests that wait and that are under way, and closes
// a generator with both.
func TestRequestsEnd(t *testing.T) {
	m := salamandratest.Load(t, salamandratest.Go(t), salamandratest.Reference(t, "models", "tiny-mha"))
	leaks := goleak.IgnoreCurrent()
	g := generate.New(m, nil)
	g.Slots = 2
	var group sync.WaitGroup
	for i := range 6 {
		group.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			r := request([]int32{1, int32(i)}, 1000)
			r.OnToken = func(int32) { cancel() }
			if i == 5 {
				cancel() // perhaps before it begins
			}
			_, err := g.Do(ctx, r)
			assert.ErrorIs(t, err, context.Canceled)
		})
	}
	group.Wait()
	got, err := g.Do(t.Context(), request([]int32{3}, 4))
	require.NoError(t, err, "the slots are free again")
	require.Len(t, got.IDs, 4)

	r := request([]int32{3}, 4)
	r.OnToken = func(int32) { panic("caller's fault") }
	_, err = g.Do(t.Context(), r)
	require.ErrorContains(t, err, "caller's fault")

	running := make(chan struct{}, 1000)
	for range 4 {
		group.Go(func() {
			r := request([]int32{3}, 1000)
			r.OnToken = func(int32) {
				running <- struct{}{}
				time.Sleep(time.Millisecond)
			}
			_, err := g.Do(t.Context(), r)
			assert.ErrorContains(t, err, "generator closed")
		})
	}
	<-running
	g.Close()
	group.Wait()
	_, err = g.Do(t.Context(), request([]int32{3}, 1))
	require.ErrorContains(t, err, "generator closed")
	require.ErrorContains(t, g.Swap(nil), "generator closed")
	_, err = g.With(nil)
	require.ErrorContains(t, err, "generator closed")
	g.Close()
	goleak.VerifyNone(t, leaks)
}

// TestPrefixesDropped keeps two prefixes in memory for two and a half: the one
// used longest ago makes room for a third.
func TestPrefixesDropped(t *testing.T) {
	m := salamandratest.Load(t, salamandratest.Go(t), salamandratest.Reference(t, "models", "tiny-mha"))
	g := generate.New(m, nil)
	defer g.Close()
	c := m.Config
	const length = 64
	wide := (c.HeadDim + 15) / 16 * 16 // values lie in panels
	each := int64(c.NumHiddenLayers*c.NumKeyValueHeads*(c.HeadDim+wide)*length) * 4
	g.PrefixBytes = each*2 + each/2
	prompt := func(id int32) []int32 { return slices.Repeat([]int32{id}, length) }
	ask := func(id int32, cached int) {
		t.Helper()
		p := append(prompt(id), 7)
		got, err := g.Do(t.Context(), request(p, 3))
		require.NoError(t, err)
		require.Equal(t, cached, got.CachedTokens)
		require.Equal(t, uncached(t, m, nil, p, 3), got.IDs)
	}
	require.NoError(t, g.Warm(t.Context(), prompt(100)))
	require.NoError(t, g.Warm(t.Context(), prompt(200)))
	ask(100, length) // so that the other one was used longest ago
	require.Equal(t, 2*each, g.KeptBytes())
	require.NoError(t, g.Warm(t.Context(), prompt(300)))
	require.Equal(t, 2*each, g.KeptBytes())
	ask(300, length)
	ask(100, length)
	ask(200, 0)
}

// TestPrefixFound sees that what prompts share is found without being told.
func TestPrefixFound(t *testing.T) {
	m := salamandratest.Load(t, salamandratest.Go(t), salamandratest.Reference(t, "models", "tiny-mha"))
	g := generate.New(m, nil)
	defer g.Close()
	system := make([]int32, 100)
	for i := range system {
		system[i] = int32(3 * i)
	}
	for i, cached := range []int{0, 100, 100} {
		prompt := append(slices.Clone(system), int32(500+i), 501)
		got, err := g.Do(t.Context(), request(prompt, 5))
		require.NoError(t, err)
		require.Equal(t, cached, got.CachedTokens)
		require.Equal(t, uncached(t, m, nil, prompt, 5), got.IDs)
	}
}
