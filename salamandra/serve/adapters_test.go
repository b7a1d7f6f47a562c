package serve

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/gomlx/core/graph"
	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/salamandra"
	"github.com/impulse-salamandra/finetune/salamandra/salamandratest"
	"github.com/impulse-salamandra/finetune/salamandra/tokenizer"
)

// realServer serves a small model with the adapters of a directory.
type realServer struct {
	*Server
	dir    string
	log    logBuffer
	loaded []salamandra.Adapter
	graphs atomic.Int32 // with adapters in them
}

func newRealServer(t *testing.T, maxRank int) *realServer {
	t.Helper()
	return newRealServerOn(t, salamandratest.Go(t), maxRank, 16)
}

func newRealServerOn(t *testing.T, b compute.Backend, maxRank, guess int) *realServer {
	t.Helper()
	base := salamandratest.Reference(t, "models", "tiny-gqa")
	model := salamandratest.Load(t, b, base)
	tok, err := tokenizer.Load(base)
	require.NoError(t, err)
	generator := salamandra.NewGenerator(model, nil)
	generator.Guess = guess
	t.Cleanup(generator.Close)
	r := &realServer{dir: t.TempDir()}
	contract := testContract()
	contract.TokenizerSHA256, contract.BaseSHA256 = tok.Hash(), strings.Repeat("b", 64)
	o := testOptions(generator)
	o.Models[0].Contract, o.Tokenizer, o.Logger = contract, tok, r.log.logger()
	o.Context, o.MaxNewTokens = model.Config.MaxPositionEmbeddings, 96
	end, _ := tok.TokenID(chatml.EndToken)
	o.StopTokens, o.Keys = []int32{end}, []string{adminKey}
	o.Load = AdapterDir{Dir: r.dir, Base: model, Contract: contract, MaxRank: maxRank, Engine: func(a salamandra.Adapter) (Engine, func(), error) {
		r.loaded = append(r.loaded, a)
		g, err := generator.With(counted{a.(*lora.Layers), &r.graphs})
		if err != nil {
			return nil, nil, err
		}
		return g, g.Close, nil
	}}.Load
	r.Server = newTestServer(t, o)
	for _, name := range []string{"adapter-lora", "adapter-rslora", "adapter-patterns"} {
		require.NoError(t, os.CopyFS(filepath.Join(r.dir, name), os.DirFS(filepath.Join(base, "golden", name))))
	}
	return r
}

// swap asks for an adapter in the place of the model.
func (r *realServer) swap(t *testing.T, name string) swapAnswer {
	t.Helper()
	w := do(r, "POST", "/admin/adapter", `{"adapter": "`+name+`"}`, "Authorization", "Bearer "+adminKey)
	require.Equal(t, http.StatusOK, w.Code, w.Body.String())
	var a swapAnswer
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &a))
	return a
}

func (r *realServer) ask(t *testing.T) string {
	t.Helper()
	w := do(r, "POST", "/v1/chat/completions", `{"messages": [{"role": "user", "content": "sensors"}], "max_tokens": 40}`, "Authorization", "Bearer "+adminKey)
	require.Equal(t, http.StatusOK, w.Code, w.Body.String())
	var c completion
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &c))
	return *c.Choices[0].Message.Content
}

// counted is an adapter that counts the graphs it is built into, each compiled
// once.
type counted struct {
	*lora.Layers
	graphs *atomic.Int32
}

func (c counted) Linear(params []*graph.Node) salamandra.LinearFunc {
	c.graphs.Add(1)
	return c.Layers.Linear(params)
}

// TestAdaptersShareProgramsWhenFilledUp: with MaxRank, adapters of other ranks
// and layers take each other's place without a new program, and answer as they
// do by themselves.
func TestAdaptersShareProgramsWhenFilledUp(t *testing.T) {
	salamandratest.OnEach(t, func(t *testing.T, b compute.Backend) {
		// Guesses make steps of other lengths.
		plain, padded := newRealServerOn(t, b, 0, 0), newRealServerOn(t, b, 8, 0)
		var forOne int32
		for i, name := range []string{"adapter-lora", "adapter-patterns", "adapter-lora"} {
			plain.swap(t, name)
			padded.swap(t, name)
			require.Equal(t, plain.ask(t), padded.ask(t), name)
			if i == 0 {
				forOne = padded.graphs.Load()
				require.Equal(t, plain.graphs.Load(), forOne)
				require.Positive(t, forOne)
			}
		}
		require.Equal(t, forOne, padded.graphs.Load(), "compiled by a swap")
		require.Greater(t, plain.graphs.Load(), forOne, "without that, another structure needs programs of its own")
		require.False(t, padded.loaded[0].(*lora.Layers).Params().Ok(), "the memory of what was replaced is free")
		require.True(t, padded.loaded[2].(*lora.Layers).Params().Ok())
	})
}

