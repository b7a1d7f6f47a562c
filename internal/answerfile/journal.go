package answerfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
)

// Journal is a file that answers are written to as they come, so that a run that
// was interrupted can go on.
type Journal struct {
	file *os.File
	kept map[string]string
}

// ErrExists: there is a journal already, and it was not to be resumed.
var ErrExists = errors.New("answers of an interrupted run")

// Open makes a journal for a run, which is described by what its answers depend
// on, or goes on with the one at path where resume allows and the run is the same.
// A last line that was not written to its end is dropped.
func Open(path string, run map[string]string, resume bool) (*Journal, error) {
	data, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return create(path, run)
	case err != nil:
		return nil, err
	case !resume:
		return nil, fmt.Errorf("%s holds the %w", path, ErrExists)
	}
	data = data[:bytes.LastIndexByte(data, '\n')+1]
	if len(data) == 0 {
		return create(path, run)
	}
	before, kept, err := Read(path, data)
	if err != nil {
		return nil, err
	}
	if err := sameRun(path, kept, run); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_WRONLY, 0o666)
	if err != nil {
		return nil, err
	}
	j := &Journal{file: file, kept: map[string]string{}}
	for _, a := range before {
		j.kept[a.ID] = a.Text
	}
	if err := file.Truncate(int64(len(data))); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	if _, err := file.Seek(int64(len(data)), 0); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return j, nil
}

func create(path string, run map[string]string) (*Journal, error) {
	file, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	j := &Journal{file: file, kept: map[string]string{}}
	if err := j.write(head{run}); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return j, nil
}

// sameRun refuses a journal of another run and says what differs.
func sameRun(path string, kept, run map[string]string) error {
	if kept == nil {
		return fmt.Errorf("%s does not say how its questions were asked: it cannot be resumed", path)
	}
	var differ []string
	for _, key := range slices.Sorted(maps.Keys(run)) {
		if kept[key] != run[key] {
			differ = append(differ, key)
		}
	}
	if differ == nil {
		return nil
	}
	return fmt.Errorf("%s holds answers that were asked for in another way, which cannot be resumed: other %s", path, strings.Join(differ, ", "))
}

// Kept returns the answers that the journal had when it was opened, by id.
func (j *Journal) Kept() map[string]string { return j.kept }

// Add writes an answer, which is on the disk when Add returns.
func (j *Journal) Add(id, text string) error {
	return j.write(line{ID: id, Response: &text})
}

func (j *Journal) write(v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if _, err := j.file.Write(append(text, '\n')); err != nil {
		return err
	}
	return j.file.Sync()
}

// Close closes the file, which stays.
func (j *Journal) Close() error { return j.file.Close() }
