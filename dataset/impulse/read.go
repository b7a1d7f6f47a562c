package impulse

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/impulse-salamandra/finetune/internal/strictjson"
)

// DefaultPattern is the usual name of batch files.
const DefaultPattern = "batch*.json"

// Options say how strictly batches are read.
type Options struct {
	// Validate applies all the checks that the package comment lists. Without
	// it filters, organisations and metric_params are passed on as read, and
	// only what a training line cannot be made from is refused.
	Validate bool
	// Schema is a JSON Schema of answers, or of records if it has a property
	// meta.id, to validate against in place of the built-in one. It also decides
	// the variant: v1 if it has a property metric. Giving one implies Validate.
	Schema []byte
}

// Record is one annotated question.
type Record struct {
	ID    string // meta.id
	Lang  string // meta.lang: CA, ES or EN
	Query string // meta.original_query, as typed
	// Answer is the JSON text a model should answer with, in the one layout used
	// for training: fixed order of keys, two spaces per level, no line feed at
	// the end. Numbers are as written in the file.
	Answer string
	// File and Index, from 0, are where the record stood.
	File  string
	Index int
}

// Batches are the records of a set of files, all of one variant.
type Batches struct {
	Variant Variant
	// Files are the names of the files in the order read.
	Files []string
	// Records are in the order of the files and, within one, as it has them.
	Records []Record
	// Warnings are the faults that do not stop the records from being used.
	Warnings []Fault
}

// ReadDir reads the files in dir whose names match pattern (see
// [filepath.Match]; usually [DefaultPattern]), in code-point order: batch10.json
// comes before batch2.json. It fails if there are none, and
// otherwise as [ReadFiles] does.
func ReadDir(ctx context.Context, dir, pattern string, opts Options) (*Batches, error) {
	entries, err := os.ReadDir(dir) // sorted by name
	if err != nil {
		return nil, fmt.Errorf("impulse: %w", err)
	}
	var paths []string
	for _, e := range entries {
		match, err := filepath.Match(pattern, e.Name())
		if err != nil {
			return nil, fmt.Errorf("impulse: pattern %q: %w", pattern, err)
		}
		if match && !e.IsDir() {
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	if paths == nil {
		return nil, fmt.Errorf("no batch files: nothing in %s matches %s", dir, pattern)
	}
	return ReadFiles(ctx, paths, opts)
}

// ReadFiles reads files of records: batches or test sets. Each is an array of
// records or an object with such an array under "queries"; other keys beside it
// are ignored.
//
// If anything is wrong with any file no record is returned, and the error is a
// [*FaultsError] with all that was found. In a file that is not JSON the reader
// stops at the first fault it cannot read over.
func ReadFiles(ctx context.Context, paths []string, opts Options) (*Batches, error) {
	r, err := newReader(opts)
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("impulse: %w", err)
		}
		r.read(path, data)
	}
	return r.result()
}

// Parse is [ReadFiles] for a file already in memory. name stands for it in
// faults.
func Parse(data []byte, name string, opts Options) (*Batches, error) {
	r, err := newReader(opts)
	if err != nil {
		return nil, err
	}
	r.read(name, data)
	return r.result()
}

// reader is what carries over from record to record and file to file.
type reader struct {
	batches   Batches // Warnings holds all faults until the end
	hasErrors bool
	schemas   map[Variant]*schema // nil: do not validate
	warns     bool                // of fields that disagree, even so
	fixed     bool                // the given schema decides the variant
	first     *Record             // decides it otherwise
	mixed     bool                // a record of another variant was reported
	ids       map[string]*Record
}

func newReader(opts Options) (*reader, error) {
	r := &reader{ids: map[string]*Record{}}
	schemas := [][]byte{opts.Schema}
	if opts.Schema == nil {
		if !opts.Validate {
			return r, nil
		}
		schemas = [][]byte{schemaCurrent, schemaV1}
	}
	r.schemas = map[Variant]*schema{}
	for _, data := range schemas {
		s, err := compileSchema(data)
		if err != nil {
			return nil, err
		}
		r.schemas[s.variant] = s
		if r.fixed = opts.Schema != nil; r.fixed {
			r.batches.Variant = s.variant
		}
	}
	return r, nil
}

