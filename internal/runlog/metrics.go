package runlog

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/impulse-salamandra/finetune/internal/tensorboard"
	"github.com/impulse-salamandra/finetune/lora/train"
)

// stepLine is the line of metrics.jsonl for an optimiser step.
type stepLine struct {
	Step            int     `json:"step"`
	Epoch           float64 `json:"epoch"`
	Time            float64 `json:"time"` // seconds since 1970
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
	Time     float64 `json:"time"`
	EvalLoss float64 `json:"eval_loss"`
	// Metric and its Score, from 0 to 1, are there if answers were scored.
	Metric string   `json:"metric,omitempty"`
	Score  *float64 `json:"eval_score,omitempty"`
}

// metrics writes metrics.jsonl, and the same as a file of events for TensorBoard.
type metrics struct {
	// steps and evaluations are all lines, those before a resumed checkpoint
	// included.
	steps       []stepLine
	evaluations []evaluationLine

	file   *os.File
	lines  *json.Encoder
	events *eventWriter
	also   func(step int, at time.Time, scalars []tensorboard.Scalar) // nil for nothing
	memory func() int64                                               // bytes, 0 if unknown
	metric string
}

// openMetrics goes on after the first bytes of a file, of which the rest is cut
// off. It fails with ErrShort, and the file open at its end, if there are
// fewer.
func openMetrics(path string, bytes int64, metric string, memory func() int64) (*metrics, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, err
	}
	w := &metrics{file: file, lines: json.NewEncoder(file), memory: memory, metric: metric}
	info, err := file.Stat()
	var short error
	if err == nil && info.Size() < bytes {
		short = fmt.Errorf("%s: %w", path, ErrShort)
		bytes = info.Size()
	}
	if err == nil {
		err = file.Truncate(bytes)
	}
	if err == nil {
		err = w.read(file, path)
	}
	if err == nil {
		w.events, err = createEvents(filepath.Join(filepath.Dir(path), eventsDir), w)
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return w, short
}

// read reads all lines of a file, which it leaves at its end.
func (w *metrics) read(file io.Reader, path string) error {
	for lines, n := bufio.NewReader(file), 1; ; n++ {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) && len(line) == 0 {
			return nil
		}
		var kind struct {
			EvalLoss *float64 `json:"eval_loss"`
		}
		if err == nil {
			err = json.Unmarshal(line, &kind)
		}
		if err == nil && kind.EvalLoss != nil {
			w.evaluations = append(w.evaluations, evaluationLine{})
			err = json.Unmarshal(line, &w.evaluations[len(w.evaluations)-1])
		} else if err == nil {
			w.steps = append(w.steps, stepLine{})
			err = json.Unmarshal(line, &w.steps[len(w.steps)-1])
		}
		if err != nil {
			return fmt.Errorf("%s:%d: %w", path, n, err)
		}
	}
}

// seconds is a time as metrics.jsonl has it, to a thousandth.
func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

func (w *metrics) step(s train.Step) error {
	line := stepLine{
		Step: s.Step, Epoch: s.Epoch, Time: seconds(time.Now()), Loss: s.Loss, GradNorm: s.GradNorm, LearningRate: s.LearningRate,
		Tokens: s.SequenceTokens, TrainedTokens: s.TrainedTokens,
		TokensPerSecond: math.Round(s.TokensPerSecond()*10) / 10, PeakMemory: known(w.memory()),
	}
	w.steps = append(w.steps, line)
	return errors.Join(w.lines.Encode(line), w.addTo(line.Step, line.Time, line.scalars()))
}

func (w *metrics) evaluation(e train.Evaluation) error {
	line := evaluationLine{Step: e.Step, Epoch: e.Epoch, Time: seconds(time.Now()), EvalLoss: e.Loss, Score: e.Score}
	if e.Score != nil {
		line.Metric = w.metric
	}
	w.evaluations = append(w.evaluations, line)
	return errors.Join(w.lines.Encode(line), w.addTo(line.Step, line.Time, line.scalars()))
}

// addTo adds the values of a line to what is written beside metrics.jsonl.
func (w *metrics) addTo(step int, time float64, scalars []tensorboard.Scalar) error {
	if w.also != nil {
		w.also(step, clock(time), scalars)
	}
	return w.events.add(step, clock(time), scalars)
}

// replay goes through the values of all lines in their order: an evaluation comes
// after its step.
func (w *metrics) replay(add func(step int, at time.Time, scalars []tensorboard.Scalar) error) error {
	evaluations := w.evaluations
	evaluated := func(before int) error {
		for len(evaluations) > 0 && evaluations[0].Step < before {
			l := evaluations[0]
			if err := add(l.Step, clock(l.Time), l.scalars()); err != nil {
				return err
			}
			evaluations = evaluations[1:]
		}
		return nil
	}
	for _, l := range w.steps {
		if err := evaluated(l.Step); err != nil {
			return err
		}
		if err := add(l.Step, clock(l.Time), l.scalars()); err != nil {
			return err
		}
	}
	return evaluated(math.MaxInt)
}

// known is a number that is null where it is 0.
func known(n int64) *int64 {
	if n == 0 {
		return nil
	}
	return &n
}

// sync puts the lines on disk and returns how many bytes they are. It fails if
// the file is not the one with this name any more.
func (w *metrics) sync() (int64, error) {
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

// close puts the lines on disk.
func (w *metrics) close() error {
	return errors.Join(w.file.Sync(), w.file.Close(), w.events.file.Close())
}
