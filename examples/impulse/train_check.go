package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/salamandra"
)

// checkData lists what is wrong with the flags for examples and batches, and
// files that are not there.
func (o *trainOptions) checkData() error {
	var faults []error
	for _, n := range []struct {
		flag  string
		value int
	}{{"--batch-size", o.BatchSize}, {"--max-length", o.MaxLength}, {"--max-shapes", o.MaxShapes}} {
		if n.value < 1 {
			faults = append(faults, fmt.Errorf("%s %d, want 1 or more", n.flag, n.value))
		}
	}
	if !(o.EvalSplit >= 0 && o.EvalSplit < 1) {
		faults = append(faults, fmt.Errorf("--eval-split %v, want 0 to below 1", o.EvalSplit))
	}
	if _, err := time.Parse(time.DateOnly, o.Date); err != nil {
		faults = append(faults, fmt.Errorf("--date %q, want yyyy-mm-dd", o.Date))
	}
	if o.AllowTestOverlap && o.TestFile == "" {
		faults = append(faults, errors.New("--allow-test-overlap goes with --test-file"))
	}
	schema := o.Schema
	if schema == "auto" || schema == "none" {
		schema = ""
	}
	for _, f := range []struct{ flag, path string }{{"--data", o.Data}, {"--test-file", o.TestFile}, {"--prompt-file", o.PromptFile}, {"--schema", schema}} {
		faults = append(faults, named(f.flag, checkInput(f.path)))
	}
	return errors.Join(faults...)
}

// checkInput refuses a path, unless it is "", that is not there or a directory.
func checkInput(path string) error {
	if path == "" {
		return nil
	}
	info, err := os.Stat(path)
	if err == nil && info.IsDir() {
		err = fmt.Errorf("%s is a directory, want a file; impulse prepare --input-dir makes one of IMPULSE's batches", path)
	}
	return err
}

// checkBase refuses flags that do not fit the base model, before any of its
// weights are read.
func (o *trainOptions) checkBase(base string) error {
	config, err := salamandra.ReadConfig(base)
	if err != nil {
		return err
	}
	var faults []error
	if o.MaxLength > config.MaxPositionEmbeddings {
		faults = append(faults, fmt.Errorf("--max-length %d: the model has %d positions", o.MaxLength, config.MaxPositionEmbeddings))
	}
	if o.InitAdapter != "" { // brings its own
		return errors.Join(faults...)
	}
	kinds := map[string]bool{}
	for _, t := range config.Tensors() {
		if name := strings.TrimSuffix(t.Name, ".weight"); len(t.Shape) == 2 && strings.HasPrefix(name, "model.layers.") {
			kinds[name[strings.LastIndexByte(name, '.')+1:]] = true
		}
	}
	for _, target := range o.LoRA.TargetModules {
		fits := lora.Config{TargetModules: []string{target}}
		if !slices.ContainsFunc(config.Tensors(), func(t salamandra.TensorShape) bool { return fits.Matches(strings.TrimSuffix(t.Name, ".weight")) }) {
			faults = append(faults, fmt.Errorf("--target-modules %s: the model has no such layer; it has %s", target, strings.Join(slices.Sorted(maps.Keys(kinds)), ", ")))
		}
	}
	return errors.Join(faults...)
}

// maxOverlaps bounds the list of an error.
const maxOverlaps = 50

// checkOverlap looks for the queries of --test-file, and near duplicates of them,
// in the examples: scores on those say nothing. It refuses them, or only lists
// them if told so.
func (o *trainOptions) checkOverlap(records []dataset.Record, out io.Writer) error {
	if o.TestFile == "" {
		return nil
	}
	tests, _, err := readRecords(o.TestFile, o.PromptFile)
	if err != nil {
		return named("--test-file", err)
	}
	questions := make([]string, len(tests))
	for i, t := range tests {
		questions[i] = t.Question()
	}
	index, err := dataset.NewNearIndex(questions, dataset.NearSimilarity)
	if err != nil {
		return err
	}
	var pairs []string
	found := map[int]bool{}
	for i, r := range records {
		question := r.Question()
		for _, near := range index.Find(question) {
			how := fmt.Sprintf("resembles it (similarity %.2f): %q", near.Similarity, question)
			if dataset.Fold(question) == dataset.Fold(questions[near.Index]) {
				how = "is the same"
			}
			found[near.Index] = true
			pairs = append(pairs, fmt.Sprintf("  test query %s %q: record %s of %s %s", nameOf(tests[near.Index], near.Index), questions[near.Index], nameOf(r, i), filepath.Base(o.Data), how))
		}
	}
	said := fmt.Sprintf("--test-file %s: %d of %d test queries are in the training data", o.TestFile, len(found), len(tests))
	if more := len(pairs) - maxOverlaps; more > 0 {
		pairs = append(pairs[:maxOverlaps], fmt.Sprintf("  and %d pairs more", more))
	}
	list := strings.Join(pairs, "\n")
	switch {
	case len(pairs) == 0:
		fmt.Fprintf(out, "--test-file %s: none of its %d queries, nor a near duplicate, is in the training data\n", o.TestFile, len(tests))
	case o.AllowTestOverlap:
		fmt.Fprintf(out, "warning: %s\n%s\n", said, list)
	default:
		return fmt.Errorf("%s; take them out, or say --allow-test-overlap\n%s", said, list)
	}
	return nil
}

// nameOf is the id of a record, or its place as dataset.Builder calls it.
func nameOf(r dataset.Record, i int) string { return cmp.Or(r.ID, fmt.Sprintf("#%d", i+1)) }
