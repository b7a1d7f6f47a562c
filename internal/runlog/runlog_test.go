package runlog

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/impulse-salamandra/finetune/dataset/inspect"
	"github.com/impulse-salamandra/finetune/internal/tensorboard"
	"github.com/impulse-salamandra/finetune/internal/wandb"
	"github.com/impulse-salamandra/finetune/lora/train"
)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	check(t, err)
	return data
}

// logOf opens the log of a run at a step of 6.
func logOf(t *testing.T, dir, checkpoint string, step int, change func(*Run)) (*Log, error) {
	t.Helper()
	run := Run{Title: "run", Metric: "strict", Status: func() train.Status { return train.Status{Step: step, TotalSteps: 6} }, Memory: func() int64 { return 1 << 30 }}
	if change != nil {
		change(&run)
	}
	return Open(dir, checkpoint, run)
}

// Where a run is resumed the log ends where its checkpoint was, TensorBoard's
// events too, and goes on from there.
func TestResumed(t *testing.T) {
	dir, checkpoint := t.TempDir(), t.TempDir()
	metrics, events := filepath.Join(dir, metricsFile), filepath.Join(dir, eventsDir, tensorboard.FileName)
	l, err := logOf(t, dir, "", 0, nil)
	check(t, err)
	score := 0.5
	hooks := l.Hooks(t.Context())
	step := func(n int) {
		check(t, hooks.Step(train.Step{Step: n, Loss: 1 / float64(n), SequenceTokens: 10, Duration: time.Second}))
	}
	step(1)
	check(t, hooks.Evaluation(train.Evaluation{Step: 1, Loss: 0.25, Score: &score}))
	step(2)
	check(t, hooks.Evaluation(train.Evaluation{Step: 2, Loss: 0.25, Score: &score}))
	check(t, l.AddFiles(checkpoint))
	kept := read(t, events)
	for _, tag := range []string{"train/loss", "train/grad_norm", "train/learning_rate", "speed/tokens_per_second", "speed/peak_memory_gib", "eval/loss", "eval/strict"} {
		if !bytes.Contains(kept, []byte(tag)) {
			t.Errorf("no %s in the events", tag)
		}
	}
	step(3)
	check(t, l.Close())
	check(t, l.Close())
	if len(read(t, events)) <= len(kept) {
		t.Error("no event for step 3")
	}

	l, err = logOf(t, dir, checkpoint, 2, nil)
	check(t, err)
	if losses := l.Losses(); len(losses) != 2 || losses[1] != 0.5 {
		t.Errorf("losses %v before the checkpoint", losses)
	}
	// The first record, 40 bytes, has the time at which the file was begun.
	if !bytes.Equal(kept[40:], read(t, events)[40:]) {
		t.Error("what came after the checkpoint is still there")
	}
	hooks = l.Hooks(t.Context())
	step(3)
	check(t, l.Close())
	if n := bytes.Count(read(t, events), []byte("train/loss")); n != 3 {
		t.Errorf("%d steps in the events", n)
	}
	if n := bytes.Count(read(t, metrics), []byte("\n")); n != 5 {
		t.Errorf("%d lines of metrics", n)
	}
	page := string(read(t, filepath.Join(dir, reportFile)))
	for _, part := range []string{"not finished: 3 of 6 steps", "from step 1 to 3"} {
		if !strings.Contains(page, part) {
			t.Errorf("no %q in the page", part)
		}
	}
}

