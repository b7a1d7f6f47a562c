package runlog

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/impulse-salamandra/finetune/internal/tensorboard"
	"github.com/impulse-salamandra/finetune/internal/wandb"
	"github.com/impulse-salamandra/finetune/lora/train"
)

const (
	// syncTime is how long the end of a run waits for its upload.
	syncTime = 30 * time.Second
	// systemPeriod is the time between two points of the system's metrics.
	systemPeriod = 15 * time.Second
)

// wandbWriter writes the lines of metrics.jsonl as an offline run of Weights &
// Biases, which is uploaded meanwhile where a client can do that. Steps rise
// there: the values of one step, such as its evaluation, are one point.
type wandbWriter struct {
	run  *wandb.Run
	step int
	at   time.Time
	row  map[string]any // of step, not written yet

	// stopMeasuring ends the goroutine that adds the system's metrics, and returns
	// its error.
	stopMeasuring func() error
	stop          context.CancelFunc
	wait          func() error // for the upload; nil without one
}

// createWandB begins the run in dir with the lines there are. A run that is
// resumed is written anew under its name.
func createWandB(dir string, r Run, lines *metrics) (*wandbWriter, error) {
	opts := *r.WandB
	opts.Dir, opts.Config = dir, r.Settings
	if id, start, ok := earlierRun(dir); ok && len(lines.steps) > 0 {
		opts.ID, opts.Start = id, start
	}
	run, err := wandb.Create(opts)
	if err != nil {
		return nil, err
	}
	w := &wandbWriter{run: run}
	if err := lines.replay(w.add); err != nil {
		return nil, errors.Join(err, run.Close(1))
	}
	if err := run.File("training_args.json", r.Settings); err != nil {
		return nil, errors.Join(err, run.Close(1))
	}
	ctx, stop := context.WithCancel(context.Background())
	w.stop = stop
	w.stopMeasuring = w.measure(ctx, &system{memory: r.Memory})
	w.wait, err = wandb.StartSync(ctx, run.Dir(), r.Address)
	if err != nil && !errors.Is(err, wandb.ErrNoClient) {
		r.Warn(err.Error())
	}
	return w, nil
}

var runDirectory = regexp.MustCompile(`^offline-run-(\d{8}_\d{6})-([a-zA-Z0-9_-]+)$`)

// earlierRun finds the run that is in a directory already.
func earlierRun(dir string) (id string, start time.Time, ok bool) {
	entries, _ := os.ReadDir(filepath.Join(dir, "wandb")) // none if it is not there
	for _, e := range entries {
		if m := runDirectory.FindStringSubmatch(e.Name()); m != nil {
			if start, err := time.Parse("20060102_150405", m[1]); err == nil {
				return m[2], start, true
			}
		}
	}
	return "", time.Time{}, false
}

// add adds values to the point of a step, and writes the point before it.
func (w *wandbWriter) add(step int, at time.Time, scalars []tensorboard.Scalar) error {
	var err error
	if step != w.step {
		err = w.flush()
		w.step = step
	}
	for _, s := range scalars {
		w.set(s.Tag, s.Value)
	}
	w.at = at
	return err
}

func (w *wandbWriter) flush() error {
	if len(w.row) == 0 {
		return nil
	}
	row := w.row
	w.row = nil
	return w.run.Log(int64(w.step), w.at, row)
}

// measure adds the system's metrics now and then, from a goroutine that stop ends.
func (w *wandbWriter) measure(ctx context.Context, s *system) (stop func() error) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		ticks := time.NewTicker(systemPeriod)
		defer ticks.Stop()
		for { // once at least
			var err error
			if values := s.read(ctx); len(values) > 0 {
				err = w.run.System(time.Now(), values)
			}
			if err != nil || ctx.Err() != nil {
				done <- err
				return
			}
			select {
			case <-ticks.C:
			case <-ctx.Done():
				done <- nil
				return
			}
		}
	}()
	return func() error {
		cancel()
		return <-done
	}
}

// answers adds the answers so far as a table to the point at hand.
func (w *wandbWriter) answers(samples []Sample) error {
	rows := make([][]any, len(samples))
	for i, s := range samples {
		rows[i] = []any{s.Step, s.Epoch, s.ID, s.Query, s.Expected, s.Answer, s.judge().Verdict}
	}
	table, err := w.run.Table("samples", int64(w.step), []string{"step", "epoch", "id", "query", "expected", "answer", "verdict"}, rows)
	w.set("samples", table)
	return err
}

// set adds a value to the point at hand.
func (w *wandbWriter) set(key string, value any) {
	if w.row == nil {
		w.row = map[string]any{}
	}
	w.row[key], w.at = value, time.Now()
}

// close ends the run with the best evaluation, the page about it and an exit code,
// and waits for its upload.
func (w *wandbWriter) close(best *train.Evaluation, page []byte, code int) error {
	defer w.stop()
	err := w.stopMeasuring()
	if page != nil {
		value, failed := w.run.HTML("report", int64(w.step), page)
		w.set("report", value)
		err = errors.Join(err, failed)
	}
	err = errors.Join(err, w.flush())
	if best != nil {
		err = errors.Join(err, w.run.Summary(map[string]any{"best/step": best.Step, "best/loss": best.Loss}))
	}
	if err = errors.Join(err, w.run.Close(code)); w.wait == nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- w.wait() }()
	select {
	case synced := <-done:
		return errors.Join(err, synced)
	case <-time.After(syncTime):
		return errors.Join(err, fmt.Errorf("the upload took more than %v; wandb sync %s goes on with it", syncTime, w.run.Dir()))
	}
}
