package safetensors

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"unicode/utf8"
)

// Names of the files of a model directory.
const (
	ModelFile = "model.safetensors"            // all tensors, or else
	IndexFile = "model.safetensors.index.json" // which shard holds which
)

// A Model is the tensors of a model directory, in one file or several. It may
// be used by several goroutines at once, but not during or after Close.
type Model struct {
	shards  []*File // in the order of their names
	infos   []Info  // by name
	shardOf map[string]*File
}

// OpenModel opens the weights in dir: model.safetensors, or else the shards
// that model.safetensors.index.json names.
//
// Every tensor is accounted for: the error lists all shards that are absent or
// wrong, all tensors that the index places in a shard without them (ErrMissing)
// and all that a shard holds against the index (ErrLeftOver). A directory with
// neither file is fs.ErrNotExist.
func OpenModel(dir string) (*Model, error) {
	path := filepath.Join(dir, ModelFile)
	if _, err := os.Stat(path); err == nil {
		f, err := Open(path)
		if err != nil {
			return nil, err
		}
		return newModel(f), nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	path = filepath.Join(dir, IndexFile)
	text, err := readLimited(path, MaxHeaderSize)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("safetensors: %s: neither %s nor %s: %w", dir, ModelFile, IndexFile, fs.ErrNotExist)
	}
	if err != nil {
		return nil, err
	}
	weightMap, err := parseIndex(text)
	if err != nil {
		return nil, &Error{Path: path, Err: err}
	}
	return openShards(dir, path, weightMap)
}

// openShards opens every file that the index at path names and compares the
// two.
func openShards(dir, path string, weightMap map[string]string) (*Model, error) {
	placed := map[string][]string{} // shard to tensors
	for name, shard := range weightMap {
		placed[shard] = append(placed[shard], name)
	}
	faults := &faults{path: path}
	m := newModel()
	for _, shard := range sortedKeys(placed) {
		if !filepath.IsLocal(shard) || filepath.Base(shard) != shard {
			faults.add("", fmt.Errorf("%w: shard %q is not a file name", ErrIndex, shard))
			continue
		}
		f, err := Open(filepath.Join(dir, shard))
		if err != nil {
			faults.add("", fmt.Errorf("shard %s: %w", shard, err))
			continue
		}
		m.add(f)
		slices.Sort(placed[shard])
		for _, name := range placed[shard] {
			if _, ok := f.Info(name); !ok {
				faults.add(name, fmt.Errorf("%w: not in %s", ErrMissing, shard))
			}
		}
		for _, info := range f.infos {
			if weightMap[info.Name] != shard {
				faults.add(info.Name, fmt.Errorf("%w: held by %s, placed in %q", ErrLeftOver, shard, weightMap[info.Name]))
			}
		}
	}
	if err := faults.err(); err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

// parseIndex returns the weight_map of an index: tensor name to file name.
func parseIndex(text []byte) (map[string]string, error) {
	if !utf8.Valid(text) || !json.Valid(text) {
		return nil, fmt.Errorf("%w: not JSON in UTF-8", ErrIndex)
	}
	var weightMap map[string]string
	dec := json.NewDecoder(bytes.NewReader(text))
	err := eachKey(dec, func(key string) error {
		var err error
		if key == "weight_map" {
			weightMap, err = decodeStrings(dec, ErrIndex)
			return err
		}
		return dec.Decode(new(json.RawMessage))
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrIndex, err)
	}
	if len(weightMap) == 0 {
		return nil, fmt.Errorf("%w: no weight_map", ErrIndex)
	}
	return weightMap, nil
}

// readLimited reads an index of at most limit bytes.
func readLimited(path string, limit int64) ([]byte, error) {
	stat, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if stat.Size() > limit {
		return nil, &Error{Path: path, Err: fmt.Errorf("%w: %d bytes, want at most %d", ErrIndex, stat.Size(), limit)}
	}
	return os.ReadFile(path)
}

// newModel returns the model of these files.
func newModel(files ...*File) *Model {
	m := &Model{shardOf: map[string]*File{}}
	for _, f := range files {
		m.add(f)
	}
	return m
}

// add appends a shard.
func (m *Model) add(f *File) {
	m.shards = append(m.shards, f)
	m.infos = append(m.infos, f.infos...)
	for _, info := range f.infos {
		m.shardOf[info.Name] = f
	}
	slices.SortFunc(m.infos, func(a, b Info) int { return cmp.Compare(a.Name, b.Name) })
}

// Tensors returns a description of every tensor, sorted by name.
func (m *Model) Tensors() []Info { return slices.Clone(m.infos) }

// Info returns the description of a tensor and whether there is one.
func (m *Model) Info(name string) (Info, bool) { return find(m.infos, name) }

// Bytes returns the data of a tensor, as [File.Bytes] does.
func (m *Model) Bytes(name string) ([]byte, error) {
	f, ok := m.shardOf[name]
	if !ok {
		return nil, fmt.Errorf("safetensors: tensor %q: %w", name, ErrNotFound)
	}
	return f.Bytes(name)
}

// Section returns the data of a tensor for reading, as [File.Section] does.
func (m *Model) Section(name string) (*io.SectionReader, error) {
	f, ok := m.shardOf[name]
	if !ok {
		return nil, fmt.Errorf("safetensors: tensor %q: %w", name, ErrNotFound)
	}
	return f.Section(name)
}

// Release gives the pages of a tensor back, as [File.Release] does.
func (m *Model) Release(name string) {
	if f, ok := m.shardOf[name]; ok {
		f.Release(name)
	}
}

// ShardOf returns the file that holds a tensor and whether there is one.
func (m *Model) ShardOf(name string) (*File, bool) {
	f, ok := m.shardOf[name]
	return f, ok
}

// Shards returns the files, sorted by name.
func (m *Model) Shards() []*File { return slices.Clone(m.shards) }

// Close closes every file: slices returned by Bytes become invalid.
func (m *Model) Close() error {
	var errs []error
	for _, f := range m.shards {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}
