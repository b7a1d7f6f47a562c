package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/lora"
)

// What the user names is fetched; what an adapter names only if told so; a
// mistyped path never.
func TestWhatIsDownloaded(t *testing.T) {
	var requests atomic.Int32
	hub := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		requests.Add(1)
		http.Error(w, "no such model", http.StatusNotFound)
	}))
	defer hub.Close()
	t.Setenv("HF_ENDPOINT", hub.URL)
	t.Setenv("HF_HUB_CACHE", t.TempDir())
	t.Setenv("HF_HUB_OFFLINE", "")
	t.Chdir(t.TempDir())
	require.NoError(t, os.Mkdir("models", 0o755))

	config := lora.DefaultConfig()
	config.BaseModelNameOrPath, config.Rank, config.TargetModules = "owner/base", 1, []string{"q_proj"}
	adapter := filepath.Join(t.TempDir(), "adapter")
	require.NoError(t, (&lora.Adapter{Config: config, Modules: []lora.Module{{
		Name: "model.layers.0.self_attn.q_proj", In: 1, Out: 1, Rank: 1, A: []float32{1}, B: []float32{1},
	}}}).Write(adapter))
	model := func(name string) func() (string, error) {
		return func() (string, error) { return findModel(t.Context(), "--model", name, io.Discard) }
	}
	base := func(flag string, may bool) func() (string, error) {
		return func() (string, error) { return findBase(t.Context(), adapter, flag, may, io.Discard) }
	}
	for _, row := range []struct {
		name string
		find func() (string, error)
		asks bool
		want string // in the error
	}{
		{"hub id", model("owner/model"), true, "--model: "},
		{"path below a directory", model("models/mistyped"), false, "models/mistyped"},
		{"path", model("./owner/model"), false, "is not a directory"},
		{"one name", model("model"), false, "--model: "},
		{"base of an adapter", base("", false), false, "--download fetches one"},
		{"base of an adapter, told so", base("", true), true, "base model of the adapter"},
		{"base by flag", base("owner/base", false), true, "--base-model: "},
	} {
		t.Run(row.name, func(t *testing.T) {
			requests.Store(0)
			_, err := row.find()
			require.ErrorContains(t, err, row.want)
			require.Equal(t, row.asks, requests.Load() > 0)
		})
	}
}
