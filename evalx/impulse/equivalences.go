package impulse

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/impulse-salamandra/finetune/evalx"
)

// normal is a normal form of text, in which equivalent terms are one.
type normal = func(string) string

// equivalences say which terms mean the same, by what they name.
type equivalences struct {
	programmes, locations, organisations, organisationTypes, topics normal
}

// readEquivalences reads a directory with some of the files below, "" being one
// without any; terms are compared in the form by. It reports the faults of all
// files, a file *.json by another name among them, whose sets would not be used.
func readEquivalences(dir string, by normal) (equivalences, error) {
	e := equivalences{by, by, by, by, by}
	files := map[string]*normal{
		"programme_equivalences.json": &e.programmes,
		"location_equivalences.json":  &e.locations,
		"org_equivalences.json":       &e.organisations,
		"org_type_equivalences.json":  &e.organisationTypes,
		"semantic_equivalences.json":  &e.topics,
	}
	if dir == "" {
		return e, nil
	}
	entries, err := os.ReadDir(dir) // sorted by name
	if err != nil {
		return e, fmt.Errorf("equivalence sets: %w", err)
	}
	var faults []error
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		if filepath.Ext(path) != ".json" {
			continue
		}
		form, known := files[entry.Name()]
		if !known {
			faults = append(faults, fmt.Errorf("%s: unknown file of equivalence sets, want %s", path, strings.Join(slices.Sorted(maps.Keys(files)), ", ")))
			continue
		}
		data, err := os.ReadFile(path)
		var sets [][]string
		if err == nil {
			sets, err = parseEquivalences(path, data)
		}
		faults = append(faults, err)
		*form = evalx.Equivalent(by, sets...)
	}
	return e, errors.Join(faults...)
}

// parseEquivalences reads a file of equivalence sets:
//
//	{"description": "Programmes", "equivalence_sets": [["H2020", "Horizon 2020"], ...]}
//
// The description and keys other than these two are not read. name stands for
// the file in errors, which list every fault.
func parseEquivalences(name string, data []byte) ([][]string, error) {
	doc, err := evalx.Parse(string(data))
	if place := new(evalx.ParseError); errors.As(err, &place) {
		return nil, fmt.Errorf("%s, line %d, column %d: %s", name, place.Line, place.Column, place.Reason)
	}
	schema, err := equivalencesSchema()
	if err != nil {
		return nil, err
	}
	var faults []string
	for _, v := range schema.Validate(doc) {
		faults = append(faults, v.String())
	}
	if faults != nil {
		return nil, fmt.Errorf("%s: bad equivalence sets: %s", name, strings.Join(faults, "; "))
	}
	var sets [][]string
	for _, set := range evalx.Lookup(doc, "equivalence_sets").([]any) {
		var terms []string
		for _, term := range set.([]any) {
			terms = append(terms, term.(string))
		}
		sets = append(sets, terms)
	}
	return sets, nil
}

// equivalencesSchema is the form of the file. A blank term would make nothing
// equal to something.
var equivalencesSchema = sync.OnceValues(func() (*evalx.Schema, error) {
	return evalx.CompileSchema("equivalence sets", []byte(`{
		"type": "object",
		"required": ["equivalence_sets"],
		"properties": {"equivalence_sets": {
			"type": "array",
			"items": {"type": "array", "minItems": 1, "items": {"type": "string", "pattern": "\\S"}}
		}}
	}`))
})
