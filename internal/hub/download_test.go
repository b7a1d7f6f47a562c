package hub_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/internal/hub"
)

// impatient waits for nothing and notes for how long it should have.
func impatient(waits *[]time.Duration) hub.Patience {
	return hub.Patience{Sleep: func(ctx context.Context, d time.Duration) error {
		*waits = append(*waits, d)
		return ctx.Err()
	}}
}

func TestDownload(t *testing.T) {
	h := newFakeHub(t)
	_, err := hub.Resolve(modelID, hub.Options{})
	require.ErrorIs(t, err, hub.ErrNotFound)

	var last, size int64
	dir, err := hub.Download(t.Context(), modelID, hub.Options{Progress: func(phase string, done, total int64) {
		require.Equal(t, "downloading "+modelID, phase)
		require.GreaterOrEqual(t, done, last, "never back")
		last, size = done, total
	}})
	require.NoError(t, err)
	require.Equal(t, cached("snapshots", commit), dir)
	h.requireWhole(t, dir)
	require.Equal(t, size, last)
	require.EqualValues(t, 320_000+23+2+14+10, size)

	link, err := os.Readlink(filepath.Join(dir, "model.safetensors"))
	require.NoError(t, err)
	require.Equal(t, "../../blobs/"+h.blob("model.safetensors"), link, "as the Python tools write it")
	ref, err := os.ReadFile(cached("refs", "main"))
	require.NoError(t, err)
	require.Equal(t, commit, string(ref))
	resolved, err := hub.Resolve(modelID, hub.Options{})
	require.NoError(t, err)
	require.Equal(t, dir, resolved)

	before := len(h.fetched())
	_, err = hub.Download(t.Context(), modelID, hub.Options{})
	require.NoError(t, err)
	require.Len(t, h.fetched(), before, "what is there is not fetched again")

	_, err = hub.Download(t.Context(), modelID, hub.Options{Revision: "refs/pr/1"})
	require.NoError(t, err)
	require.Len(t, h.fetched(), before, "revisions share contents")
	for _, revision := range []string{"refs/pr/1", commit} {
		resolved, err = hub.Resolve(modelID, hub.Options{Revision: revision})
		require.NoError(t, err)
		require.Equal(t, dir, resolved)
	}
	_, err = hub.Resolve(modelID, hub.Options{Revision: "v2"})
	require.ErrorIs(t, err, hub.ErrNotFound)
	require.ErrorContains(t, err, "hf download BSC-LT/tiny --revision v2")
}

func TestDownloadWithoutSymlinks(t *testing.T) {
	h := newFakeHub(t)
	dir, err := hub.DownloadWith(t.Context(), modelID, hub.Options{}, hub.Patience{
		Symlink: func(_, _ string) error { return errors.ErrUnsupported },
	})
	require.NoError(t, err)
	h.requireWhole(t, dir)
	info, err := os.Lstat(filepath.Join(dir, "model.safetensors"))
	require.NoError(t, err)
	require.True(t, info.Mode().IsRegular())
}

// cut sends the first bytes of a large file and drops the connection.
func cut(h *fakeHub, w http.ResponseWriter, r *http.Request, bytes int) bool {
	text := h.files["model.safetensors"]
	if at := r.Header.Get("Range"); at != "" {
		var from int
		fmt.Sscanf(at, "bytes=%d-", &from)
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(text)-1, len(text)))
		w.Header().Set("Content-Length", fmt.Sprint(len(text)-from))
		w.WriteHeader(http.StatusPartialContent)
		text = text[from:]
	} else {
		w.Header().Set("Content-Length", fmt.Sprint(len(text)))
	}
	w.Write([]byte(text[:bytes]))
	w.(http.Flusher).Flush()
	panic(http.ErrAbortHandler)
}

func atStore(h *fakeHub, r *http.Request) bool { return "http://"+r.Host == h.store.URL }

