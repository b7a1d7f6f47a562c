package runlog

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/impulse-salamandra/finetune/lora/train"
)

// visit asks for a page with an earlier tag, if there is one.
func visit(t *testing.T, h http.Handler, change func(*http.Request)) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "http://127.0.0.1:8420/", nil)
	if change != nil {
		change(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// A page that is watched shows each step as soon as it is in the files, also if a
// copy has half of the last line.
func TestWatch(t *testing.T) {
	dir := t.TempDir()
	h := Watch(dir)
	if w := visit(t, h, nil); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "no run yet in "+dir) {
		t.Errorf("before a run: %d %s", w.Code, w.Body)
	}
	l, err := logOf(t, dir, "", 0, func(r *Run) {
		r.Title, r.Plan, r.Settings = "a run", "the plan", []byte(`{"lora-r": 7}`)
		r.Ask = func(context.Context, train.Epoch) ([]Sample, error) {
			return []Sample{{ID: "t1", Query: "which?", Expected: "this one", Answer: "that one", Complete: true}}, nil
		}
	})
	check(t, err)
	hooks := l.Hooks(t.Context())
	before := visit(t, h, nil)
	for _, part := range []string{"Training: a run", "0 of 6 steps", "the plan", "lora-r", `class="tag live"`} {
		if !strings.Contains(before.Body.String(), part) {
			t.Errorf("no %q at the start", part)
		}
	}
	same := func(r *http.Request) { r.Header.Set("If-None-Match", before.Header().Get("ETag")) }
	if w := visit(t, h, same); w.Code != http.StatusNotModified || w.Body.Len() > 0 {
		t.Errorf("nothing new: %d, %d bytes", w.Code, w.Body.Len())
	}
	check(t, hooks.Step(train.Step{Step: 1, Loss: 0.5, SequenceTokens: 10, Duration: time.Second}))
	file, err := os.OpenFile(filepath.Join(dir, metricsFile), os.O_APPEND|os.O_WRONLY, 0)
	check(t, err)
	_, err = file.WriteString(`{"step": 2, "lo`)
	check(t, err)
	check(t, file.Close())
	if w := visit(t, h, same); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "1 of 6 steps") {
		t.Errorf("after a step: %d %.200s", w.Code, w.Body)
	}
	check(t, hooks.Epoch(train.Epoch{Step: 1, Epoch: 1}))
	if w := visit(t, h, nil); !strings.Contains(w.Body.String(), "<del>this</del> one") || !strings.Contains(w.Body.String(), "<ins>that</ins> one") {
		t.Errorf("no answer: %s", w.Body)
	}
	if page := string(read(t, filepath.Join(dir, reportFile))); strings.Contains(page, "<script>") {
		t.Error("the file has a script")
	}
	check(t, l.Close())
}

// Other names than the loopback's, methods and paths are refused, and files that
// cannot be read are named.
func TestWatchRefuses(t *testing.T) {
	dir := t.TempDir()
	h := Watch(dir)
	for _, row := range []struct {
		change func(*http.Request)
		code   int
	}{
		{func(r *http.Request) { r.Host = "evil.example:8420" }, http.StatusForbidden},
		{func(r *http.Request) { r.Host = "192.168.1.7" }, http.StatusForbidden},
		{func(r *http.Request) { r.Host = "localhost:8420" }, http.StatusOK},
		{func(r *http.Request) { r.Host = "[::1]:8420" }, http.StatusOK},
		{func(r *http.Request) { r.URL.Path = "/metrics.jsonl" }, http.StatusNotFound},
		{func(r *http.Request) { r.Method = http.MethodPost }, http.StatusMethodNotAllowed},
	} {
		if w := visit(t, h, row.change); w.Code != row.code {
			t.Errorf("status %d, want %d", w.Code, row.code)
		}
	}
	for _, name := range []string{overviewFile, metricsFile, samplesFile} {
		path := filepath.Join(dir, name)
		check(t, os.WriteFile(path, []byte("{no\n"), 0o644))
		if w := visit(t, h, nil); w.Code != http.StatusInternalServerError || !strings.Contains(w.Body.String(), name) {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
		check(t, os.Remove(path))
	}
}