// A run of Weights & Biases has the same values and the page, and goes on under its
// name where the run is resumed.
func TestWandB(t *testing.T) {
	t.Setenv("PATH", "") // no client
	dir, checkpoint := t.TempDir(), t.TempDir()
	with := func(r *Run) {
		r.WandB, r.Settings = &wandb.Options{Project: "tickets", Name: "first"}, []byte(`{"lora-r": 7}`)
	}
	l, err := logOf(t, dir, "", 0, with)
	check(t, err)
	hooks, score := l.Hooks(t.Context()), 0.5
	check(t, hooks.Step(train.Step{Step: 1, Loss: 0.75}))
	check(t, hooks.Evaluation(train.Evaluation{Step: 1, Loss: 0.25, Score: &score}))
	check(t, l.AddFiles(checkpoint))
	first := l.WandBDir()
	check(t, hooks.Step(train.Step{Step: 2, Loss: 0.5}))
	check(t, l.Close())
	l, err = logOf(t, dir, checkpoint, 1, with)
	check(t, err)
	if l.WandBDir() != first {
		t.Errorf("resumed in %s, begun in %s", l.WandBDir(), first)
	}
	l.run.Ask = func(context.Context, train.Epoch) ([]Sample, error) {
		return []Sample{{ID: "t1", Query: "which?", Expected: "this", Answer: "that", Complete: true}}, nil
	}
	hooks = l.Hooks(t.Context())
	check(t, hooks.Step(train.Step{Step: 2, Loss: 0.5}))
	check(t, hooks.Epoch(train.Epoch{Step: 2, Epoch: 1}))
	check(t, l.Close())
	runs, err := filepath.Glob(filepath.Join(dir, "wandb", "offline-run-*", "run-*.wandb"))
	check(t, err)
	if len(runs) != 1 {
		t.Fatalf("%d runs", len(runs))
	}
	data := read(t, runs[0])
	for _, part := range []string{"tickets", "first", "lora-r", "train/loss", "0.75", "eval/loss", "eval/strict", "media/html/report", "media/table/samples", "proc.memory.rssMB", "training_args.json"} {
		if !bytes.Contains(data, []byte(part)) {
			t.Errorf("no %s in the run", part)
		}
	}
	pages, err := filepath.Glob(filepath.Join(first, "files", "media", "html", "report_*.html"))
	check(t, err)
	if len(pages) == 0 {
		t.Error("no report")
	}
	tables, err := filepath.Glob(filepath.Join(first, "files", "media", "table", "samples_2_*.table.json"))
	check(t, err)
	if len(tables) != 1 || !strings.Contains(string(read(t, tables[0])), `[2,1,"t1","which?","this","that","differs"]`) {
		t.Errorf("tables %v", tables)
	}
}

// Metrics that were changed are named by file and line, and those that lack rows
// are distinguished from those that are broken.
func TestMetricsChanged(t *testing.T) {
	dir, checkpoint := t.TempDir(), t.TempDir()
	path := filepath.Join(dir, metricsFile)
	check(t, os.WriteFile(filepath.Join(checkpoint, positionFile), []byte(`{"metrics_bytes": 22}`), 0o644))
	check(t, os.WriteFile(path, []byte("{\"step\": 1}\n{\"step\": tw"), 0o644))
	if _, err := logOf(t, dir, checkpoint, 1, nil); err == nil || !strings.Contains(err.Error(), metricsFile+":2: ") {
		t.Errorf("a broken line: %v", err)
	}
	check(t, os.WriteFile(path, []byte("{\"step\": 1}\n"), 0o644))
	l, err := logOf(t, dir, checkpoint, 1, nil)
	if !errors.Is(err, ErrShort) {
		t.Fatalf("rows that are gone: %v", err)
	}
	if len(l.Losses()) != 1 {
		t.Error("what is left is not kept")
	}
	check(t, l.Close())

	l, err = logOf(t, dir, "", 0, nil)
	check(t, err)
	check(t, os.Remove(path))
	check(t, os.WriteFile(path, nil, 0o644))
	if err := l.AddFiles(checkpoint); err == nil || !strings.Contains(err.Error(), "replaced by another file") {
		t.Errorf("another file of the name: %v", err)
	}
	check(t, l.Close())
}

// Samples of a checkpoint's epoch are asked for again; those of other runs go.
func TestSamplesOfResumed(t *testing.T) {
	path := filepath.Join(t.TempDir(), samplesFile)
	if none, err := readSamples(path, 5); err != nil || none != nil {
		t.Errorf("no file: %v, %v", none, err)
	}
	all := []Sample{{Step: 3, ID: "a", Answer: "<&>\u2028"}, {Step: 6, ID: "a"}, {Step: 9, ID: "a"}}
	check(t, writeSamples(path, all))
	for step, want := range map[int]int{7: 2, 6: 1, 0: 0} {
		kept, err := readSamples(path, step)
		check(t, err)
		if len(kept) != want || want > 0 && kept[0] != all[0] {
			t.Errorf("before step %d: %v", step, kept)
		}
	}
	check(t, os.WriteFile(path, []byte("{}\nno"), 0o644))
	if _, err := readSamples(path, 7); err == nil || !strings.Contains(err.Error(), samplesFile+":2: ") {
		t.Errorf("a broken line: %v", err)
	}
}

