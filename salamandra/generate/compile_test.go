package generate_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/gomlx/compute"

	"github.com/impulse-salamandra/finetune/salamandra/constrain"
	"github.com/impulse-salamandra/finetune/salamandra/generate"
	"github.com/impulse-salamandra/finetune/salamandra/salamandratest"
	"github.com/impulse-salamandra/finetune/salamandra/tokenizer"
)

// TestCompileLeavesNothing compiles ahead of time and then asks in every way
// that requests can: one and many at once, short and long prompts, with a warmed
// prefix, with one that they share by chance, and without, with a schema and
// free, greedily and drawn, before and after a change of the adapter. Nothing is
// compiled any more, and answers are what they were.
func TestCompileLeavesNothing(t *testing.T) {
	dir := salamandratest.Reference(t, "models", "tiny-gqa")
	tok, err := tokenizer.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	grammar, err := constrain.Compile([]byte(`{"type":"object","required":["a"],"properties":{"a":{"type":"array","items":{"enum":["one","two"]},"maxItems":9}}}`), constrain.DefaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	vocabulary := constrain.TokenizerVocabulary(tok, []int32{5})
	salamandratest.OnEach(t, func(t *testing.T, b compute.Backend) {
		m := salamandratest.Load(t, b, dir)
		adapters := twoAdapters(t, m)
		reference := salamandratest.Load(t, salamandratest.Go(t), dir)
		wanted := twoAdapters(t, reference)
		draw := rand.New(rand.NewPCG(1, 2))
		tokens := func(n int) []int32 {
			ids := make([]int32, n)
			for i := range ids {
				ids[i] = draw.Int32N(int32(m.Config.VocabSize))
			}
			return ids
		}
		system, other := tokens(150), tokens(100)
		g := generate.New(m, adapters[0])
		defer g.Close()
		g.Slots, g.MaxLength = 3, 500
		if err := g.Warm(t.Context(), system); err != nil {
			t.Fatal(err)
		}
		var steps []int
		err := g.Compile(t.Context(), func(_ string, done, total int64) {
			if total != 16 { // 8 of one row and 8 of three
				t.Errorf("%d programs, want 16", total)
			}
			steps = append(steps, int(done))
		})
		if err != nil {
			t.Fatal(err)
		}
		if exact := b.Capabilities().DynamicShapes == compute.DynamicShapesNative; !exact && !slices.Equal(steps, sequence(16)) {
			t.Errorf("progress %v, want 1 to 16", steps)
		} else if exact {
			return // where programs cost nothing, none are compiled ahead
		}

		compiled := g.Compiled()
		ask := func(adapter int, at ...int) {
			var group sync.WaitGroup
			for _, i := range at {
				prompt := slices.Concat([][]int32{system, nil, other}[i%3], tokens([]int{1, 9, 40, 130, 300}[i%5]))
				r := request(prompt, []int{3, 20, 50}[i%3])
				if i%4 == 1 {
					r.MaxNewTokens = 20
					r.MaxNewTokens = 20
					r.Constraint, _ = grammar.Matcher(vocabulary)
				}
				if i%7 == 2 {
					r.Temperature, r.RepetitionPenalty = 1, 1.1
				}
				group.Go(func() {
					got, err := g.Do(t.Context(), r)
					if err != nil {
						t.Error(err)
						return
					}
					if i%3 == 0 && got.CachedTokens < len(system) {
						t.Errorf("%d tokens of the prefix are used, want %d", got.CachedTokens, len(system))
					}
					if r.Constraint == nil && r.Temperature == 0 {
						if want := uncached(t, reference, wanted[adapter], prompt, r.MaxNewTokens); !slices.Equal(got.IDs, want) {
							t.Errorf("prompt %d: %v, want %v", i, got.IDs, want)
						}
					}
				})
			}
			group.Wait()
		}
		for i := range 6 {
			ask(0, i) // alone
		}
		ask(0, 0, 1, 2, 3, 4, 5, 6, 7)
		if err := g.Swap(adapters[1]); err != nil {
			t.Fatal(err)
		}
		ask(1, 1) // without a prefix, before one is computed
		ask(1, 7, 8, 9, 10)
		h, err := g.With(adapters[0])
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		if _, err := h.Do(t.Context(), request(append(slices.Clone(system), 7), 4)); err != nil {
			t.Fatal(err)
		}
		if n := g.Compiled() - compiled; n > 0 {
			t.Errorf("%d programs compiled by requests", n)
		}
	})
}

// sequence is 1 to n.
func sequence(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i + 1
	}
	return list
}