func TestDownloadRecovers(t *testing.T) {
	const weights = "model.safetensors"
	rows := []struct {
		name   string
		before func(h *fakeHub, w http.ResponseWriter, r *http.Request, n int) bool
		ranges []string // of the requests for the weights
		waits  []time.Duration
	}{
		{"cut twice, continued where it was", func(h *fakeHub, w http.ResponseWriter, r *http.Request, n int) bool {
			return atStore(h, r) && n < 2 && cut(h, w, r, 100_000)
		}, []string{"", "bytes=100000-", "bytes=200000-"}, []time.Duration{time.Second, 2 * time.Second}},
		{"cut, and the server gives no ranges", func(h *fakeHub, w http.ResponseWriter, r *http.Request, n int) bool {
			if atStore(h, r) && n > 0 {
				w.Write([]byte(h.files[weights]))
				return true
			}
			return atStore(h, r) && cut(h, w, r, 100_000)
		}, []string{"", "bytes=100000-"}, []time.Duration{time.Second}},
		{"429 says when", func(h *fakeHub, w http.ResponseWriter, r *http.Request, n int) bool {
			if !atStore(h, r) || n > 0 {
				return false
			}
			w.Header().Set("Retry-After", "17")
			w.WriteHeader(http.StatusTooManyRequests)
			return true
		}, []string{"", ""}, []time.Duration{17 * time.Second}},
		{"503 for the list", func(h *fakeHub, w http.ResponseWriter, r *http.Request, n int) bool {
			if !strings.HasPrefix(r.URL.Path, "/api/") || n > 2 {
				return false
			}
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		}, []string{""}, []time.Duration{time.Second, 2 * time.Second, 4 * time.Second}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			h := newFakeHub(t)
			h.before = func(w http.ResponseWriter, r *http.Request, n int) bool { return row.before(h, w, r, n) }
			var waits []time.Duration
			dir, err := hub.DownloadWith(t.Context(), modelID, hub.Options{}, impatient(&waits))
			require.NoError(t, err)
			h.requireWhole(t, dir)
			var ranges []string
			for _, f := range h.fetched() {
				if at, ok := strings.CutPrefix(f, weights); ok {
					ranges = append(ranges, strings.TrimSpace(at))
				}
			}
			require.Equal(t, row.ranges, ranges)
			require.Equal(t, row.waits, waits)
		})
	}
}

func status(code int, header ...string) func(http.ResponseWriter, *http.Request, int) bool {
	return func(w http.ResponseWriter, _ *http.Request, _ int) bool {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
		return true
	}
}

// onlyFiles leaves the list alone.
func onlyFiles(f func(http.ResponseWriter, *http.Request, int) bool) func(http.ResponseWriter, *http.Request, int) bool {
	return func(w http.ResponseWriter, r *http.Request, n int) bool {
		return strings.Contains(r.URL.Path, "/resolve/") && f(w, r, n)
	}
}

// sibling edits one entry of the list.
func sibling(name, key string, value any) func(map[string]any) {
	return func(list map[string]any) {
		for _, s := range list["siblings"].([]any) {
			if s := s.(map[string]any); s["rfilename"] == name {
				if lfs, ok := s["lfs"].(map[string]any); ok && key != "rfilename" {
					s = lfs
				}
				s[key] = value
			}
		}
	}
}

