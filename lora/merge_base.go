package lora

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/impulse-salamandra/finetune/internal/faults"
	"github.com/impulse-salamandra/finetune/internal/modelfiles"
	"github.com/impulse-salamandra/finetune/internal/wrongfile"
	"github.com/impulse-salamandra/finetune/salamandra/llama"
)

// A baseModel is the model directory to merge into.
type baseModel struct {
	*modelfiles.Files
	config []byte                     // config.json
	keys   map[string]json.RawMessage // its keys
}

// openBase opens a model directory, which fits its config.json.
func openBase(dir string) (*baseModel, error) {
	files, err := modelfiles.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("lora: %w", err)
	}
	b := &baseModel{Files: files}
	path := filepath.Join(dir, llama.ConfigFile)
	if b.config, err = os.ReadFile(path); err == nil {
		err = wrongfile.Explain(path, json.Unmarshal(b.config, &b.keys))
	}
	if err = errors.Join(err, checkCarried(dir)); err != nil {
		return nil, errors.Join(err, files.Close())
	}
	return b, nil
}

// checkCarried refuses files that would be copied as what they are not, such as a
// Git LFS pointer in place of tokenizer.json.
func checkCarried(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var list faults.List
	for _, entry := range entries {
		switch name := entry.Name(); filepath.Ext(name) {
		case ".json", ".jinja", ".model":
			if carried(name) {
				list.Join(wrongfile.File(filepath.Join(dir, name)))
			}
		}
	}
	return list.Err()
}
