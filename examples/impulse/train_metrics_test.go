package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/lora/train"
	"github.com/impulse-salamandra/finetune/lora/train/tensorboard"
)

// TestEventsFollowMetrics: where a run is resumed the events of TensorBoard end
// where metrics.jsonl does, and they go on as it goes on.
func TestEventsFollowMetrics(t *testing.T) {
	dir := t.TempDir()
	path, events := filepath.Join(dir, metricsFile), filepath.Join(dir, eventsDir, tensorboard.FileName)
	memory, score := int64(1<<30), 0.5
	open := func(n int64) *metricsWriter {
		w, err := openMetrics(path, n, strictMetric, func() *int64 { return &memory })
		require.NoError(t, err)
		return w
	}
	w := open(0)
	step := func(n int) {
		require.NoError(t, w.hooks().Step(train.Step{Step: n, Loss: 1 / float64(n), SequenceTokens: 10, Duration: time.Second}))
	}
	evaluation := func(n int) {
		require.NoError(t, w.hooks().Evaluation(train.Evaluation{Step: n, Loss: 0.25, Score: &score}))
	}
	step(1)
	evaluation(1)
	step(2)
	evaluation(2)
	cut, err := w.sync()
	require.NoError(t, err)
	kept := read(t, events)
	for _, tag := range []string{"train/loss", "train/grad_norm", "train/learning_rate", "speed/tokens_per_second", "speed/peak_memory_gib", "eval/loss", "eval/strict"} {
		require.Contains(t, string(kept), tag)
	}
	step(3)
	require.NoError(t, w.close())
	require.Greater(t, len(read(t, events)), len(kept))

	w = open(cut)
	require.Len(t, w.steps, 2)
	require.Len(t, w.evaluations, 2)
	// The first record, 40 bytes, has the time at which the file was begun.
	require.Equal(t, kept[40:], read(t, events)[40:], "what came after the checkpoint is gone")
	step(3)
	require.NoError(t, w.close())
	require.Equal(t, 3, bytes.Count(read(t, events), []byte("train/loss")))
	require.Equal(t, 5, bytes.Count(read(t, path), []byte("\n")))

	require.NoError(t, os.WriteFile(path, []byte("{\"step\": 1}\n{\"step\": tw"), 0o644))
	_, err = openMetrics(path, 22, "", nil)
	require.ErrorContains(t, err, metricsFile+":2: ")
	require.NoError(t, os.WriteFile(path, []byte("{\"step\": 1}\n"), 0o644))
	w, err = openMetrics(path, 99, "", nil)
	require.ErrorIs(t, err, errShortMetrics)
	require.Len(t, w.steps, 1, "what is left is kept, for --resume-anyway")
	require.NoError(t, w.close())
}
