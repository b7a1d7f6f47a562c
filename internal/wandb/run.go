package wandb

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// Options describe a run.
type Options struct {
	// Dir is where the directory "wandb" is made.
	Dir string
	// Project and Entity are where the run is uploaded to; by default
	// WANDB_PROJECT and WANDB_ENTITY, then "uncategorized" and the user's own.
	Project, Entity string
	// Name is what the page calls the run; by default W&B finds one.
	Name string
	// ID identifies the run within its project, [a-zA-Z0-9_-]; random by
	// default. A run of the same ID and Start is written anew.
	ID string
	// Start is when the run began; now by default.
	Start time.Time
	// Config is a JSON object of settings, or nil.
	Config json.RawMessage

	config map[string]json.RawMessage
}

var idPattern = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,128}$`)

// complete fills in the defaults and lists what is wrong.
func (o *Options) complete() error {
	var faults []error
	if o.Project == "" {
		o.Project = os.Getenv("WANDB_PROJECT")
	}
	if o.Entity == "" {
		o.Entity = os.Getenv("WANDB_ENTITY")
	}
	if o.ID == "" {
		o.ID = strings.ToLower(rand.Text()[:8])
	} else if !idPattern.MatchString(o.ID) {
		faults = append(faults, fmt.Errorf("id %q, want 1 to 128 letters, digits, - or _", o.ID))
	}
	if o.Start.IsZero() {
		o.Start = time.Now()
	}
	if o.Config != nil {
		if err := json.Unmarshal(o.Config, &o.config); err != nil {
			faults = append(faults, fmt.Errorf("config: want a JSON object: %w", err))
		}
	}
	return errors.Join(faults...)
}

// Run is an offline run that is being written. Its methods may be called from
// several goroutines. A record is in the file when its call returns.
type Run struct {
	dir     string
	id      string
	start   time.Time
	mu      sync.Mutex
	file    *os.File
	log     *recordLog
	written int64 // records
}

// Create begins a run.
func Create(opts Options) (*Run, error) {
	if err := opts.complete(); err != nil {
		return nil, fmt.Errorf("wandb: %w", err)
	}
	dir := filepath.Join(opts.Dir, "wandb", fmt.Sprintf("offline-run-%s-%s", opts.Start.UTC().Format("20060102_150405"), opts.ID))
	if err := os.MkdirAll(filepath.Join(dir, "files"), 0o777); err != nil {
		return nil, fmt.Errorf("wandb: %w", err)
	}
	file, err := os.Create(filepath.Join(dir, "run-"+opts.ID+".wandb"))
	if err != nil {
		return nil, fmt.Errorf("wandb: %w", err)
	}
	r := &Run{dir: dir, id: opts.ID, start: opts.Start, file: file}
	if err := r.begin(opts); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return r, nil
}

func (r *Run) begin(opts Options) error {
	var err error
	if r.log, err = newRecordLog(r.file); err != nil {
		return fmt.Errorf("wandb: %w", err)
	}
	host, _ := os.Hostname() // which is for people
	started := message(nil).nested(3, timestamp(opts.Start)).text(12, host).text(199, r.id)
	return errors.Join(r.write(headerRecord, header()), r.write(runRecord, opts.runMessage(host)), r.write(environmentRecord, started))
}

// Dir is the run's directory, which `wandb sync` takes.
func (r *Run) Dir() string { return r.dir }

// write appends a record. After Close it fails with [os.ErrClosed].
func (r *Run) write(field int, body message) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.file == nil {
		return fmt.Errorf("wandb: run %s: %w", r.id, os.ErrClosed)
	}
	r.written++
	record := message(nil).number(1, r.written).nested(protowire.Number(field), body)
	if err := r.log.append(record); err != nil {
		return fmt.Errorf("wandb: run %s: %w", r.id, err)
	}
	return nil
}

// Log adds a point to the run's history, and to its summary, which holds the
// newest value of each key. Steps rise; a key such as "train/loss" is drawn in
// the section before the slash. Numbers that are not finite are written as W&B
// spells them, "NaN" and "Infinity".
func (r *Run) Log(step int64, at time.Time, values map[string]any) error {
	row := map[string]json.RawMessage{}
	for key, v := range values {
		data, err := encode(v)
		if err != nil {
			return fmt.Errorf("wandb: %s at step %d: %w", key, step, err)
		}
		row[key] = data
	}
	return r.logRow(step, at, row)
}

func (r *Run) logRow(step int64, at time.Time, row map[string]json.RawMessage) error {
	for key, v := range map[string]any{"_step": step, "_timestamp": float64(at.UnixMicro()) / 1e6, "_runtime": at.Sub(r.start).Seconds()} {
		row[key], _ = encode(v) // numbers
	}
	history := items(1, row).nested(2, message(nil).number(1, step))
	return errors.Join(r.write(historyRecord, history), r.write(summaryRecord, items(1, row)))
}

// encode is a value in JSON.
func encode(v any) (json.RawMessage, error) {
	if f, ok := v.(float64); ok {
		switch {
		case math.IsNaN(f):
			return json.RawMessage(`"NaN"`), nil
		case math.IsInf(f, 1):
			return json.RawMessage(`"Infinity"`), nil
		case math.IsInf(f, -1):
			return json.RawMessage(`"-Infinity"`), nil
		}
	}
	return json.Marshal(v)
}

// System adds a point to the system metrics, such as "proc.memory.rssMB".
func (r *Run) System(at time.Time, values map[string]float64) error {
	stats := message(nil).nested(2, timestamp(at))
	row := map[string]json.RawMessage{}
	for key, v := range values {
		row[key], _ = encode(v) // numbers
	}
	return r.write(statsRecord, append(stats, items(3, row)...))
}

// HTML adds a page to the run's files. The value, logged by [Run.Log] with the same
// key and step, shows it as a panel.
func (r *Run) HTML(key string, step int64, page []byte) (value any, err error) {
	return r.media(media{"html-file", "html", ".html", nil}, key, step, page)
}

// Table adds a table to the run's files, to be shown as [Run.HTML] says.
func (r *Run) Table(key string, step int64, columns []string, rows [][]any) (value any, err error) {
	data, err := json.Marshal(struct {
		Columns []string `json:"columns"`
		Data    [][]any  `json:"data"`
	}{columns, rows})
	if err != nil {
		return nil, fmt.Errorf("wandb: table %s: %w", key, err)
	}
	size := map[string]any{"ncols": len(columns), "nrows": len(rows)}
	return r.media(media{"table-file", "table", ".table.json", size}, key, step, data)
}

// media is a kind of file that is a value of a point.
type media struct {
	kind, dir, ext string
	about          map[string]any
}

// media writes a file below files/media and returns the value that shows it.
func (r *Run) media(m media, key string, step int64, data []byte) (any, error) {
	sum := sha256.Sum256(data)
	digest := hex.EncodeToString(sum[:])
	name := fmt.Sprintf("media/%s/%s_%d_%s%s", m.dir, key, step, digest[:20], m.ext)
	value := map[string]any{"_type": m.kind, "path": name, "sha256": digest, "size": len(data)}
	maps.Copy(value, m.about)
	return value, r.addFile(name, data, mediaType)
}

// File adds a file to the run, under a path with slashes.
func (r *Run) File(name string, data []byte) error { return r.addFile(name, data, otherType) }

// addFile writes a file below files/ and lists it to be uploaded.
func (r *Run) addFile(name string, data []byte, kind int64) error {
	file := filepath.Join(r.dir, "files", filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
		return fmt.Errorf("wandb: %w", err)
	}
	if err := os.WriteFile(file, data, 0o666); err != nil {
		return fmt.Errorf("wandb: %w", err)
	}
	return r.write(filesRecord, fileItem(name, kind))
}

// Summary sets values of the run's summary.
func (r *Run) Summary(values map[string]any) error {
	row := map[string]json.RawMessage{}
	for key, v := range values {
		data, err := encode(v)
		if err != nil {
			return fmt.Errorf("wandb: summary %s: %w", key, err)
		}
		row[key] = data
	}
	return r.write(summaryRecord, items(1, row))
}

// Close ends the run with an exit code, 0 for success, and puts it on disk. A
// second call does nothing.
func (r *Run) Close(code int) error {
	r.mu.Lock()
	closed := r.file == nil
	r.mu.Unlock()
	if closed {
		return nil
	}
	err := r.write(exitRecord, message(nil).number(1, int64(code)).number(2, int64(time.Since(r.start).Seconds())))
	r.mu.Lock()
	defer r.mu.Unlock()
	err = errors.Join(err, r.file.Sync(), r.file.Close())
	r.file = nil
	return err
}
