package lora

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/impulse-salamandra/finetune/salamandra/safetensors"
)

// storedDtypes are the values of MergeOptions.Dtype, which are those of
// config.json.
var storedDtypes = map[string]safetensors.Dtype{
	"": "", "keep": "",
	"bfloat16": safetensors.BF16, "float16": safetensors.F16, "float32": safetensors.F32,
}

// check reports every option without meaning and an output that cannot be.
func (o MergeOptions) check() error {
	var faults []error
	option := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("lora: merge: %w: %s", ErrOption, fmt.Sprintf(format, args...)))
	}
	if o.Base == "" || o.Adapter == "" || o.Output == "" {
		option("Base, Adapter and Output are needed")
	}
	if _, ok := storedDtypes[o.Dtype]; !ok {
		option("Dtype %q, want keep, bfloat16, float16 or float32", o.Dtype)
	}
	if o.MaxShardSize < 0 {
		option("MaxShardSize %d, want 0 or more", o.MaxShardSize)
	}
	if err := errors.Join(faults...); err != nil {
		return err
	}
	return o.checkOutput()
}

// checkOutput refuses an output that exists and is not an empty directory, and
// one within an input.
func (o MergeOptions) checkOutput() error {
	entries, err := os.ReadDir(o.Output)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("lora: %s: %w: %w", o.Output, ErrOutput, err)
	}
	if len(entries) > 0 {
		return fmt.Errorf("lora: %s: %w: it is not empty", o.Output, ErrOutput)
	}
	output, err := realPath(o.Output)
	if err != nil {
		return err
	}
	for _, input := range []string{o.Base, o.Adapter} {
		dir, err := realPath(input)
		if err != nil {
			return err
		}
		if rel, err := filepath.Rel(dir, output); err == nil && filepath.IsLocal(rel) {
			return fmt.Errorf("lora: %s: %w: it is within the input %s", o.Output, ErrOutput, input)
		}
	}
	return nil
}

// realPath returns path without symbolic links; what does not exist yet is
// taken as it is.
func realPath(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	real, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) && filepath.Dir(path) != path {
		dir, err := realPath(filepath.Dir(path))
		return filepath.Join(dir, filepath.Base(path)), err
	}
	return real, err
}

// A baseModel is the model directory to merge into.
type baseModel struct {
	*safetensors.Model
	dir    string
	config []byte                     // config.json
	keys   map[string]json.RawMessage // its keys
}

// maxModelConfigSize bounds config.json, in bytes: a thousand times a common
// one.
const maxModelConfigSize = 1 << 20

// openBase opens a model directory and refuses a quantised one.
func openBase(dir string) (*baseModel, error) {
	b := &baseModel{dir: dir}
	path := filepath.Join(dir, "config.json")
	var err error
	if b.config, err = readLimited(path, maxModelConfigSize); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b.config, &b.keys); err != nil {
		return nil, fmt.Errorf("lora: %s: %w: not a JSON object: %w", path, ErrConfig, err)
	}
	if q, ok := b.keys["quantization_config"]; ok && !isOff(q) {
		return nil, fmt.Errorf("lora: %s: quantization_config: %w", path, ErrQuantised)
	}
	b.Model, err = safetensors.OpenModel(dir)
	return b, err
}

// checkFit reports every tensor in which adapter and base disagree: a module
// without its weight, or with one of another shape, or of a format that cannot
// be merged; and a linear layer that the adapter's settings select, but that
// the adapter has no tensors for.
func (m *merger) checkFit() error {
	base := &tensorFaults{path: m.base.dir}
	adapter := &tensorFaults{path: filepath.Join(m.opts.Adapter, WeightsFile)}
	for _, name := range sortedKeys(m.modules) {
		module := m.modules[name]
		info, ok := m.base.Info(name)
		want := []int{module.Out, module.In}
		switch {
		case !ok:
			base.add(name, ErrMissing, "the adapter changes it")
		case !slices.Equal(info.Shape, want):
			base.add(name, ErrShape, "%v, want %v to fit the adapter", info.Shape, want)
		case !isFloat(info.Dtype):
			base.add(name, ErrShape, "%s, want F32, BF16 or F16", info.Dtype)
		}
	}
	for _, info := range m.base.Tensors() {
		module, isWeight := strings.CutSuffix(info.Name, ".weight")
		_, adapted := m.modules[info.Name]
		if isWeight && len(info.Shape) == 2 && !adapted && m.adapter.Config.Matches(module) {
			adapter.add(prefix+module, ErrMissing, "the settings select this layer of the base")
		}
		if m.to != "" && strings.HasPrefix(string(info.Dtype), "F") && !isFloat(info.Dtype) {
			base.add(info.Name, ErrShape, "%s cannot be converted", info.Dtype)
		}
	}
	return errors.Join(append(base.list, adapter.list...)...)
}

// isFloat tells whether a format can be merged into and converted.
func isFloat(d safetensors.Dtype) bool {
	return d == safetensors.F32 || d == safetensors.BF16 || d == safetensors.F16
}
