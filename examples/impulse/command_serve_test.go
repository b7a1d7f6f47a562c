package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/salamandra/serve"
)

func testServeOptions() serveOptions {
	return serveOptions{
		modelOptions: modelOptions{ModelPath: filepath.Join("demo", "tiny-salamandra"), Dtype: "auto"},
		Addr:         "127.0.0.1:0", Name: "tiny", Backend: "go", MaxBatch: 2, LogFormat: "text", Serve: serve.DefaultOptions(),
	}
}

// TestServe runs the command on a model, asks it, and stops it.
func TestServe(t *testing.T) {
	o := testServeOptions()
	o.PromptFile, o.KeyFile = filepath.Join(t.TempDir(), "prompt.txt"), filepath.Join(t.TempDir(), "keys")
	o.Serve.Title = "Queries"
	require.NoError(t, os.WriteFile(o.PromptFile, []byte("Parse the query."), 0o600))
	require.NoError(t, os.WriteFile(o.KeyFile, []byte("# of the test\n\nkey-of-the-test-1\n"), 0o600))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	log := &strings.Builder{} // read once the command has ended
	go func() { done <- runServe(ctx, o, l, io.Discard, log) }()
	ask := func(method, path, body string) (int, string) {
		r, err := http.NewRequest(method, "http://"+l.Addr().String()+path, strings.NewReader(body))
		require.NoError(t, err)
		r.Header.Set("Authorization", "Bearer key-of-the-test-1")
		r.Header.Set("Content-Type", "application/json")
		a, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		defer a.Body.Close()
		data, err := io.ReadAll(a.Body)
		require.NoError(t, err)
		return a.StatusCode, string(data)
	}
	require.Eventually(t, func() bool { status, _ := ask("GET", "/readyz", ""); return status == 200 }, time.Minute, time.Millisecond)
	status, answer := ask("POST", "/parse", `{"query": "una pregunta privada", "language": "ca", "timing": true}`)
	require.Equal(t, 200, status, answer)
	require.Contains(t, answer, `"original_query":"una pregunta privada"`)
	require.Contains(t, answer, `"model":"tiny"`)
	_, answer = ask("GET", "/v1/models", "")
	require.Contains(t, answer, `"title":"Queries","description":"Questions on research`, "the flag's, and else IMPULSE's for its schema")
	status, answer, errs := askMain("", "--url", l.Addr().String(), "--api-key", "key-of-the-test-1", "--json", "una altra pregunta")
	require.Zero(t, status, errs)
	require.Contains(t, answer, `"original_query":"una altra pregunta"`)
	stop()
	require.NoError(t, <-done)
	require.Contains(t, log.String(), "route=/parse status=200")
	require.NotContains(t, log.String(), "privada")
	require.NotContains(t, log.String(), "key-of-the-test")
}

// TestServeRefusals: what is wrong with the flags is reported before a model is
// loaded.
func TestServeRefusals(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	for _, row := range []struct {
		name   string
		change func(o *serveOptions)
		says   []string
	}{
		{"all at once", func(o *serveOptions) {
			o.ModelPath, o.MaxBatch, o.Queue, o.MaxRank, o.LogFormat, o.Serve.Timeout = "", 0, -1, -1, "xml", 0
			o.Serve.Sampling.TopP, o.Serve.Sampling.RepetitionPenalty = 2, 0
		}, []string{"--top-p 2, want above 0 and at most 1; --repetition-penalty 0, want", "--model-path is required", "--max-batch is 0", "--queue is -1", "--max-rank is -1", `--log-format is "xml"`, "--timeout is 0s"}},
		{"adapters from nowhere", func(o *serveOptions) { o.Adapters = []string{"a"} }, []string{"--adapters needs --adapters-dir"}},
		{"directory without use", func(o *serveOptions) { o.AdaptersDir = dir }, []string{"--adapters-dir without keys does nothing"}},
		{"rank without use", func(o *serveOptions) { o.MaxRank = 8 }, []string{"--max-rank needs --adapters-dir"}},
		{"no keys", func(o *serveOptions) { o.KeyFile = write("empty", "# none\n") }, []string{"--api-key-file", "no key in it"}},
		{"short key", func(o *serveOptions) { o.KeyFile = write("short", "key\n") }, []string{"key 1 has 3 characters, want 16 or more"}},
		{"no key file", func(o *serveOptions) { o.AdminKeyFile = filepath.Join(dir, "missing") }, []string{"--admin-key-file", "no such file"}},
		{"open to others", func(o *serveOptions) { o.Addr = "0.0.0.0:0" }, []string{"other machines reach this address", "--api-key-file FILE, or --insecure"}},
		{"no address", func(o *serveOptions) { o.Addr = "nowhere" }, []string{"--addr: "}},
	} {
		t.Run(row.name, func(t *testing.T) {
			o := testServeOptions()
			row.change(&o)
			err := runServe(t.Context(), o, nil, io.Discard, io.Discard)
			for _, part := range row.says {
				require.ErrorContains(t, err, part)
			}
		})
	}
}
