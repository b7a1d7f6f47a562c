package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	rules "github.com/impulse-salamandra/finetune/evalx/impulse"
	"github.com/impulse-salamandra/finetune/evalx/report"
	"github.com/impulse-salamandra/finetune/internal/atomicfile"
)

// outputs are the files that flags ask for, one for each time that the questions
// are asked.
func (o *validateOptions) outputs() []outputFile {
	files := []outputFile{{"--report", o.Report}}
	for _, constrained := range o.modes() {
		files = append(files, outputFile{"--save-results", o.ofMode(o.SaveResults, constrained)}, outputFile{"--tsv", o.ofMode(o.TSV, constrained)})
	}
	return files
}

// ofMode is the path of a file about answers in one mode: with both,
// results.json has those that are kept to the schema and results.unconstrained.json
// the others.
func (o *validateOptions) ofMode(path string, constrained bool) string {
	if path == "" || constrained || o.Constrained != "both" {
		return path
	}
	end := filepath.Ext(path)
	return strings.TrimSuffix(path, end) + ".unconstrained" + end
}

// journal is the file in which answers are kept as they come, "" if results are not
// saved.
func (o *validateOptions) journal(constrained bool) string {
	path := o.ofMode(o.SaveResults, constrained)
	if path == "" || o.ModelPath == "" {
		return ""
	}
	return strings.TrimSuffix(path, filepath.Ext(path)) + ".answers.jsonl"
}

// checkJournals refuses to begin anew over the answers of an interrupted run, unless
// told so.
func (o *validateOptions) checkJournals() error {
	if o.Resume && o.SaveResults == "" {
		return errors.New("--resume goes on with the answers kept by --save-results: give the same file")
	}
	var faults []error
	for _, constrained := range o.modes() {
		path := o.journal(constrained)
		if path == "" || o.Resume {
			continue
		}
		switch _, err := os.Stat(path); {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			faults = append(faults, err)
		case o.Overwrite:
			faults = append(faults, os.Remove(path))
		default:
			faults = append(faults, fmt.Errorf("%s holds the answers of an interrupted run: "+
				"add --resume to go on with them, or --overwrite to begin anew", path))
		}
	}
	return errors.Join(faults...)
}

// save writes the files that flags ask for. The answers in them need not be kept
// otherwise.
func (o *validateOptions) save(runs []report.Run, out io.Writer) error {
	for i, constrained := range o.modes() {
		if i >= len(runs) {
			break // a file of answers is scored once
		}
		r := runs[i]
		if err := write(o.ofMode(o.SaveResults, constrained), func(w io.Writer) error { return report.WriteJSON(w, r) }, out); err != nil {
			return err
		}
		if err := write(o.ofMode(o.TSV, constrained), func(w io.Writer) error { return rules.WriteTable(w, r) }, out); err != nil {
			return err
		}
	}
	if err := write(o.Report, func(w io.Writer) error { return report.WriteHTML(w, o.title(), runs...) }, out); err != nil {
		return err
	}
	for _, constrained := range o.modes() {
		if path := o.journal(constrained); path != "" {
			if err := os.Remove(path); err != nil {
				return err
			}
		}
	}
	return nil
}

// write writes one file, if there is a path for it.
func write(path string, content func(io.Writer) error, out io.Writer) error {
	if path == "" {
		return nil
	}
	var b bytes.Buffer
	if err := content(&b); err != nil {
		return err
	}
	if err := atomicfile.Write(path, b.Bytes()); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "wrote %s\n", path)
	return err
}
