package safetensors

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/impulse-salamandra/finetune/internal/atomicfile"
	"github.com/impulse-salamandra/finetune/internal/faults"
	"github.com/impulse-salamandra/finetune/internal/wrongfile"
)

// Names of the files of a model directory.
const (
	ModelFile = "model.safetensors"            // all tensors, or else
	IndexFile = "model.safetensors.index.json" // which shard holds which
)

// OpenModel opens the weights in dir: model.safetensors, or else the shards
// that model.safetensors.index.json names.
//
// Every tensor is accounted for: the error lists all shards that are absent or
// wrong, all tensors that the index places in a shard without them and all that a
// shard holds against the index. A directory with neither file is
// [fs.ErrNotExist].
func OpenModel(dir string) (*Reader, error) {
	path := filepath.Join(dir, ModelFile)
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return Open(path)
	}
	path = filepath.Join(dir, IndexFile)
	text, err := readLimited(path, maxHeaderSize)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, wrongfile.ExplainWeights(dir, fmt.Errorf("%s: neither %s nor %s: %w", dir, ModelFile, IndexFile, fs.ErrNotExist))
	}
	if err != nil {
		return nil, err
	}
	weightMap, err := parseIndex(text)
	if err != nil {
		return nil, wrongfile.Explain(path, fault(path, "", err))
	}
	return openShards(dir, path, weightMap)
}

// openShards opens every file that the index at path names and compares the
// two.
func openShards(dir, path string, weightMap map[string]string) (*Reader, error) {
	placed := map[string][]string{} // shard to tensors
	for name, shard := range weightMap {
		placed[shard] = append(placed[shard], name)
	}
	list := &faults.List{Subject: path}
	r := newReader()
	for _, shard := range sortedKeys(placed) {
		if !filepath.IsLocal(shard) || filepath.Base(shard) != shard {
			list.Addf(strconv.Quote(shard), "%w: not the name of a file beside it", errIndex)
			continue
		}
		before := len(r.infos)
		if err := r.add(filepath.Join(dir, shard), true); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				list.Add("shard "+shard, faults.Caused(err, "not there: download it too"))
			} else {
				list.Join(err)
			}
			continue
		}
		slices.Sort(placed[shard])
		for _, name := range placed[shard] {
			if p, ok := r.at[name]; !ok || p.info < before {
				list.Addf(shown(name), "%w: not in %s", errMissing, shard)
			}
		}
		for _, info := range r.infos[before:] {
			if weightMap[info.Name] != shard {
				list.Addf(shown(info.Name), "%w: held by %s, placed in %q", errLeftOver, shard, weightMap[info.Name])
			}
		}
	}
	if err := list.Err(); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// parseIndex returns the weight_map of an index: tensor name to file name.
func parseIndex(text []byte) (map[string]string, error) {
	if !utf8.Valid(text) || !json.Valid(text) {
		return nil, fmt.Errorf("%w: not JSON in UTF-8", errIndex)
	}
	var weightMap map[string]string
	dec := json.NewDecoder(bytes.NewReader(text))
	err := eachKey(dec, func(key string) error {
		var err error
		if key == "weight_map" {
			weightMap, err = decodeStrings(dec, errIndex)
			return err
		}
		return dec.Decode(new(json.RawMessage))
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errIndex, err)
	}
	if len(weightMap) == 0 {
		return nil, fmt.Errorf("%w: no weight_map", errIndex)
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
		return nil, fault(path, "", fmt.Errorf("%w: %d bytes, want at most %d", errIndex, stat.Size(), limit))
	}
	return os.ReadFile(path)
}

// WriteIndex writes model.safetensors.index.json into dir, as Transformers
// does: the totals of parameters and bytes, and the shard of every tensor.
func WriteIndex(dir string, shards []Shard) error {
	var index struct {
		Metadata struct {
			TotalParameters int64 `json:"total_parameters"`
			TotalSize       int64 `json:"total_size"`
		} `json:"metadata"`
		WeightMap map[string]string `json:"weight_map"`
	}
	index.WeightMap = map[string]string{}
	for _, s := range shards {
		for _, t := range s.Tensors {
			index.Metadata.TotalParameters += int64(t.NumElements())
			index.Metadata.TotalSize += int64(t.NumBytes())
			index.WeightMap[t.Name] = s.Name
		}
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(index); err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(dir, IndexFile), b.Bytes())
}