func TestDownloadFails(t *testing.T) {
	zeros := strings.Repeat("0", 64)
	rows := []struct {
		name   string
		env    string // of HF_TOKEN
		edit   func(map[string]any)
		before func(http.ResponseWriter, *http.Request, int) bool
		want   error
		text   string
	}{
		{"no such model, or private", "", nil, status(401), hub.ErrUnauthorized, "check the name; if the model is private or gated, set HF_TOKEN"},
		{"bad token", "t", nil, status(401), hub.ErrUnauthorized, "that the token is valid"},
		{"gated, no token", "", nil, onlyFiles(status(401, "X-Error-Code", "GatedRepo")), hub.ErrGated, "/BSC-LT/tiny and set HF_TOKEN"},
		{"gated, not accepted", "t", nil, onlyFiles(status(403, "X-Error-Code", "GatedRepo")), hub.ErrGated, "with the account of the token"},
		{"no such revision", "", nil, status(404), hub.ErrNotFound, "check the name and the revision"},
		{"busy for ever", "", nil, status(503), hub.ErrUnavailable, "tried 6 times"},
		{"asks for an hour", "", nil, status(429, "Retry-After", "3600"), hub.ErrUnavailable, "it asks to wait 1h0m0s"},
		{"other status", "", nil, status(418), hub.ErrUnavailable, "418"},
		{"not a hub", "", nil, func(w http.ResponseWriter, _ *http.Request, _ int) bool { fmt.Fprint(w, "<html>"); return true }, hub.ErrUnavailable, "not in the hub's form"},
		{"size too small", "", sibling("model.safetensors", "size", 10), nil, hub.ErrCorrupt, "model.safetensors: corrupt download: the file has 320000 bytes, the hub lists 10"},
		{"size too large", "", sibling("config.json", "size", 1000), nil, hub.ErrCorrupt, "the file has 23 bytes, the hub lists 1000"},
		{"too long without a length", "", sibling("config.json", "size", 3), onlyFiles(func(w http.ResponseWriter, r *http.Request, _ int) bool {
			if strings.HasSuffix(r.URL.Path, "/config.json") {
				w.(http.Flusher).Flush()
				w.Write([]byte("12345"))
				return true
			}
			return false
		}), hub.ErrCorrupt, "longer than"},
		{"hash of a large file", "", sibling("model.safetensors", "sha256", zeros), nil, hub.ErrCorrupt, "the hub lists " + zeros},
		{"hash of a small file", "", sibling("config.json", "blobId", zeros[:40]), nil, hub.ErrCorrupt, "the hub lists " + zeros[:40]},
		{"hash that is a path", "", sibling("config.json", "blobId", "../../../evil"), nil, hub.ErrRefused, "the hash"},
		{"commit that is a path", "", func(l map[string]any) { l["sha"] = "../../evil" }, nil, hub.ErrRefused, "commit"},
		{"name that climbs", "", sibling("LICENSE", "rfilename", "../LICENSE"), nil, hub.ErrRefused, "leads elsewhere"},
		{"name that climbs back", "", sibling("LICENSE", "rfilename", "a/../LICENSE"), nil, hub.ErrRefused, "leads elsewhere"},
		{"absolute name", "", sibling("LICENSE", "rfilename", "/LICENSE"), nil, hub.ErrRefused, "leads elsewhere"},
		{"backslash", "", sibling("LICENSE", "rfilename", `LICENSE\..\x`), nil, hub.ErrRefused, "leads elsewhere"},
		{"drive", "", sibling("LICENSE", "rfilename", "LICENSE:C"), nil, hub.ErrRefused, "leads elsewhere"},
		{"no weights", "", sibling("model.safetensors", "rfilename", "model.bin"), nil, hub.ErrNotFound, "no config.json with *.safetensors"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			h := newFakeHub(t)
			t.Setenv("HF_TOKEN", row.env)
			h.edit, h.before = row.edit, row.before
			var waits []time.Duration
			_, err := hub.DownloadWith(t.Context(), modelID, hub.Options{}, impatient(&waits))
			require.ErrorIs(t, err, row.want)
			require.ErrorContains(t, err, row.text)
			require.NotContains(t, err.Error(), "\n")
			require.ErrorContains(t, err, modelID+": ")
			require.NoFileExists(t, cached("refs", "main"), "nothing points to what is not whole")
			h.requireNoHalf(t)
		})
	}
}

func TestDownloadRefusesBeforeAnyRequest(t *testing.T) {
	rows := []struct {
		name, variable, value, id, revision string
		want                                error
	}{
		{"offline", "HF_HUB_OFFLINE", "1", modelID, "", hub.ErrOffline},
		{"offline, the other name", "TRANSFORMERS_OFFLINE", "true", modelID, "", hub.ErrOffline},
		{"name that climbs", "HF_TOKEN", "", "../x", "", hub.ErrRefused},
		{"name with an address", "HF_TOKEN", "", "x?y", "", hub.ErrRefused},
		{"revision that climbs", "HF_TOKEN", "", modelID, "refs/../..", hub.ErrRefused},
		{"endpoint without a scheme", "HF_ENDPOINT", "huggingface.co", modelID, "", hub.ErrRefused},
		{"endpoint with a password", "HF_ENDPOINT", "https://a:b@huggingface.co", modelID, "", hub.ErrRefused},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			h := newFakeHub(t)
			t.Setenv(row.variable, row.value)
			_, err := hub.Download(t.Context(), row.id, hub.Options{Revision: row.revision})
			require.ErrorIs(t, err, row.want)
			require.Empty(t, h.seen)
		})
	}
}

