package runlog

import (
	"os"
	"path/filepath"
	"time"

	"github.com/impulse-salamandra/finetune/internal/tensorboard"
)

// eventWriter writes the lines of metrics.jsonl as events.
type eventWriter struct {
	file   *os.File
	writer *tensorboard.Writer
}

// createEvents begins the file of events in dir with the lines there are: it
// never holds more or less than metrics.jsonl, whatever became of an earlier
// one.
func createEvents(dir string, lines *metrics) (*eventWriter, error) {
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
		err = lines.replay(e.add)
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return e, nil
}

// clock is the time that seconds gave.
func clock(seconds float64) time.Time { return time.UnixMilli(int64(seconds*1000 + 0.5)) }

func (e *eventWriter) add(step int, at time.Time, scalars []tensorboard.Scalar) error {
	return e.writer.Scalars(int64(step), at, scalars...)
}

// scalars are the values of a line, by the names that curves have.
func (l stepLine) scalars() []tensorboard.Scalar {
	list := []tensorboard.Scalar{
		{Tag: "train/loss", Value: l.Loss}, {Tag: "train/grad_norm", Value: l.GradNorm}, {Tag: "train/learning_rate", Value: l.LearningRate},
		{Tag: "train/epoch", Value: l.Epoch}, {Tag: "speed/tokens_per_second", Value: l.TokensPerSecond},
	}
	if l.PeakMemory != nil {
		list = append(list, tensorboard.Scalar{Tag: "speed/peak_memory_gib", Value: l.memoryGiB()})
	}
	return list
}

func (l evaluationLine) scalars() []tensorboard.Scalar {
	list := []tensorboard.Scalar{{Tag: "eval/loss", Value: l.EvalLoss}}
	if l.Score != nil {
		list = append(list, tensorboard.Scalar{Tag: "eval/" + l.Metric, Value: *l.Score})
	}
	return list
}
