package hub_test

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	modelID = "BSC-LT/tiny"
	commit  = "0123456789abcdef0123456789abcdef01234567"
)

// fakeHub serves one model as the hub does: small files itself, large files by
// a redirect to another host.
type fakeHub struct {
	*httptest.Server
	store *httptest.Server // the other host
	files map[string]string
	// edit changes the list of files before it is sent.
	edit func(list map[string]any)
	// before may answer a request in the hub's place; n counts the requests
	// for that path from 0.
	before func(w http.ResponseWriter, r *http.Request, n int) bool

	mu   sync.Mutex
	seen []*http.Request
}

func newFakeHub(t *testing.T) *fakeHub {
	h := &fakeHub{files: map[string]string{
		"config.json":            `{"model_type": "llama"}`,
		"tokenizer.json":         "{}",
		"chat_template.jinja":    "{{ messages }}",
		"LICENSE":                "Apache-2.0",
		"model.safetensors":      strings.Repeat("weights!", 40_000),
		"pytorch_model.bin":      "not wanted",
		"original/a.safetensors": "not wanted",
		".gitattributes":         "not wanted",
	}}
	h.Server = httptest.NewServer(http.HandlerFunc(h.serve))
	h.store = httptest.NewServer(http.HandlerFunc(h.serve))
	t.Cleanup(h.Server.Close)
	t.Cleanup(h.store.Close)
	for _, name := range []string{"HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_TOKEN", "HF_TOKEN_PATH", "HUGGINGFACE_HUB_CACHE", "HF_HUB_CACHE"} {
		t.Setenv(name, "")
	}
	t.Setenv("HF_HOME", t.TempDir())
	t.Setenv("HF_ENDPOINT", h.URL)
	return h
}

func large(name string) bool { return strings.HasSuffix(name, ".safetensors") }

func gitID(text string) string {
	return fmt.Sprintf("%x", sha1.Sum([]byte(fmt.Sprintf("blob %d\x00%s", len(text), text))))
}

func (h *fakeHub) blob(name string) string {
	if text := h.files[name]; large(name) {
		return fmt.Sprintf("%x", sha256.Sum256([]byte(text)))
	}
	return gitID(h.files[name])
}

func (h *fakeHub) list() map[string]any {
	var siblings []any
	for _, name := range slices.Sorted(maps.Keys(h.files)) {
		text := h.files[name]
		s := map[string]any{"rfilename": name, "size": len(text), "blobId": gitID(text)}
		if large(name) {
			s["blobId"] = gitID("a pointer")
			s["lfs"] = map[string]any{"size": len(text), "sha256": h.blob(name), "pointerSize": 134}
		}
		siblings = append(siblings, s)
	}
	return map[string]any{"id": modelID, "sha": commit, "siblings": siblings}
}

func (h *fakeHub) serve(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	n := len(slices.DeleteFunc(slices.Clone(h.seen), func(s *http.Request) bool { return s.Host != r.Host || s.URL.Path != r.URL.Path }))
	h.seen = append(h.seen, r)
	h.mu.Unlock()
	if h.before != nil && h.before(w, r, n) {
		return
	}
	if strings.HasPrefix(r.URL.Path, "/api/models/"+modelID+"/revision/") && r.URL.Query().Get("blobs") == "true" {
		list := h.list()
		if h.edit != nil {
			h.edit(list)
		}
		json.NewEncoder(w).Encode(list)
		return
	}
	name, ok := strings.CutPrefix(r.URL.Path, "/"+modelID+"/resolve/"+commit+"/")
	text, there := h.files[name]
	if !ok || !there {
		http.NotFound(w, r)
		return
	}
	if large(name) && "http://"+r.Host != h.store.URL {
		http.Redirect(w, r, h.store.URL+r.URL.Path, http.StatusFound)
		return
	}
	http.ServeContent(w, r, "", time.Time{}, strings.NewReader(text))
}

// fetched returns the files asked for, one entry per request to the place that
// holds them, with the range.
func (h *fakeHub) fetched() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var names []string
	for _, r := range h.seen {
		name, ok := strings.CutPrefix(r.URL.Path, "/"+modelID+"/resolve/"+commit+"/")
		if ok && (!large(name) || "http://"+r.Host == h.store.URL) {
			names = append(names, strings.TrimSpace(name+" "+r.Header.Get("Range")))
		}
	}
	return names
}

// cached returns the path of something in the model's cache.
func cached(parts ...string) string {
	return filepath.Join(append([]string{os.Getenv("HF_HOME"), "hub", "models--BSC-LT--tiny"}, parts...)...)
}

// requireWhole checks every wanted file, and that no other is there.
func (h *fakeHub) requireWhole(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	var names []string
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		require.NoError(t, err)
		require.Equal(t, h.files[e.Name()], string(data), e.Name())
		names = append(names, e.Name())
	}
	require.Equal(t, []string{"LICENSE", "chat_template.jinja", "config.json", "model.safetensors", "tokenizer.json"}, names)
}

// requireNoHalf checks that every blob that has its final name fits it.
func (h *fakeHub) requireNoHalf(t *testing.T) {
	t.Helper()
	blobs, _ := os.ReadDir(cached("blobs"))
	for _, b := range blobs {
		if strings.HasSuffix(b.Name(), ".incomplete") {
			continue
		}
		data, err := os.ReadFile(cached("blobs", b.Name()))
		require.NoError(t, err)
		sum := fmt.Sprintf("%x", sha256.Sum256(data))
		require.Contains(t, []string{gitID(string(data)), sum}, b.Name())
	}
}