func TestTokenStaysAtItsOrigin(t *testing.T) {
	for _, stored := range []bool{false, true} {
		h := newFakeHub(t)
		h.before = func(w http.ResponseWriter, r *http.Request, n int) bool {
			// The way back from the store: the token must not return with it.
			if atStore(h, r) && n == 0 {
				http.Redirect(w, r, h.URL+r.URL.Path+"?back", http.StatusFound)
				return true
			}
			return false
		}
		if stored {
			require.NoError(t, os.WriteFile(filepath.Join(os.Getenv("HF_HOME"), "token"), []byte("hf_secret\n"), 0o600))
		} else {
			t.Setenv("HF_TOKEN", "hf_secret")
		}
		_, err := hub.Download(t.Context(), modelID, hub.Options{})
		require.NoError(t, err)
		back := 0
		for _, r := range h.seen {
			want := "Bearer hf_secret"
			if atStore(h, r) {
				want = ""
			}
			if strings.Contains(r.URL.RawQuery, "back") {
				back, want = back+1, ""
			}
			require.Equal(t, want, r.Header.Get("Authorization"), "%s%s", r.Host, r.URL)
		}
		require.Equal(t, 1, back)
	}
}

func TestTokenNotOverPlainHTTP(t *testing.T) {
	h := newFakeHub(t)
	h.before = status(401)
	t.Setenv("HF_TOKEN", "hf_secret")
	t.Setenv("HF_ENDPOINT", "http://hub.example")
	_, err := hub.DownloadWith(t.Context(), modelID, hub.Options{}, hub.Patience{Proxy: h.URL})
	require.ErrorIs(t, err, hub.ErrUnauthorized)
	require.ErrorContains(t, err, "not sent over plain http")
	require.Len(t, h.seen, 1)
	require.Equal(t, "hub.example", h.seen[0].Host)
	require.Empty(t, h.seen[0].Header.Get("Authorization"))
}

func TestDownloadResumesWhatAnEarlierRunLeft(t *testing.T) {
	rows := []struct {
		name, left string
		want       []string
	}{
		{"good", strings.Repeat("weights!", 100), []string{"model.safetensors bytes=800-"}},
		{"other contents", strings.Repeat("x", 800), []string{"model.safetensors bytes=800-", "model.safetensors"}},
		{"all of it", strings.Repeat("weights!", 40_000), nil},
		{"too long", strings.Repeat("weights!", 50_000), []string{"model.safetensors"}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			h := newFakeHub(t)
			require.NoError(t, os.MkdirAll(cached("blobs"), 0o755))
			part := cached("blobs", h.blob("model.safetensors")+".incomplete")
			require.NoError(t, os.WriteFile(part, []byte(row.left), 0o644))
			dir, err := hub.Download(t.Context(), modelID, hub.Options{})
			require.NoError(t, err)
			h.requireWhole(t, dir)
			require.NoFileExists(t, part)
			var got []string
			for _, f := range h.fetched() {
				if strings.HasPrefix(f, "model") {
					got = append(got, f)
				}
			}
			require.Equal(t, row.want, got)
		})
	}
}

func TestDownloadCancelled(t *testing.T) {
	h := newFakeHub(t)
	ctx, cancel := context.WithCancel(t.Context())
	h.before = func(w http.ResponseWriter, r *http.Request, n int) bool {
		if !atStore(h, r) || n > 0 {
			return false
		}
		w.Header().Set("Content-Length", "320000")
		w.Write([]byte(h.files["model.safetensors"][:100_000]))
		w.(http.Flusher).Flush()
		time.Sleep(20 * time.Millisecond) // it arrives
		cancel()
		<-r.Context().Done()
		return true
	}
	_, err := hub.Download(ctx, modelID, hub.Options{})
	require.ErrorIs(t, err, context.Canceled)
	h.requireNoHalf(t)
	_, err = hub.Resolve(modelID, hub.Options{})
	require.ErrorIs(t, err, hub.ErrNotFound)

	dir, err := hub.Download(t.Context(), modelID, hub.Options{})
	require.NoError(t, err)
	h.requireWhole(t, dir)
	require.Contains(t, h.fetched(), "model.safetensors bytes=100000-")
}

func TestDownloadsAtOnce(t *testing.T) {
	h := newFakeHub(t)
	var wg sync.WaitGroup
	errs := make([]error, 4)
	for i := range errs {
		wg.Go(func() { _, errs[i] = hub.Download(t.Context(), modelID, hub.Options{}) })
	}
	wg.Wait()
	require.NoError(t, errors.Join(errs...))
	h.requireWhole(t, cached("snapshots", commit))
	require.Len(t, h.fetched(), 5, "each file once")
}
