package hub_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/internal/hub"
)

func Example() {
	dir, err := hub.Resolve(".", hub.Options{})
	fmt.Println(dir, err)
	// Output: . <nil>
}

func TestResolve(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("HF_HUB_CACHE", cache)
	write := func(path, text string) {
		path = filepath.Join(cache, path)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	write("models--BSC-LT--whole/refs/main", "abc\n")
	write("models--BSC-LT--whole/snapshots/abc/config.json", "{}")
	write("models--BSC-LT--part/refs/main", "abc")

	dir, err := hub.Resolve("BSC-LT/whole", hub.Options{})
	require.NoError(t, err)
	require.Equal(t, filepath.Join(cache, "models--BSC-LT--whole", "snapshots", "abc"), dir)

	dir, err = hub.Resolve(cache, hub.Options{})
	require.NoError(t, err)
	require.Equal(t, cache, dir, "a directory is itself")

	for name, want := range map[string]string{
		"BSC-LT/part":       "it is incomplete; fetch it again with: hf download BSC-LT/part",
		"BSC-LT/absent":     "fetch it with: hf download BSC-LT/absent",
		"./no/such/dir":     "is not a directory",
		"../../etc":         "is not a directory",
		"a/b/c":             "is not a directory",
		"models--BSC-LT/..": "is not a directory",
	} {
		_, err := hub.Resolve(name, hub.Options{})
		require.ErrorIs(t, err, hub.ErrNotFound, name)
		require.ErrorContains(t, err, want, name)
	}
}

func TestIsID(t *testing.T) {
	for id, want := range map[string]bool{
		"BSC-LT/salamandra-7b-instruct": true, "gpt2": true, "a/b_c.d": true,
		"": false, "/a": false, "a/": false, "a/b/c": false, "./a": false, "a/../b": false, "a/.b": false, "a b/c": false, `a\b`: false, "a--b/c": false,
	} {
		require.Equal(t, want, hub.IsID(id), id)
	}
}

func TestCacheDir(t *testing.T) {
	for _, v := range []string{"HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"} {
		t.Setenv(v, "")
	}
	t.Setenv("HOME", "/home/u")
	dir := func() string {
		d, err := hub.CacheDir()
		require.NoError(t, err)
		return d
	}
	require.Equal(t, "/home/u/.cache/huggingface/hub", dir())
	t.Setenv("XDG_CACHE_HOME", "/x")
	require.Equal(t, "/x/huggingface/hub", dir())
	t.Setenv("HF_HOME", "/h")
	require.Equal(t, "/h/hub", dir())
	t.Setenv("HF_HUB_CACHE", "/c")
	require.Equal(t, "/c", dir(), "the most specific wins")
}

func TestExpandHome(t *testing.T) {
	t.Setenv("HOME", "/home/u")
	t.Setenv("HF_HUB_CACHE", "~/models")
	dir, err := hub.CacheDir()
	require.NoError(t, err)
	require.Equal(t, "/home/u/models", dir, "as the Python tools do where no shell did")
}

func TestResolveCountsShards(t *testing.T) {
	t.Setenv("HF_HUB_CACHE", t.TempDir())
	dir := filepath.Join(os.Getenv("HF_HUB_CACHE"), "models--a--b", "snapshots", "c1")
	require.NoError(t, os.MkdirAll(dir, 0o755))
	refs := filepath.Join(dir, "..", "..", "refs")
	require.NoError(t, os.MkdirAll(refs, 0o755))
	write := func(path, text string) { require.NoError(t, os.WriteFile(path, []byte(text), 0o644)) }
	write(filepath.Join(refs, "main"), "c1")
	write(filepath.Join(dir, "config.json"), "{}")
	write(filepath.Join(dir, "model.safetensors.index.json"), `{"weight_map": {"x": "s1", "y": "s2", "z": "s2"}}`)
	write(filepath.Join(dir, "s1"), "")
	_, err := hub.Resolve("a/b", hub.Options{})
	require.ErrorIs(t, err, hub.ErrNotFound)
	require.ErrorContains(t, err, "lacks s2, it is incomplete")
	write(filepath.Join(dir, "s2"), "")
	got, err := hub.Resolve("a/b", hub.Options{})
	require.NoError(t, err)
	require.Equal(t, dir, got)
}