// A page or samples that cannot be written are a warning each and no reason to
// stop, and a run that is being stopped is none.
func TestWarnings(t *testing.T) {
	dir := t.TempDir()
	check(t, os.MkdirAll(filepath.Join(dir, reportFile, "x"), 0o755))
	var warnings []string
	fail := errors.New("no answer")
	l, err := logOf(t, dir, "", 0, func(r *Run) {
		r.Warn = func(w string) { warnings = append(warnings, w) }
		r.Ask = func(context.Context, train.Epoch) ([]Sample, error) { return nil, fail }
	})
	check(t, err)
	hooks := l.Hooks(t.Context())
	check(t, hooks.Checkpoint(train.Checkpoint{}))
	check(t, hooks.Checkpoint(train.Checkpoint{}))
	check(t, hooks.Epoch(train.Epoch{}))
	if len(warnings) != 3 || !strings.Contains(warnings[0], "report.html") || !strings.Contains(warnings[1], "no answer") {
		t.Errorf("warnings %q", warnings)
	}
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	warnings, l.complain = nil, ""
	check(t, l.Hooks(stopped).Epoch(train.Epoch{}))
	if len(warnings) != 1 || strings.Contains(warnings[0], "no answer") {
		t.Errorf("warnings of a run that is stopped: %q", warnings)
	}
	check(t, l.Close())
}

// Questions, answers and settings come to the page as text.
func TestReportUntrusted(t *testing.T) {
	evil := "\x1b[2J\u202e\x00</pre><script>alert(1)</script>"
	dir := t.TempDir()
	facts := []inspect.Fact{{Name: evil, Value: evil}}
	l, err := logOf(t, dir, "", 0, func(r *Run) {
		r.Title, r.Metric, r.Plan, r.Facts, r.Data, r.Settings = evil, evil, evil, facts, facts, []byte(`{"<script>": "<script>\u001b"}`)
		r.Ask = func(context.Context, train.Epoch) ([]Sample, error) {
			return []Sample{{ID: evil, Query: evil, Expected: evil, Answer: evil + "x\nsecond line", Complete: true}}, nil
		}
	})
	check(t, err)
	for epoch := range 3 {
		check(t, l.Hooks(t.Context()).Epoch(train.Epoch{Step: epoch + 1, Epoch: float64(epoch + 1)}))
	}
	check(t, l.Close())
	got := string(read(t, filepath.Join(dir, reportFile)))
	if strings.Contains(got, "<script>") || regexp.MustCompile("[\x00-\x09\x0b-\x1f\x7f\u202e]").MatchString(got) || strings.Contains(got, "://") {
		t.Error("the page trusts its texts")
	}
	if n := strings.Count(got, "second line"); n != 3 {
		t.Errorf("%d answers, want every epoch's", n)
	}
	if !strings.Contains(got, "default-src 'none'") {
		t.Error("no policy")
	}
}

func TestJudge(t *testing.T) {
	for _, row := range []struct {
		name, want, got string
		complete        bool
		verdict         string
	}{
		{"equal", "Bon dia", " Bon dia\n", true, "as expected"},
		{"equal JSON", `{"a": 1, "b": null}`, `{"b":null,"a":1}`, true, "as expected, written otherwise"},
		{"other JSON", `{"a": 1}`, `{"a": 2}`, true, "differs"},
		{"no JSON", `{"a": 1}`, `{"a": `, true, "not JSON"},
		{"no JSON wanted", "Bon dia", "Hola", true, "differs"},
		{"cut off", "Bon dia", "Hola Hola Hola", false, "does not end"},
	} {
		if got := (Sample{Expected: row.want, Answer: row.got, Complete: row.complete}).judge().Verdict; got != row.verdict {
			t.Errorf("%s: %s, want %s", row.name, got, row.verdict)
		}
	}
	if got := (Sample{Expected: "a", Timeout: true}).judge().Verdict; got != "given up: it took too long" {
		t.Errorf("timeout: %s", got)
	}
}

// Smooth by hand: the weights of 1, 1/2, 1/3 and 1/4 are 0.9³, 0.9², 0.9 and 1.
func TestSmooth(t *testing.T) {
	got := Smooth([]float64{1, 1. / 2, 1. / 3, 1. / 4})
	want := (0.729 + 0.81/2 + 0.9/3 + 1./4) / (0.729 + 0.81 + 0.9 + 1)
	if got[0] != 1 || got[3]-want > 1e-12 || want-got[3] > 1e-12 {
		t.Errorf("%v, want 1 first and %v last", got, want)
	}
}
