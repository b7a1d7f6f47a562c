package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/impulse-salamandra/finetune/internal/atomicfile"
)

// shellWord writes a path as a shell takes it.
func shellWord(path string) string {
	if !strings.ContainsAny(path, " \t\n'\"\\$&;|<>()*?[]`!#~{}") {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}

// outputFile is a file that a flag asks for; an empty path for none.
type outputFile struct{ flag, path string }

// checkOutputs reports each file that exists already, unless it may be
// replaced, or could not be written: what cannot be written must not cost the
// work.
func checkOutputs(overwrite bool, files ...outputFile) error {
	var faults []error
	for _, o := range files {
		if o.path == "" {
			continue
		}
		if err := checkOutput(o.path, overwrite); err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", o.flag, err))
		}
	}
	return errors.Join(faults...)
}

func checkOutput(path string, overwrite bool) error {
	if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && !overwrite {
		return fmt.Errorf("%s exists already; add --overwrite to replace it", path)
	}
	f, err := atomicfile.Create(path)
	if err != nil {
		return err
	}
	return f.Abort()
}

// named puts the flag before an error about its value, once.
func named(flag string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", flag, err)
}

// standardOutput remembers that a write failed: a command whose results were
// lost must not end as if all was well.
type standardOutput struct {
	io.Writer
	err error
}

// Write implements [io.Writer].
func (s *standardOutput) Write(p []byte) (int, error) {
	n, err := s.Writer.Write(p)
	if err != nil && s.err == nil {
		s.err = err
		if path := new(fs.PathError); errors.As(err, &path) {
			s.err = path.Err
		}
	}
	return n, err
}