// TestCompileStops cancels, and closes the generator, while programs compile.
func TestCompileStops(t *testing.T) {
	b := salamandratest.XLA(t)
	if b == nil {
		t.Skip("the Go backend compiles nothing ahead: set GOMLX_BACKEND=xla:/path/to/plugin.so")
	}
	m := salamandratest.Load(t, b, salamandratest.Reference(t, "models", "tiny-mha"))
	g := generate.New(m, nil)
	g.Slots = 2
	ctx, cancel := context.WithCancel(t.Context())
	if err := g.Compile(ctx, func(string, int64, int64) { cancel() }); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want %v", err, context.Canceled)
	}
	for range 2 { // closed meanwhile, and before
		if err := g.Compile(t.Context(), func(string, int64, int64) { g.Close() }); err == nil || !strings.Contains(err.Error(), "generator closed") {
			t.Errorf("%v, want one that says it is closed", err)
		}
	}
}

// TestFirstAnswerCompilesFew: on XLA's CPU the first answer waits for two programs of
// the prefix and four of a step, which later steps use as well, however many blocks
// there are; a second answer for none.
func TestFirstAnswerCompilesFew(t *testing.T) {
	b := salamandratest.XLA(t)
	if b == nil || !b.HasSharedBuffers() {
		t.Skip("blocks are programs on XLA's CPU only: set GOMLX_BACKEND=xla:cpu")
	}
	for _, layers := range []int{1, 5} {
		m := salamandratest.Load(t, b, salamandratest.Random(t, salamandratest.Shape{
			Vocabulary: 64, Hidden: 16, Intermediate: 16, Layers: layers, Heads: 2, KVHeads: 1,
		}))
		g := generate.New(m, nil)
		defer g.Close()
		g.MaxLength = 100
		system := slices.Repeat([]int32{4, 5, 6, 7}, 10)
		if err := g.Warm(t.Context(), system); err != nil {
			t.Fatal(err)
		}
		if n := g.Compiled(); n != 2 {
			t.Errorf("%d layers: the prefix takes %d programs, want 2", layers, n)
		}
		for answer := range 2 {
			prompt := append(slices.Clone(system), sequence32(8+answer)...)
			if _, err := g.Do(t.Context(), request(prompt, 3)); err != nil {
				t.Fatal(err)
			}
			if n := g.Compiled(); n != 6 {
				t.Errorf("%d layers: %d programs after answer %d, want 6", layers, n, answer+1)
			}
		}
	}
}

// TestCompileRest: after it requests of any length compile nothing. It waits while
// there are requests, and ends with its context and with the generator.
func TestCompileRest(t *testing.T) {
	b := salamandratest.XLA(t)
	if b == nil {
		t.Skip("the Go backend compiles nothing ahead: set GOMLX_BACKEND=xla:/path/to/plugin.so")
	}
	m := salamandratest.Load(t, b, salamandratest.Random(t, salamandratest.Shape{
		Vocabulary: 64, Hidden: 16, Intermediate: 16, Layers: 2, Heads: 2, KVHeads: 1,
	}))
	g := generate.New(m, nil)
	defer g.Close()
	g.Slots, g.MaxLength = 2, 700
	if err := errors.Join(g.Compile(t.Context(), nil), g.CompileRest(t.Context())); err != nil {
		t.Fatal(err)
	}
	compiled := g.Compiled()
	for _, n := range []int{1, 130} {
		if _, err := g.Do(t.Context(), request(slices.Repeat([]int32{7, 8, 9, 10, 11}, n), 20)); err != nil {
			t.Fatal(err)
		}
	}
	if n := g.Compiled() - compiled; n > 0 {
		t.Errorf("%d programs compiled by requests", n)
	}

	ctx, cancel := context.WithCancel(t.Context())
	busy, ended := request(sequence32(5), 1), make(chan error)
	busy.OnToken = func(int32) { cancel(); <-ended }
	asked := make(chan error)
	go func() {
		_, err := g.Do(t.Context(), busy)
		asked <- err
	}()
	<-ctx.Done()
	if err := g.CompileRest(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want %v", err, context.Canceled)
	}
	close(ended)
	if err := <-asked; err != nil {
		t.Error(err)
	}
	g.Close()
	if err := g.CompileRest(t.Context()); err == nil || !strings.Contains(err.Error(), "generator closed") {
		t.Errorf("%v, want one that says it is closed", err)
	}
}

// TestAloneAfterMany: a request that is left alone by those before it, without a
// pause, is computed in a cache of one row.
func TestAloneAfterMany(t *testing.T) {
	salamandratest.OnEach(t, func(t *testing.T, b compute.Backend) {
		m := salamandratest.Load(t, b, salamandratest.Reference(t, "models", "tiny-mha"))
		g := generate.New(m, nil)
		defer g.Close()
		g.Slots = 2
		var group sync.WaitGroup
		held, err := g.Hold(3)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			group.Go(func() {
				if _, err := g.Do(t.Context(), request([]int32{1, 2, int32(3 + i)}, 4)); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		if err := held(); err != nil {
			t.Fatal(err)
		}
		if n := g.CacheRows(); n != 1 {
			t.Errorf("the last of three requests had a cache of %d rows, want 1", n)
		}
	})
}

func sequence32(n int) []int32 {
	list := make([]int32, n)
	for i := range list {
		list[i] = int32(i + 10)
	}
	return list
}
