package main

import (
	"encoding/json"
	"errors"
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
}

// metricsWriter writes metrics.jsonl.
type metricsWriter struct {
	file   *os.File
	lines  *json.Encoder
	memory func() *int64
}

func createMetrics(path string, memory func() *int64) (*metricsWriter, error) {
	file, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	return &metricsWriter{file, json.NewEncoder(file), memory}, nil
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
		Evaluation: func(e train.Evaluation) error { return w.lines.Encode(evaluationLine{e.Step, e.Epoch, e.Loss}) },
	}
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
