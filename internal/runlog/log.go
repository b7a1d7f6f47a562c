package runlog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/dataset/inspect"
	"github.com/impulse-salamandra/finetune/internal/atomicfile"
	"github.com/impulse-salamandra/finetune/internal/lengths"
	"github.com/impulse-salamandra/finetune/internal/page"
	"github.com/impulse-salamandra/finetune/internal/tensorboard"
	"github.com/impulse-salamandra/finetune/internal/wandb"
	"github.com/impulse-salamandra/finetune/lora/train"
)

// Names of the files.
const (
	metricsFile  = "metrics.jsonl"
	eventsDir    = "runs" // where TensorBoard finds a run
	samplesFile  = "samples.jsonl"
	reportFile   = "report.html"
	overviewFile = "report.json" // what a live page is made from beside the values
	positionFile = "run.json"    // in a checkpoint
)

// Run is what a log says of a run beside its course. Texts may come from
// strangers. All but Status may be left out.
type Run struct {
	Title    string            // of the page
	Facts    []inspect.Fact    // what one looks for first, such as the base model
	Data     []inspect.Fact    // what is trained on
	Examples []dataset.Example // whose lengths are drawn
	Plan     string            // the batches, as text of some lines
	Settings json.RawMessage   // a JSON object, listed key by key
	Metric   string            // what the score of an evaluation is

	// Status says where the run stands.
	Status func() train.Status
	// Memory returns the most bytes used so far, 0 if that is not known.
	Memory func() int64
	// Ask has the adapter as it is now answer some held-out questions. It is
	// called at the end of each epoch, of which Step and Epoch of the samples are
	// filled in.
	Ask func(context.Context, train.Epoch) ([]Sample, error)
	// WandB, if not nil, keeps an offline run of Weights & Biases as well, by its
	// project, entity and name. Where the client is installed and has a key the run
	// is uploaded meanwhile, and Address called with where it is seen.
	WandB   *wandb.Options
	Address func(url string)
	// Warn is called with why the page, the samples or the run of Weights & Biases
	// could not be written: that never stops a run.
	Warn func(message string)
}

// Log is the log of a run. It is used by one goroutine at a time.
type Log struct {
	dir        string
	run        Run
	metrics    *metrics
	wandb      *wandbWriter // nil for none
	samples    []Sample     // those before a resumed checkpoint included
	histograms []page.Chart // of the examples' lengths
	ended      bool
	complain   string // the last complaint
}

// ErrShort: the log lacks rows that were there when the checkpoint was written.
var ErrShort = errors.New("it lacks rows that were there when the checkpoint was written")

// position says in a checkpoint what of the log belongs to its step.
type position struct {
	MetricsBytes int64 `json:"metrics_bytes"` // length of metrics.jsonl
}

// Open begins a log in dir, which exists. With the directory of a checkpoint it
// goes on from there: what was logged since is removed. It fails with [ErrShort],
// and a log that has what is left, if some of it is missing.
func Open(dir, checkpoint string, run Run) (*Log, error) {
	if run.Memory == nil {
		run.Memory = func() int64 { return 0 }
	}
	if run.Warn == nil {
		run.Warn = func(string) {}
	}
	if run.Address == nil {
		run.Address = func(string) {}
	}
	l := &Log{dir: dir, run: run}
	var at position
	if checkpoint != "" {
		var err error
		if at, err = readPosition(filepath.Join(checkpoint, positionFile)); err != nil {
			return nil, fmt.Errorf("runlog: %w", err)
		}
	}
	var err error
	l.metrics, err = openMetrics(filepath.Join(dir, metricsFile), at.MetricsBytes, run.Metric, run.Memory)
	if l.metrics == nil {
		return nil, fmt.Errorf("runlog: %w", err)
	}
	step := 0
	if checkpoint != "" {
		step = run.Status().Step
	}
	var samplesErr error
	if l.samples, samplesErr = readSamples(l.path(samplesFile), step); samplesErr != nil {
		l.warn(samplesErr)
	}
	if len(run.Examples) > 0 {
		all, _, trained := lengths.Of(run.Examples)
		l.histograms = []page.Chart{all.Chart("tokens of the examples"), trained.Chart("trained tokens")}
	}
	l.warn(l.writeReport())
	l.beginWandB()
	if err != nil {
		err = fmt.Errorf("runlog: %w", err)
	}
	return l, err
}

