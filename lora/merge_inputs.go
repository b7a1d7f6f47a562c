package lora

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/impulse-salamandra/finetune/internal/faults"
	"github.com/impulse-salamandra/finetune/internal/safetensors"
)

// storedDtypes are the values of MergeOptions.Dtype, which are those of
// config.json.
var storedDtypes = map[string]safetensors.Dtype{
	"": "", "keep": "",
	"bfloat16": safetensors.BF16, "float16": safetensors.F16, "float32": safetensors.F32,
}

// normalised returns the options with Adapters and Method set, or reports every
// option without meaning and an output that cannot be.
func (o MergeOptions) normalised() (MergeOptions, error) {
	list := faults.List{Subject: "merge"}
	option := func(format string, args ...any) { list.Join(faults.Caused(errOption, format, args...)) }
	if o.Base == "" || o.Output == "" {
		option("Base and Output are needed")
	}
	if (o.Adapter == "") == (len(o.Adapters) == 0) {
		option("want one of Adapter and Adapters")
	}
	if o.Adapter != "" {
		o.Adapters = []WeightedAdapter{{o.Adapter, 1}}
	}
	o.Method = cmp.Or(o.Method, MethodLinear)
	checkMethod(option, o.Adapters, o.Method, o.Rank)
	if sparse := o.Method == MethodTIES || o.Method == MethodDARE; sparse && !(o.Density > 0 && o.Density <= 1) || !sparse && o.Density != 0 {
		option("Density %v with method %s, want a number in (0, 1] for ties and dare, and 0 for others", o.Density, o.Method)
	}
	if _, ok := storedDtypes[o.Dtype]; !ok {
		option("Dtype %q, want keep, bfloat16, float16 or float32", o.Dtype)
	}
	if o.MaxShardSize < 0 {
		option("MaxShardSize %d, want 0 or more", o.MaxShardSize)
	}
	if err := list.Err(); err != nil {
		return o, err
	}
	inputs := []string{o.Base}
	for _, a := range o.Adapters {
		inputs = append(inputs, a.Dir)
	}
	return o, checkOutput(o.Output, inputs)
}

// adapterDirs names the adapters in an error.
func (o MergeOptions) adapterDirs() string {
	var dirs []string
	for _, a := range o.Adapters {
		dirs = append(dirs, a.Dir)
	}
	return strings.Join(dirs, ", ")
}

// checkOutput refuses an output that exists and is not an empty directory, and
// one within an input.
func checkOutput(path string, inputs []string) error {
	entries, err := os.ReadDir(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("lora: %s: %w: %w", path, errOutput, err)
	}
	if len(entries) > 0 {
		return fmt.Errorf("lora: %s: %w: it is not empty: remove it or choose another name", path, errOutput)
	}
	output, err := realPath(path)
	if err != nil {
		return err
	}
	for _, input := range inputs {
		dir, err := realPath(input)
		if err != nil {
			return err
		}
		if rel, err := filepath.Rel(dir, output); err == nil && filepath.IsLocal(rel) {
			return fmt.Errorf("lora: %s: %w: it is within the input %s", path, errOutput, input)
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

// checkFit reports every tensor in which adapter and base disagree: a module
// without its weight, or with one of another shape; and a linear layer that the
// adapter's settings select, but that the adapter has no tensors for.
func (m *merger) checkFit() error {
	base := &faults.List{Subject: m.base.Dir}
	for _, name := range sortedKeys(m.parts) {
		info, ok := m.base.Info(name)
		if !ok {
			base.Addf(name, "%w: the adapter changes it", errMissing)
			continue
		}
		for _, p := range m.parts[name] {
			if want := []int{p.Out, p.In}; !slices.Equal(info.Shape, want) {
				base.Addf(name, "%w: %v, want %v to fit the adapter", errShape, info.Shape, want)
			}
		}
	}
	for _, info := range m.base.Tensors() {
		if m.to != "" && strings.HasPrefix(string(info.Dtype), "F") && !isFloat(info.Dtype) {
			base.Addf(info.Name, "%w: %s cannot be converted", errShape, info.Dtype)
		}
	}
	covers := []error{base.Err()}
	for _, a := range m.adapters {
		covers = append(covers, m.checkCovers(a), a.checkBase(m.base.Reader, m.base.Dir))
	}
	return faults.Join(covers...)
}

// checkCovers reports the linear layers of the base that an adapter's settings
// select, but that it has no tensors for.
func (m *merger) checkCovers(a weightedAdapter) error {
	list := &faults.List{Subject: filepath.Join(a.Dir, WeightsFile)}
	adapted := map[string]bool{}
	for _, module := range a.Modules {
		adapted[module.Name] = true
	}
	for _, info := range m.base.Tensors() {
		module, isWeight := strings.CutSuffix(info.Name, ".weight")
		if isWeight && len(info.Shape) == 2 && !adapted[module] && a.Config.Matches(module) {
			list.Addf(prefix+module, "%w: the settings select this layer of the base", errMissing)
		}
	}
	return list.Err()
}

// isFloat reports whether a format can be merged into and converted.
func isFloat(d safetensors.Dtype) bool {
	return d == safetensors.F32 || d == safetensors.BF16 || d == safetensors.F16
}
