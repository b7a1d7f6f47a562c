package gguf

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"path/filepath"
	"strings"

	"github.com/impulse-salamandra/finetune/salamandra/safetensors"
)

// AdapterOptions says what ExportAdapter reads and writes; Adapter, Model and
// Output are needed.
type AdapterOptions struct {
	// Adapter is a PEFT adapter directory. Its rank and alpha are those of all
	// its modules: one with patterns is refused, and can be rewritten without
	// by FoldScale of package lora.
	Adapter string
	// Model is the directory of its base, of which config.json is read.
	Model string
	// Output is the file to write, replacing what has the name.
	Output string
	// Type is the format of A and B, zero for F32; not Q8_0.
	Type Type
}

// adapterConfig is what is needed of adapter_config.json.
type adapterConfig struct {
	Rank         int             `json:"r"`
	Alpha        float64         `json:"lora_alpha"`
	UseRSLoRA    bool            `json:"use_rslora"`
	UseDoRA      bool            `json:"use_dora"`
	RankPattern  map[string]any  `json:"rank_pattern"`
	AlphaPattern map[string]any  `json:"alpha_pattern"`
	PeftType     string          `json:"peft_type"`
	Bias         string          `json:"bias"`
	SavedModules json.RawMessage `json:"modules_to_save"`
}

// ExportAdapter writes a PEFT adapter of linear layers of a Llama in the form
// that llama.cpp loads beside the base (its --lora): A and B by the names of
// the base's tensors, B of queries and keys in the order of its rows, and an
// alpha of which llama.cpp makes the scale alpha/rank; that of rsLoRA becomes
// part of it. The file is complete or absent.
//
// It refuses, in one error listing all, DoRA and patterns (ErrUnsupported), and
// tensors that do not fit the base (ErrTensor).
func ExportAdapter(ctx context.Context, opts AdapterOptions) (Report, error) {
	c, err := readConfig(opts.Model)
	if err != nil {
		return Report{}, err
	}
	a, err := readAdapterConfig(opts.Adapter)
	if err != nil {
		return Report{}, err
	}
	file, err := safetensors.Open(filepath.Join(opts.Adapter, "adapter_model.safetensors"))
	if err != nil {
		return Report{}, err
	}
	defer file.Close()
	weights, err := a.weights(file, c)
	if err != nil {
		return Report{}, err
	}
	if opts.Type == Q8_0 || opts.Type.index() < 0 {
		return Report{}, fmt.Errorf("gguf: %s: adapter as %v: %w: want f32, f16 or bf16", opts.Output, opts.Type, ErrUnsupported)
	}
	alpha := a.Alpha
	if a.UseRSLoRA {
		alpha *= math.Sqrt(float64(a.Rank))
	}
	name, err := filepath.Abs(opts.Adapter)
	if err != nil {
		return Report{}, err
	}
	metadata := []KV{
		{"general.architecture", architecture},
		{"general.type", "adapter"},
		{"adapter.type", "lora"},
		{"general.name", filepath.Base(name)},
		{"general.file_type", types[opts.Type.index()].fileType},
		{"adapter.lora.alpha", float32(alpha)},
	}
	var tensors []Tensor
	for _, w := range weights {
		tensors = append(tensors, Tensor{Name: w.name, Type: opts.Type, Shape: w.shape})
	}
	out, err := Create(opts.Output, metadata, tensors)
	if err != nil {
		return Report{}, err
	}
	defer out.Abort()
	for i, w := range weights {
		data, err := file.Bytes(w.source)
		if err != nil {
			return Report{}, err
		}
		info, _ := file.Info(w.source)
		if err := writeRows(ctx, out, tensors[i], data, info.Dtype, w.heads); err != nil {
			return Report{}, err
		}
	}
	return Report{Tensors: len(tensors)}, out.Commit()
}

// readAdapterConfig reads adapter_config.json and refuses what llama.cpp does
// not compute.
func readAdapterConfig(dir string) (*adapterConfig, error) {
	const name = "adapter_config.json"
	a := &adapterConfig{Bias: "none"}
	if err := readJSON(dir, name, a); err != nil {
		return nil, err
	}
	f := &faults{path: filepath.Join(dir, name)}
	if a.PeftType != "LORA" {
		f.add("peft_type", ErrUnsupported, "%q, want \"LORA\"", a.PeftType)
	}
	if a.Rank < 1 || !(a.Alpha > 0) {
		f.add("r", ErrFile, "rank %d with lora_alpha %v, want numbers above 0", a.Rank, a.Alpha)
	}
	if a.UseDoRA {
		f.add("use_dora", ErrUnsupported, "merge the adapter and export the model")
	}
	if a.Bias != "none" {
		f.add("bias", ErrUnsupported, "%q, want \"none\"", a.Bias)
	}
	if s := string(a.SavedModules); s != "" && s != "null" && s != "[]" {
		f.add("modules_to_save", ErrUnsupported, "merge the adapter and export the model")
	}
	if len(a.RankPattern)+len(a.AlphaPattern) > 0 {
		f.add("rank_pattern", ErrUnsupported, "one rank and alpha for all modules are needed; fold the patterns first")
	}
	return a, f.err()
}

// Names of an adapter's tensors in both layouts.
const prefix = "base_model.model."

var factors = []struct{ source, name string }{
	{".lora_A.weight", ".weight.lora_a"},
	{".lora_B.weight", ".weight.lora_b"},
}

// weights returns the tensors to write, and reports all that do not fit.
func (a *adapterConfig) weights(file *safetensors.File, c *config) ([]weight, error) {
	f := &faults{path: file.Path()}
	left := map[string]bool{}
	for _, info := range file.Tensors() {
		left[info.Name] = true
	}
	var list []weight
	for _, w := range c.weights() {
		module := strings.TrimSuffix(w.source, ".weight")
		both := []string{prefix + module + factors[0].source, prefix + module + factors[1].source}
		if len(w.shape) != 2 || w.source == "model.embed_tokens.weight" || !left[both[0]] && !left[both[1]] {
			continue
		}
		shapes := [][]int{{a.Rank, w.shape[1]}, {w.shape[0], a.Rank}}
		heads := []int{0, w.heads}
		for i, source := range both {
			delete(left, source)
			info, _ := file.Info(source) // where there is none, the shape is not the one wanted
			if fmt.Sprint(info.Shape) != fmt.Sprint(shapes[i]) || !strings.Contains("F32 F16 BF16", string(info.Dtype)) {
				f.add(source, ErrTensor, "%v of %q, want %v of floats", info.Shape, info.Dtype, shapes[i])
			}
			name := strings.TrimSuffix(w.name, ".weight") + factors[i].name
			list = append(list, weight{source, name, shapes[i], heads[i]})
		}
	}
	for _, info := range file.Tensors() {
		if left[info.Name] {
			f.add(info.Name, ErrTensor, "left over: the base has no such linear layer")
		}
	}
	if len(list) == 0 {
		f.add("*", ErrTensor, "no module of the base is adapted")
	}
	return list, f.err()
}
