package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/impulse-salamandra/finetune/dataset/impulse"
	"github.com/impulse-salamandra/finetune/evalx"
)

// Names of the rule sets.
const (
	standardRules  = "standard"
	publishedRules = "impulse-published"
)

// rules are a rule set that is ready to score.
type rules struct {
	Name string
	Task evalx.Task
}

// newRules returns the rule set with a name. Answers are checked against the
// schema; equivalences is a directory of equivalence sets (see
// readEquivalences), "" for none.
func newRules(name, equivalences string, schema []byte, variant impulse.Variant) (rules, error) {
	build, normal := newStandard, evalx.FoldAccents
	switch name {
	case standardRules:
	case publishedRules:
		build, normal = newPublished, publishedNormal
	default:
		return rules{}, fmt.Errorf("--rules %q, want %s or %s", name, standardRules, publishedRules)
	}
	compiled, err := evalx.CompileSchema("answer schema", schema)
	if err != nil {
		return rules{}, err
	}
	sets, err := readEquivalences(equivalences, normal)
	if err != nil {
		return rules{}, err
	}
	task := build(sets, variant)
	task.Name, task.Schema = name, compiled
	task.Groups = []evalx.Group{evalx.GroupBy("language", "meta.lang"), {Name: "type", Of: queryType}}
	return rules{name, task}, nil
}

// writeSummary writes the scores for the terminal and, for published rules, the
// totals under the names they are published with.
func (r rules) writeSummary(w io.Writer, results []evalx.Result) error {
	err := evalx.WriteText(w, evalx.Summarize(results))
	if err == nil && r.Name == publishedRules {
		err = writePublishedTotals(w, results)
	}
	return err
}

// writeTable writes a tab-separated table with a line for each answer: the
// published columns for published rules, byte for byte, and those of
// evalx.WriteTSV for others.
func (r rules) writeTable(w io.Writer, results []evalx.Result) error {
	if r.Name == publishedRules {
		return writePublishedTable(w, results)
	}
	return evalx.WriteTSV(w, results)
}

// equivalences say which terms mean the same, by what they name.
type equivalences struct {
	programmes, locations, organisations, organisationTypes, topics *evalx.Equivalences
}

// errEquivalenceFile: a directory of equivalence sets has a file by another
// name, whose sets would not be used.
var errEquivalenceFile = errors.New("unknown file of equivalence sets")

// readEquivalences reads a directory with some of the files below, "" being one
// without any; normal brings terms to their normal form. It reports the faults
// of all files, a file *.json by another name among them.
func readEquivalences(dir string, normal func(string) string) (equivalences, error) {
	var e equivalences
	files := map[string]**evalx.Equivalences{
		"programme_equivalences.json": &e.programmes,
		"location_equivalences.json":  &e.locations,
		"org_equivalences.json":       &e.organisations,
		"org_type_equivalences.json":  &e.organisationTypes,
		"semantic_equivalences.json":  &e.topics,
	}
	for _, sets := range files {
		*sets = evalx.NewEquivalences(normal)
	}
	if dir == "" {
		return e, nil
	}
	entries, err := os.ReadDir(dir) // sorted by name
	if err != nil {
		return e, fmt.Errorf("--equivalences: %w", err)
	}
	var faults []error
	for _, entry := range entries {
		name := entry.Name()
		if filepath.Ext(name) != ".json" {
			continue
		}
		sets, known := files[name]
		if !known {
			faults = append(faults, fmt.Errorf("%w: %s, want %s", errEquivalenceFile, filepath.Join(dir, name), strings.Join(sortedKeys(files), ", ")))
			continue
		}
		data, err := fs.ReadFile(os.DirFS(dir), name)
		if err == nil {
			*sets, err = evalx.ParseEquivalences(filepath.Join(dir, name), data, normal)
		}
		faults = append(faults, err)
	}
	return e, errors.Join(faults...)
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
