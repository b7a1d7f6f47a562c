package finetune_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/impulse-salamandra/finetune/salamandra/salamandratest"
)

// build builds a program of another module, without cgo: what go get and a
// deployment do. It has at most so many lines of code, not counting imports,
// comments and blanks, and so many imports of this module.
func build(t *testing.T, name string, lines, imports int) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "programs", name, "main.go"))
	check(t, err)
	_, body, _ := strings.Cut(string(text), "\n)\n")
	code := 0
	for line := range strings.Lines(body) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "//") {
			code++
		}
	}
	if own := strings.Count(string(text), `"github.com/impulse-salamandra/finetune`); code > lines || own > imports {
		t.Errorf("%s has %d lines of code and %d imports of this module, want up to %d and %d", name, code, own, lines, imports)
	}
	program := filepath.Join(t.TempDir(), name)
	cmd := exec.Command("go", "build", "-o", program, "./"+name)
	cmd.Dir = filepath.Join("testdata", "programs")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=readonly")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}

// TestDeployProgram: merging and verifying is a call.
func TestDeployProgram(t *testing.T) {
	program := build(t, "deploy", 15, 1)
	model := salamandratest.Reference(t, "models", "tiny-gqa")
	out, err := exec.Command(program, model, filepath.Join(model, "golden", "adapter-lora"), filepath.Join(t.TempDir(), "merged")).CombinedOutput()
	if err != nil || !bytes.HasPrefix(out, []byte("merged 28 tensors; logits after 4 prompts are off by")) {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestFinetuneProgram: forty records and a schema are all that a task needs. The
// answer of the merged model is one of the schema's whatever the model learned;
// with SALAMANDRA_TRIALS it learns on one that knows languages, and half of the
// fields of tickets it has not seen are right.
func TestFinetuneProgram(t *testing.T) {
	program := build(t, "finetune", 60, 4)
	model, least := salamandratest.Reference(t, "models", "tiny-mha"), 0.0
	if salamandratest.Trials() {
		model, least = filepath.Join("examples", "impulse", "demo", "tiny-salamandra"), 0.5
	}
	out, err := exec.Command(program, model, filepath.Join("testdata", "programs", "finetune", "tickets.jsonl"), t.TempDir()).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var right, fields int
	lines := strings.SplitN(string(out), "\n", 3)
	if _, err := fmt.Sscanf(lines[1], "fields right in held-out tickets: %d/%d", &right, &fields); err != nil || fields != 24 || float64(right) < least*24 {
		t.Errorf("%v, %s", err, out)
	}
	var answer struct{ Kind string }
	kinds := []string{"hardware", "access", "network", "billing"}
	if err := json.Unmarshal([]byte(lines[2]), &answer); err != nil || !slices.Contains(kinds, answer.Kind) {
		t.Errorf("%v, %s", err, out)
	}
}

// TestServiceProgram: a service with a mux of its own answers with valid JSON.
func TestServiceProgram(t *testing.T) {
	program := build(t, "service", 25, 3)
	base := salamandratest.Reference(t, "models", "tiny-gqa")
	c := contract(t, base)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	address := l.Addr().String()
	check(t, l.Close())
	cmd := exec.Command(program, copyDir(t, base, &c), address)
	check(t, cmd.Start())
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	var r *http.Response
	for range 600 {
		body := strings.NewReader(`{"query": "La pantalla és negra"}`)
		if r, err = http.Post("http://"+address+"/ai/parse", "application/json", body); err == nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	check(t, err)
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	check(t, err)
	if r.StatusCode != http.StatusOK || !strings.Contains(string(text), `"question": "La pantalla és negra"`) {
		t.Errorf("%d: %s", r.StatusCode, text)
	}
}
