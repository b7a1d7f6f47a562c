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
	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune"
	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/internal/weights"
	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/salamandra"
	"github.com/impulse-salamandra/finetune/salamandra/device"
	"github.com/impulse-salamandra/finetune/salamandra/salamandratest"
	"github.com/impulse-salamandra/finetune/salamandra/tokenizer"
)

// realServer serves a small model with the adapters of a directory.
type realServer struct {
	*Server
	dir      string
	contract chatml.Contract
	model    *finetune.Model
	log      logBuffer
	compiled atomic.Int32 // programs
}

func newRealServer(t *testing.T, maxRank int) *realServer {
	t.Helper()
	return newRealServerOn(t, salamandratest.Go(t), maxRank)
}

func newRealServerOn(t *testing.T, b compute.Backend, maxRank int) *realServer {
	t.Helper()
	golden := salamandratest.Reference(t, "models", "tiny-gqa")
	tok, err := tokenizer.Load(golden)
	require.NoError(t, err)
	base := t.TempDir()
	require.NoError(t, os.CopyFS(base, os.DirFS(golden)))
	shorten(t, filepath.Join(base, "config.json"))
	r := &realServer{dir: t.TempDir(), contract: testContract()}
	r.contract.TokenizerSHA256 = tok.Hash()
	r.contract.BaseSHA256, err = weights.Hash(t.Context(), base)
	require.NoError(t, err)
	require.NoError(t, r.contract.Write(filepath.Join(base, chatml.ContractFile)))
	on := &device.Device{Backend: b, Options: salamandra.DefaultOptions()}
	on.Options.Compiled = func() { r.compiled.Add(1) }
	m, err := finetune.Open(t.Context(), base, finetune.Options{Device: on, MaxRank: maxRank, MaxNewTokens: 96, NoWarmUp: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	r.model = m
	o := testOptions()
	o.Logger, o.MaxNewTokens, o.Keys, o.AdaptersDir = r.log.logger(), 96, []string{adminKey}, r.dir
	r.Server, err = New(m, o)
	require.NoError(t, err)
	t.Cleanup(r.Close)
	for _, name := range []string{"adapter-lora", "adapter-rslora", "adapter-patterns"} {
		require.NoError(t, os.CopyFS(filepath.Join(r.dir, name), os.DirFS(filepath.Join(golden, "golden", name))))
	}
	return r
}

// shorten makes a model one of 512 tokens: longer ones go on compiling once they are warm.
func shorten(t *testing.T, path string) {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	var config map[string]any
	require.NoError(t, json.Unmarshal(text, &config))
	config["max_position_embeddings"] = 512
	text, err = json.Marshal(config)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, text, 0o644))
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

// TestAdaptersShareProgramsWhenFilledUp: with MaxRank, adapters of other ranks
// and layers take each other's place without a new program, and answer as they
// do by themselves.
func TestAdaptersShareProgramsWhenFilledUp(t *testing.T) {
	salamandratest.OnEach(t, func(t *testing.T, b compute.Backend) {
		plain, padded := newRealServerOn(t, b, 0), newRealServerOn(t, b, 8)
		var one int32
		for i, name := range []string{"adapter-lora", "adapter-patterns", "adapter-lora"} {
			plain.swap(t, name)
			padded.swap(t, name)
			require.Equal(t, plain.ask(t), padded.ask(t), name)
			if i == 0 {
				one = padded.compiled.Load()
				require.Positive(t, one)
			}
		}
		if b.Capabilities().DynamicShapes != compute.DynamicShapesNative { // there steps of each length have their own
			require.Equal(t, one, padded.compiled.Load(), "compiled by a swap")
		}
		require.Greater(t, plain.compiled.Load(), one, "without that, another structure needs programs of its own")
	})
}

// TestProgramSwaps: the program that the server is in may change the adapter too,
// and closing its model is the end of requests, not of the server.
func TestProgramSwaps(t *testing.T) {
	r := newRealServer(t, 0)
	before := r.ask(t)
	require.NoError(t, r.model.Swap(t.Context(), filepath.Join(r.dir, "adapter-lora")))
	after := r.ask(t)
	require.NotEqual(t, before, after)
	r.swap(t, "adapter-rslora")
	r.swap(t, "adapter-lora")
	require.Equal(t, after, r.ask(t))
	require.NoError(t, r.model.Close())
	w := do(r, "POST", "/parse", `{"query": "a"}`, "Authorization", "Bearer "+adminKey)
	require.Equal(t, http.StatusServiceUnavailable, w.Code, w.Body.String())
	require.Equal(t, "shutting_down", problem(t, w).Code)
}

// TestAdapterOfTooHighRank: it cannot be filled up.
func TestAdapterOfTooHighRank(t *testing.T) {
	low := newRealServer(t, 4)
	w := do(low, "POST", "/admin/adapter", `{"adapter": "adapter-lora"}`, "Authorization", "Bearer "+adminKey)
	require.Equal(t, http.StatusUnprocessableEntity, w.Code)
	require.Contains(t, problem(t, w).Message, "rank 8, more than 4")
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
	require.Contains(t, r.swap(t, "untrained").Warning, "has no effect")
	require.Regexp(t, `level=WARN msg="adapter .* has no effect.*" model=impulse adapter=untrained`, r.log.String())
}

// TestAdapterRefused: an adapter is found by name only inside the directory,
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
		c := r.contract
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
	require.ErrorContains(t, r.LoadAdapter(t.Context(), "other-base", "beside"), "base_sha256")
	require.NoError(t, r.LoadAdapter(t.Context(), "adapter-lora", "beside"))
	require.NotNil(t, r.models.find("beside"))
	r.swap(t, "alias")
	r.swap(t, "own-prompt")
	names, err := r.Adapters()
	require.NoError(t, err)
	require.Equal(t, []string{"adapter-lora", "adapter-patterns", "adapter-rslora", "alias", "other-base", "other-tokenizer", "own-prompt"}, names)
}