// beginWandB begins the run of Weights & Biases that is asked for.
func (l *Log) beginWandB() {
	if l.run.WandB == nil {
		return
	}
	var err error
	if l.wandb, err = createWandB(l.dir, l.run, l.metrics); err != nil {
		l.run.Warn(err.Error())
		return
	}
	l.metrics.also = func(step int, at time.Time, scalars []tensorboard.Scalar) {
		l.warn(l.wandb.add(step, at, scalars))
	}
}

// WandBDir is the directory of the run of Weights & Biases, "" without one.
func (l *Log) WandBDir() string {
	if l.wandb == nil {
		return ""
	}
	return l.wandb.run.Dir()
}

func (l *Log) path(name string) string { return filepath.Join(l.dir, name) }

func readPosition(path string) (position, error) {
	var p position
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, &p)
	}
	if err != nil {
		return p, fmt.Errorf("%s: %w", path, err)
	}
	return p, nil
}

// AddFiles puts into the directory of a checkpoint how far the log is, and the
// log on disk; see [train.Checkpoints].
func (l *Log) AddFiles(dir string) error {
	n, err := l.metrics.sync()
	if err != nil {
		return fmt.Errorf("runlog: %w", err)
	}
	text, err := json.Marshal(position{n})
	if err != nil {
		return fmt.Errorf("runlog: %w", err)
	}
	return atomicfile.Write(filepath.Join(dir, positionFile), append(text, '\n'))
}

// Losses returns the loss of each step so far, those before a resumed checkpoint
// included.
func (l *Log) Losses() []float64 {
	losses := make([]float64, len(l.metrics.steps))
	for i, line := range l.metrics.steps {
		losses[i] = line.Loss
	}
	return losses
}

// Hooks returns what writes the log as the run goes on. Samples are not asked for
// once ctx has ended.
func (l *Log) Hooks(ctx context.Context) train.Hooks {
	return train.Hooks{
		Step:       l.metrics.step,
		Evaluation: l.metrics.evaluation,
		Checkpoint: func(train.Checkpoint) error {
			l.warn(l.writeReport())
			return nil
		},
		Epoch: func(e train.Epoch) error {
			if err := l.sample(ctx, e); ctx.Err() == nil { // else the run is being stopped
				l.warn(err)
			}
			l.warn(l.writeReport())
			return nil
		},
	}
}

// sample asks for answers and keeps them beside those there are.
func (l *Log) sample(ctx context.Context, e train.Epoch) error {
	if l.run.Ask == nil {
		return nil
	}
	samples, err := l.run.Ask(ctx, e)
	if err != nil {
		return fmt.Errorf("answers to held-out questions: %w", err)
	}
	for i := range samples {
		samples[i].Step, samples[i].Epoch = e.Step, e.Epoch
	}
	l.samples = append(l.samples, samples...)
	err = writeSamples(l.path(samplesFile), l.samples)
	if l.wandb != nil {
		err = errors.Join(err, l.wandb.answers(l.samples))
	}
	return err
}

// warn reports what went wrong, once in a row.
func (l *Log) warn(err error) {
	if err == nil || err.Error() == l.complain {
		return
	}
	l.complain = err.Error()
	l.run.Warn(fmt.Sprintf("%s: %v; the training goes on", l.dir, err))
}

// Close writes the page as the run ended and puts the metrics on disk. A second
// call does nothing.
func (l *Log) Close() error {
	if l.ended {
		return nil
	}
	l.ended = true
	l.warn(l.writeReport())
	if l.wandb != nil {
		l.warn(l.closeWandB())
	}
	if err := l.metrics.close(); err != nil {
		return fmt.Errorf("runlog: %w", err)
	}
	return nil
}

// closeWandB ends the run of Weights & Biases, with an exit status of 1 if the
// run was not finished.
func (l *Log) closeWandB() error {
	page, err := os.ReadFile(l.path(reportFile))
	if err != nil {
		page = nil // which has been said
	}
	code, status := 0, l.run.Status()
	if status.Step < status.TotalSteps && !status.StoppedEarly {
		code = 1
	}
	return l.wandb.close(status.Best, page, code)
}
