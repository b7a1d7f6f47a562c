package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	"github.com/impulse-salamandra/finetune/lora/train"
)

// stepLine is the line of metrics.jsonl for an optimiser step.
type stepLine struct {
	Step            int     `json:"step"`
	Epoch           float64 `json:"epoch"`
	Loss            float64 `json:"loss"`
	GradNorm        float64 `json:"grad_norm"`
	LearningRate    float64 `json:"learning_rate"`
	Tokens          int     `json:"tokens"`
	TrainedTokens   int     `json:"trained_tokens"`
	TokensPerSecond float64 `json:"tokens_per_second"`
	PeakMemory      *int64  `json:"peak_memory_bytes"`
}

// evaluationLine is the line of metrics.jsonl for an evaluation.
type evaluationLine struct {
	Step     int     `json:"step"`
	Epoch    float64 `json:"epoch"`
	EvalLoss float64 `json:"eval_loss"`
	// Metric and its Score, from 0 to 1, are there if answers were scored.
	Metric string   `json:"metric,omitempty"`
	Score  *float64 `json:"eval_score,omitempty"`
}

// metricsWriter writes metrics.jsonl.
type metricsWriter struct {
	file   *os.File
	lines  *json.Encoder
	memory func() *int64
	metric string
}

// openMetrics goes on after the first bytes of a file, of which the rest is cut
// off.
func openMetrics(path string, bytes int64, metric string, memory func() *int64) (*metricsWriter, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && info.Size() < bytes {
		err = fmt.Errorf("%s has %d bytes, fewer than the %d when the checkpoint was written", path, info.Size(), bytes)
	}
	if err == nil {
		err = file.Truncate(bytes)
	}
	if err == nil {
		_, err = file.Seek(bytes, io.SeekStart)
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return &metricsWriter{file, json.NewEncoder(file), memory, metric}, nil
}

func (w *metricsWriter) hooks() train.Hooks {
	return train.Hooks{
		Step: func(s train.Step) error {
			return w.lines.Encode(stepLine{
				Step: s.Step, Epoch: s.Epoch, Loss: s.Loss, GradNorm: s.GradNorm, LearningRate: s.LearningRate,
				Tokens: s.SequenceTokens, TrainedTokens: s.TrainedTokens,
				TokensPerSecond: math.Round(float64(s.SequenceTokens)/s.Duration.Seconds()*10) / 10, PeakMemory: w.memory(),
			})
		},
		Evaluation: func(e train.Evaluation) error {
			line := evaluationLine{Step: e.Step, Epoch: e.Epoch, EvalLoss: e.Loss, Score: e.Score}
			if e.Score != nil {
				line.Metric = w.metric
			}
			return w.lines.Encode(line)
		},
	}
}

// sync puts the lines on disk and returns how many bytes they are. It fails if
// the file is not the one with this name any more.
func (w *metricsWriter) sync() (int64, error) {
	if err := w.file.Sync(); err != nil {
		return 0, err
	}
	opened, err := w.file.Stat()
	if err != nil {
		return 0, err
	}
	named, err := os.Stat(w.file.Name())
	if err == nil && !os.SameFile(opened, named) {
		err = fmt.Errorf("%s was replaced by another file while training", w.file.Name())
	}
	return opened.Size(), err
}

// close puts the lines on disk; a second call does nothing.
func (w *metricsWriter) close() error {
	if w.file == nil {
		return nil
	}
	err := errors.Join(w.file.Sync(), w.file.Close())
	w.file = nil
	return err
}