// TestAdapterOfTooHighRank: it cannot be filled up.
func TestAdapterOfTooHighRank(t *testing.T) {
	low := newRealServer(t, 4)
	w := do(low, "POST", "/admin/adapter", `{"adapter": "adapter-lora"}`, "Authorization", "Bearer "+adminKey)
	require.Equal(t, http.StatusUnprocessableEntity, w.Code)
	require.Contains(t, problem(t, w).Message, "has rank 8, more than 4")
}

// TestAdapterWithoutEffect: one saved before training is served, and told of.
func TestAdapterWithoutEffect(t *testing.T) {
	r := newRealServer(t, 0)
	require.Empty(t, r.swap(t, "adapter-lora").Warning)
	require.NotContains(t, r.log.String(), "level=WARN")
	untrained, err := lora.ReadAdapter(filepath.Join(r.dir, "adapter-lora"))
	require.NoError(t, err)
	for i := range untrained.Modules {
		clear(untrained.Modules[i].B)
	}
	require.NoError(t, untrained.Write(filepath.Join(r.dir, "untrained")))
	require.Contains(t, r.swap(t, "untrained").Warning, "changes nothing")
	require.Regexp(t, `level=WARN msg="the adapter changes nothing.*" model=impulse adapter=untrained`, r.log.String())
}

// TestAdapterRefused: an adapter is found by name inside the directory alone,
// and is refused if it was trained on something else.
func TestAdapterRefused(t *testing.T) {
	r := newRealServer(t, 0)
	before := r.ask(t)
	outside := filepath.Join(t.TempDir(), "outside")
	require.NoError(t, os.CopyFS(outside, os.DirFS(filepath.Join(r.dir, "adapter-lora"))))
	require.NoError(t, os.Symlink(outside, filepath.Join(r.dir, "link")))
	require.NoError(t, os.Symlink("adapter-lora", filepath.Join(r.dir, "alias")))
	require.NoError(t, os.Mkdir(filepath.Join(r.dir, "empty"), 0o755))
	train := func(name string, change func(*chatml.Contract)) {
		dir := filepath.Join(r.dir, name)
		require.NoError(t, os.CopyFS(dir, os.DirFS(filepath.Join(r.dir, "adapter-lora"))))
		c := r.opts.Models[0].Contract
		change(&c)
		require.NoError(t, c.Write(filepath.Join(dir, chatml.ContractFile)))
	}
	train("own-prompt", func(c *chatml.Contract) { c.SystemPrompt = "Another prompt." })
	train("other-base", func(c *chatml.Contract) { c.BaseSHA256 = strings.Repeat("c", 64) })
	train("other-tokenizer", func(c *chatml.Contract) { c.TokenizerSHA256 = strings.Repeat("d", 64) })
	for _, row := range []struct {
		name   string
		status int
		says   string
	}{
		{"link", 404, "no adapter of this name"},
		{"missing", 404, "no adapter of this name"},
		{"empty", 422, lora.ConfigFile},
		{"other-base", 422, "base_sha256"},
		{"other-tokenizer", 422, "tokenizer_sha256"},
	} {
		w := do(r, "POST", "/admin/adapter", `{"adapter": "`+row.name+`"}`, "Authorization", "Bearer "+adminKey)
		require.Equal(t, row.status, w.Code, "%s: %s", row.name, w.Body)
		require.Contains(t, problem(t, w).Message, row.says)
	}
	require.Equal(t, before, r.ask(t))
	r.swap(t, "alias")
	r.swap(t, "own-prompt")
	names, err := AdapterDir{Dir: r.dir}.Names()
	require.NoError(t, err)
	require.Equal(t, []string{"adapter-lora", "adapter-patterns", "adapter-rslora", "alias", "other-base", "other-tokenizer", "own-prompt"}, names)
}
