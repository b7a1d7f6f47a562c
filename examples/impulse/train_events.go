package main

import (
	"os"
	"path/filepath"
	"time"

	"github.com/impulse-salamandra/finetune/lora/train/tensorboard"
)

// eventsDir is where TensorBoard finds a run.
const eventsDir = "runs"

// eventWriter writes the lines of metrics.jsonl as events.
type eventWriter struct {
	file   *os.File
	writer *tensorboard.Writer
}

// createEvents begins the file of events in dir with the lines there are: it
// never holds more or less than metrics.jsonl, whatever became of an earlier
// one.
func createEvents(dir string, lines *metricsWriter) (*eventWriter, error) {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, err
	}
	file, err := os.Create(filepath.Join(dir, tensorboard.FileName))
	if err != nil {
		return nil, err
	}
	e := &eventWriter{file: file}
	begin := seconds(time.Now())
	if len(lines.steps) > 0 {
		begin = lines.steps[0].Time
	}
	if e.writer, err = tensorboard.NewWriter(file, clock(begin)); err == nil {
		err = e.replay(lines)
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return e, nil
}

// replay writes lines in their order: an evaluation comes after its step.
func (e *eventWriter) replay(lines *metricsWriter) error {
	evaluations := lines.evaluations
	for _, s := range lines.steps {
		for len(evaluations) > 0 && evaluations[0].Step < s.Step {
			if err := e.evaluation(evaluations[0]); err != nil {
				return err
			}
			evaluations = evaluations[1:]
		}
		if err := e.step(s); err != nil {
			return err
		}
	}
	for _, l := range evaluations {
		if err := e.evaluation(l); err != nil {
			return err
		}
	}
	return nil
}

// clock is the time that [seconds] gave.
func clock(seconds float64) time.Time { return time.UnixMilli(int64(seconds*1000 + 0.5)) }

func (e *eventWriter) step(s stepLine) error {
	scalars := []tensorboard.Scalar{
		{Tag: "train/loss", Value: s.Loss}, {Tag: "train/grad_norm", Value: s.GradNorm}, {Tag: "train/learning_rate", Value: s.LearningRate},
		{Tag: "train/epoch", Value: s.Epoch}, {Tag: "speed/tokens_per_second", Value: s.TokensPerSecond},
	}
	if s.PeakMemory != nil {
		scalars = append(scalars, tensorboard.Scalar{Tag: "speed/peak_memory_gib", Value: float64(*s.PeakMemory) / (1 << 30)})
	}
	return e.writer.Scalars(int64(s.Step), clock(s.Time), scalars...)
}

func (e *eventWriter) evaluation(l evaluationLine) error {
	scalars := []tensorboard.Scalar{{Tag: "eval/loss", Value: l.EvalLoss}}
	if l.Score != nil {
		scalars = append(scalars, tensorboard.Scalar{Tag: "eval/" + l.Metric, Value: *l.Score})
	}
	return e.writer.Scalars(int64(l.Step), clock(l.Time), scalars...)
}
