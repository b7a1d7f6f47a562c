package wandb

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestStartSyncNeedsAClient(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if _, err := StartSync(context.Background(), t.TempDir(), nil); !errors.Is(err, ErrNoClient) {
		t.Errorf("without the program: %v", err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "wandb"), []byte("#!/bin/sh\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	t.Setenv("WANDB_API_KEY", "")
	t.Setenv("NETRC", filepath.Join(dir, "none"))
	if _, err := StartSync(context.Background(), t.TempDir(), nil); !errors.Is(err, ErrNoClient) {
		t.Errorf("without a key: %v", err)
	}
}

// A key that `wandb login` stored is found, for the server in use.
func TestLoggedIn(t *testing.T) {
	netrc := filepath.Join(t.TempDir(), "netrc")
	if err := os.WriteFile(netrc, []byte("machine wandb.example.org\n  login user\n  password k\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("NETRC", netrc)
	t.Setenv("WANDB_API_KEY", "")
	for base, want := range map[string]bool{"": false, "https://wandb.example.org": true, "http://wandb.example.org:8080/x": true, "https://other.org": false} {
		t.Setenv("WANDB_BASE_URL", base)
		if loggedIn() != want {
			t.Errorf("base %q: logged in is %v", base, !want)
		}
	}
}

func TestReadAddressReportsTheFirst(t *testing.T) {
	var got []string
	said := readAddress(bufio.NewScanner(strings.NewReader("a\nView run at http://h/e/p/runs/x\nView run at http://h/e/p/runs/x\nlast\n\n")), func(url string) { got = append(got, url) })
	if len(got) != 1 || got[0] != "http://h/e/p/runs/x" || said != "last" {
		t.Errorf("addresses %q, last line %q", got, said)
	}
}

// server stands in for W&B's: it answers as much as the client needs, and
// records what it is sent.
type server struct {
	*httptest.Server
	mu     sync.Mutex
	bodies map[string]string // by path, joined
}

func newServer() *server {
	s := &server{bodies: map[string]string{}}
	s.Server = httptest.NewServer(s)
	return s
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	s.bodies[r.URL.Path] += string(body)
	s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	if r.URL.Path != "/graphql" {
		io.WriteString(w, "{}")
		return
	}
	var ask struct {
		Query     string
		Variables struct{ Files []string }
	}
	if err := json.Unmarshal(body, &ask); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	json.NewEncoder(w).Encode(map[string]any{"data": s.answer(ask.Query, ask.Variables.Files)})
}

func (s *server) answer(query string, files []string) map[string]any {
	switch {
	case strings.Contains(query, "upsertBucket"):
		project := map[string]any{"id": "p", "name": "impulse", "entity": map[string]any{"id": "e", "name": "me"}}
		return map[string]any{"upsertBucket": map[string]any{"inserted": true, "bucket": map[string]any{
			"id": "x", "name": "abc", "displayName": "n", "description": "", "config": "{}", "historyLineCount": 0, "project": project,
		}}}
	case strings.Contains(query, "createRunFiles"):
		var list []map[string]any
		for _, f := range files {
			list = append(list, map[string]any{"name": f, "uploadUrl": s.URL + "/upload/" + f})
		}
		return map[string]any{"createRunFiles": map[string]any{"runID": "x", "uploadHeaders": []string{}, "files": list}}
	}
	return map[string]any{}
}

// sent is what the client sent of a run: the files of its stream, line by line, and
// the files it uploaded, by name.
type sent struct {
	rows, system, summaries []map[string]any
	complete                bool
	files                   map[string]string
}

func (s *server) sent(t *testing.T, stream string) sent {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	all := sent{files: map[string]string{}}
	lines := func(of []string) (list []map[string]any) {
		for _, line := range of {
			var row map[string]any
			if err := json.Unmarshal([]byte(line), &row); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			list = append(list, row)
		}
		return list
	}
	for messages := json.NewDecoder(strings.NewReader(s.bodies[stream])); messages.More(); {
		var m struct {
			Files    map[string]struct{ Content []string }
			Complete bool
		}
		if err := messages.Decode(&m); err != nil {
			t.Fatal(err)
		}
		all.rows = append(all.rows, lines(m.Files["wandb-history.jsonl"].Content)...)
		all.system = append(all.system, lines(m.Files["wandb-events.jsonl"].Content)...)
		all.summaries = append(all.summaries, lines(m.Files["wandb-summary.json"].Content)...)
		all.complete = all.complete || m.Complete
	}
	for path, body := range s.bodies {
		if name, ok := strings.CutPrefix(path, "/upload/"); ok {
			all.files[name] = body
		}
	}
	return all
}

// officialClient puts the program of SALAMANDRA_WANDB, a directory, first on PATH,
// and a stand-in server in place of W&B's.
func officialClient(t *testing.T) *server {
	t.Helper()
	bin := os.Getenv("SALAMANDRA_WANDB")
	if bin == "" {
		t.Skip("SALAMANDRA_WANDB names no directory with the wandb program")
	}
	s := newServer()
	t.Cleanup(s.Close)
	t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	t.Setenv("WANDB_API_KEY", strings.Repeat("a", 40))
	t.Setenv("WANDB_BASE_URL", s.URL)
	t.Setenv("WANDB_ERROR_REPORTING", "false")
	return s
}

const steps = 300

// logRun writes a run to its end.
func logRun(t *testing.T, run *Run) {
	t.Helper()
	now := time.Now()
	var errs []error
	for step := range int64(steps) {
		errs = append(errs, run.Log(step+1, now, map[string]any{"train/loss": 1 / float64(step+1)}))
	}
	page, err := run.HTML("report", steps+1, []byte("<p>whole</p>"))
	errs = append(errs, err)
	table, err := run.Table("samples", steps+1, []string{"query", "answer"}, [][]any{{"q", "a"}})
	errs = append(errs, err, run.System(now, map[string]float64{"proc.memory.rssMB": 1234, "gpu.0.memoryAllocatedBytes": 5}),
		run.Log(steps+1, now, map[string]any{"report": page, "samples": table}),
		run.File("prompt.json", []byte(`{"prompt": 1}`)),
		run.Summary(map[string]any{"best/loss": 0.25}), run.Close(0))
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// check compares what came with what logRun wrote.
func (got sent) check(t *testing.T) {
	t.Helper()
	if len(got.rows) != steps+2 || got.rows[0]["train/loss"] != 0.5 || got.rows[steps]["_step"] != float64(steps) || got.rows[steps]["train/loss"] != 1./steps {
		t.Errorf("%d rows of history, the first %v", len(got.rows), got.rows[:min(1, len(got.rows))])
	}
	if len(got.system) != 1 || got.system[0]["system.proc.memory.rssMB"] != 1234. || got.system[0]["system.gpu.0.memoryAllocatedBytes"] != 5. {
		t.Errorf("system metrics %v", got.system)
	}
	if !got.complete {
		t.Error("the run is not complete")
	}
	var summary map[string]any
	if n := len(got.summaries); n > 0 {
		summary = got.summaries[n-1]
	}
	if summary["best/loss"] != 0.25 || summary["train/loss"] != 1./steps {
		t.Errorf("summary %v", summary)
	}
	if config := got.files["config.yaml"]; !strings.Contains(config, "0.125") {
		t.Errorf("config %q", config)
	}
	if got.files["prompt.json"] != `{"prompt": 1}` {
		t.Errorf("files %v", got.files)
	}
	for key, want := range map[string]string{"report": "<p>whole</p>", "samples": `{"columns":["query","answer"],"data":[["q","a"]]}`} {
		value, _ := got.rows[len(got.rows)-1][key].(map[string]any)
		if path, _ := value["path"].(string); got.files[path] != want {
			t.Errorf("%s: %v is %q", key, value, got.files[path])
		}
	}
}

func createRun(t *testing.T) *Run {
	t.Helper()
	run, err := Create(Options{Dir: t.TempDir(), Project: "impulse", ID: "abc", Config: json.RawMessage(`{"lr":0.125}`)})
	if err != nil {
		t.Fatal(err)
	}
	if err := run.Log(0, time.Now(), map[string]any{"train/loss": 0.5}); err != nil {
		t.Fatal(err)
	}
	return run
}

const stream = "/files/me/impulse/abc/file_stream"

// TestOfficialClientLive: the official client uploads all of a run while it is
// written, and says at its beginning where it is.
func TestOfficialClientLive(t *testing.T) {
	s := officialClient(t)
	run := createRun(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	urls := make(chan string, 2)
	wait, err := StartSync(ctx, run.Dir(), func(url string) { urls <- url })
	if err != nil {
		t.Fatal(err)
	}
	select {
	case url := <-urls:
		if !strings.HasSuffix(url, "/me/impulse/runs/abc") {
			t.Errorf("address %s", url)
		}
	case <-ctx.Done():
		t.Fatal("the client gave no address")
	}
	logRun(t, run)
	if err := wait(); err != nil {
		t.Fatal(err)
	}
	s.sent(t, stream).check(t)
}

// TestOfficialClientLater: the official client uploads all of a run that was
// written without it, and it does of one that broke off.
func TestOfficialClientLater(t *testing.T) {
	s := officialClient(t)
	run := createRun(t)
	logRun(t, run)
	sync := func(dir string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "wandb", "sync", dir)
		cmd.Dir = t.TempDir()
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("wandb sync: %v: %s", err, out)
		}
	}
	sync(run.Dir())
	s.sent(t, stream).check(t)

	s = officialClient(t)
	cut := createRun(t)
	file := filepath.Join(cut.Dir(), "run-abc.wandb")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, data[:len(data)-3], 0o666); err != nil { // in the middle of a record
		t.Fatal(err)
	}
	sync(cut.Dir())
	if rows := s.sent(t, stream).rows; len(rows) != 1 || rows[0]["train/loss"] != 0.5 {
		t.Errorf("rows %v", rows)
	}
}
