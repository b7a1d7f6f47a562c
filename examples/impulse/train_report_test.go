package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/evalx/page"
	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/lora/train"
	"github.com/impulse-salamandra/finetune/salamandra/tokenizer"
)

// TestTrainPageUntrusted: questions and answers come to the page as text.
func TestTrainPageUntrusted(t *testing.T) {
	evil := "\x1b[2J\u202e\x00</pre><script>alert(1)</script>"
	var samples []sample
	for epoch := range 3 {
		samples = append(samples, sample{Step: epoch + 1, Epoch: float64(epoch + 1), ID: evil, Query: evil, Expected: evil, Answer: evil + "x\nsecond line", Complete: true})
	}
	var b strings.Builder
	require.NoError(t, writeTrainPage(&b, trainPage{Head: page.NewHead(evil), Questions: questionsOfPage(samples), Charts: trainCharts(nil, nil), Flags: flagFacts([]byte(`{"data": "<script>\u001b"}`))}))
	got := b.String()
	require.NotContains(t, got, "<script>")
	require.NotRegexp(t, regexp.MustCompile("[\x00-\x09\x0b-\x1f\x7f\u202e]"), got)
	require.Equal(t, 3, strings.Count(got, "second line"), "every epoch's answer")
	require.Contains(t, got, "default-src 'none'")
	require.NotContains(t, got, "://", "nothing to load")
}

func TestAnswerOfPage(t *testing.T) {
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
		t.Run(row.name, func(t *testing.T) {
			require.Equal(t, row.verdict, answerOfPage(sample{Expected: row.want, Answer: row.got, Complete: row.complete}).Verdict)
		})
	}
}

func TestReadSamples(t *testing.T) {
	path := filepath.Join(t.TempDir(), samplesFile)
	none, err := readSamples(path, 5)
	require.NoError(t, err)
	require.Empty(t, none)
	all := []sample{{Step: 3, ID: "a", Answer: "<&>\u2028"}, {Step: 6, ID: "a"}, {Step: 9, ID: "a"}}
	require.NoError(t, writeSamples(path, all))
	kept, err := readSamples(path, 7)
	require.NoError(t, err)
	require.Equal(t, all[:2], kept)
	kept, err = readSamples(path, 6)
	require.NoError(t, err)
	require.Equal(t, all[:1], kept, "the end of that epoch is repeated")
	kept, err = readSamples(path, 0)
	require.NoError(t, err)
	require.Empty(t, kept, "another run's")
	require.NoError(t, os.WriteFile(path, []byte("{}\nno"), 0o644))
	_, err = readSamples(path, 7)
	require.ErrorContains(t, err, samplesFile+":2: ")
}

// TestSamplesTimeout: answers that take too long are given up and say so.
func TestSamplesTimeout(t *testing.T) {
	device, _, err := openBackend("go")
	require.NoError(t, err)
	defer device.backend.Finalize()
	model, err := loadModel(t.Context(), device, tinyModel, "auto", io.Discard)
	require.NoError(t, err)
	defer model.Close()
	layers, err := lora.Inject(model, lora.DefaultConfig(), 1)
	require.NoError(t, err)
	tok, err := tokenizer.Load(tinyModel)
	require.NoError(t, err)
	r := &trainRun{o: &trainOptions{ReportSamples: 1}, model: model, layers: layers, data: &trainingData{tokenizer: tok}}
	q := question{prompt: tok.EncodeText("Hola", true), answer: 500}
	q.ID, q.Answer = "one", "Bon dia"
	r.data.questions = []question{q, q}
	a := newSampler(t.Context(), r, nil)
	defer a.close()
	a.least = 1
	samples, err := a.ask(train.Epoch{Step: 7})
	require.NoError(t, err)
	require.Len(t, samples, 1)
	require.True(t, samples[0].Timeout)
	require.False(t, samples[0].Complete)
	require.Equal(t, "given up: it took too long", answerOfPage(samples[0]).Verdict)

	// A run that is being stopped is another thing.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	a.ctx, a.least = ctx, time.Hour
	_, err = a.ask(train.Epoch{Step: 7})
	require.ErrorIs(t, err, context.Canceled)
}

// TestReportFails: a page that cannot be written is one warning and no reason to
// stop.
func TestReportFails(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, reportFile, "x"), 0o755))
	require.NoError(t, os.MkdirAll(filepath.Join(dir, samplesFile, "x"), 0o755))
	status, out, errs := impulseMain(t, append(smallRun(prepared(t, 4), dir), "--overwrite", "--epochs", "1", "--report-samples", "1")...)
	require.Zero(t, status, errs)
	require.Contains(t, out, "warning: report.html: ")
	require.Contains(t, out, "samples.jsonl: ")
	require.Contains(t, out, "adapter written to "+dir)
	require.NotContains(t, out, "curves and answers")
	require.LessOrEqual(t, strings.Count(out, "warning: report.html"), 4)
	status, _, errs = impulseMain(t, append(smallRun(prepared(t, 4), dir), "--report-samples", "-1")...)
	require.Equal(t, 1, status)
	require.Contains(t, errs, "--report-samples -1, want 0 or more")
}