// result gives all faults, or the records and the warnings.
func (r *reader) result() (*Batches, error) {
	if r.hasErrors {
		return nil, &FaultsError{r.batches.Warnings}
	}
	return &r.batches, nil
}

// maxDepth is how many arrays and objects may lie within one another in a batch
// file. Records need five; the limit bounds recursion on hostile input.
const maxDepth = 64

// causes of faults of JSON.
var causes = map[strictjson.Cause]error{
	strictjson.Syntax: errSyntax, strictjson.UTF8: errUTF8, strictjson.Depth: errDepth, strictjson.DuplicateKey: errDuplicateKey,
}

// source is one file while it is read.
type source struct {
	name   string
	data   []byte
	faults []Fault
}

// add adds a fault. Path, Offset, Err, Message and Warning come from the
// caller, as do Index and ID.
func (s *source) add(f Fault) {
	f.File = s.name
	f.Line = 1 + bytes.Count(s.data[:f.Offset], []byte("\n"))
	s.faults = append(s.faults, f)
}

func (r *reader) read(name string, data []byte) {
	src := &source{name: name, data: data}
	start := 0
	if bytes.HasPrefix(data, []byte(bom)) {
		start = len(bom)
		src.add(Fault{Index: -1, err: errBOM, Message: "byte-order mark skipped", Warning: true})
	}
	root, problems, complete := strictjson.Parse(data, start, maxDepth)
	for _, p := range problems {
		index, path := inRecord(p.Path)
		if p.Cause == strictjson.Depth && len(path) > 1 {
			path = path[:1] // the record's field says more than 64 brackets
		}
		src.add(Fault{Index: index, ID: recordID(&root, index), Path: path.String(), Offset: p.Offset, err: causes[p.Cause], Message: p.Detail})
	}
	if complete {
		r.records(src, &root)
	}
	slices.SortStableFunc(src.faults, func(a, b Fault) int { return a.Offset - b.Offset })
	for _, f := range src.faults {
		r.hasErrors = r.hasErrors || !f.Warning
	}
	r.batches.Files = append(r.batches.Files, name)
	r.batches.Warnings = append(r.batches.Warnings, src.faults...)
}

// Keys that are looked up in several places.
const (
	queriesKey = "queries"
	metaKey    = "meta"
	idKey      = "id"
)

// records finds the records of a file and checks each.
func (r *reader) records(src *source, root *strictjson.Value) {
	const want = `want an array, or an object with an array under "queries"; `
	list, path := root, ""
	if root.Kind == strictjson.Object {
		list, path = root.Get(queriesKey), queriesKey
	}
	fault := func(v *strictjson.Value, path string, err error, message string) {
		src.add(Fault{Index: -1, Path: path, Offset: v.Offset, err: err, Message: message})
	}
	switch {
	case list == nil:
		keys := make([]string, len(root.Members))
		for i, m := range root.Members {
			keys[i] = m.Key
		}
		fault(root, "", errType, want+"keys found: "+strings.Join(keys, ", "))
	case list.Kind != strictjson.Array && list == root:
		fault(list, "", errType, want+"got "+string(list.Kind))
	case list.Kind != strictjson.Array:
		fault(list, path, errType, "want array, got "+string(list.Kind))
	case len(list.Items) == 0:
		fault(list, path, errEmpty, "no records in the file")
	}
	if list != nil {
		for i := range list.Items {
			r.record(src, i, &list.Items[i])
		}
	}
}

// inRecord splits a path from the top of a file into the record's index, -1 for
// none, and the path in the record.
func inRecord(path strictjson.Path) (index int, rest strictjson.Path) {
	rest = path
	if len(rest) > 1 && rest[0].Key == queriesKey {
		rest = rest[1:]
	}
	if len(rest) > 0 && rest[0].IsIndex {
		return rest[0].Index, rest[1:]
	}
	return -1, path
}

// recordID is empty for index -1 and for records without an id.
func recordID(root *strictjson.Value, index int) string {
	if queries := root.Get(queriesKey); queries != nil {
		root = queries
	}
	if index < 0 || index >= len(root.Items) {
		return ""
	}
	return idOf(&root.Items[index])
}

func idOf(record *strictjson.Value) string { return record.Get(metaKey).Get(idKey).Characters() }
