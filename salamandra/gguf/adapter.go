package gguf

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/impulse-salamandra/finetune/internal/faults"
	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/salamandra/llama"
)

// AdapterOptions says what ExportAdapter reads and writes; Adapter, Model and
// Output are needed.
type AdapterOptions struct {
	// Adapter is a PEFT adapter directory.
	Adapter string
	// Model is the directory of its base, of which config.json is read.
	Model string
	// Output is the file to write; one that is there already is refused.
	Output string
	// Type is the format of A and B, "f32", "f16" or "bf16"; empty for f32.
	Type string
}

// ExportAdapter writes a PEFT adapter of linear layers of a Llama in the form
// that llama.cpp loads beside the base (its --lora): A and B by the names of
// the base's tensors, B of queries and keys in the order of its rows, and an
// alpha of which llama.cpp makes the scale alpha/rank. What ranks, alphas and
// rsLoRA change of it for single modules goes into B, as by lora.Adapter.FoldScale.
// The file is complete or absent.
//
// It refuses, listing all, an adapter that package lora refuses, DoRA, and modules
// that do not fit the base.
func ExportAdapter(ctx context.Context, opts AdapterOptions) (Report, error) {
	r, err := exportAdapter(ctx, opts)
	return r, named(err)
}

func exportAdapter(ctx context.Context, opts AdapterOptions) (Report, error) {
	if err := checkOutput(opts.Output); err != nil {
		return Report{}, err
	}
	c, err := llama.ReadConfig(opts.Model)
	if err != nil {
		return Report{}, err
	}
	a, err := lora.ReadAdapter(opts.Adapter)
	if err == nil {
		err = a.CheckBase(opts.Model)
	}
	if err != nil {
		return Report{}, err
	}
	stored, err := parseType(opts.Type)
	if err != nil || stored == typeQ8 {
		return Report{}, fmt.Errorf("%s: adapter as %s: %w: want f32, f16 or bf16", opts.Output, opts.Type, errUnsupported)
	}
	a = a.FoldScale() // llama.cpp takes one rank and one alpha for all modules
	factors, err := adapterLayout(opts.Adapter, a, c)
	if err != nil {
		return Report{}, err
	}
	name, err := filepath.Abs(opts.Adapter)
	if err != nil {
		return Report{}, err
	}
	metadata := []kv{
		{"general.architecture", architecture},
		{"general.type", "adapter"},
		{"adapter.type", "lora"},
		{"general.name", filepath.Base(name)},
		{"general.file_type", types[stored.index()].fileType},
		{"adapter.lora.alpha", float32(a.Config.ScaleOf("") * float64(a.Config.Rank))},
	}
	var tensors []tensor
	for _, f := range factors {
		tensors = append(tensors, tensor{Name: f.name, Type: stored, Shape: f.shape})
	}
	out, err := create(opts.Output, metadata, tensors)
	if err != nil {
		return Report{}, err
	}
	defer out.Abort()
	for i, f := range factors {
		width := f.shape[1]
		read := func(row int, values []float32) error {
			copy(values, f.values[row*width:])
			return nil
		}
		if err := writeRows(ctx, out, tensors[i], f.heads, read); err != nil {
			return Report{}, err
		}
	}
	return Report{Tensors: len(tensors), Warnings: a.Warnings}, out.Commit()
}

// factor is A or B of a module, as llama.cpp calls it.
type factor struct {
	weight
	values []float32
}

// adapterLayout lists A and B of each module, and reports what llama.cpp cannot
// apply to a base of this configuration.
func adapterLayout(dir string, a *lora.Adapter, c llama.Config) ([]factor, error) {
	refused := &faults.List{Subject: dir}
	if a.Config.UseDoRA {
		refused.Add("use_dora", faults.Caused(errUnsupported, "llama.cpp does not compute DoRA: merge the adapter and export the model"))
	}
	modules := map[string]lora.Module{}
	for _, m := range a.Modules {
		modules[m.Name] = m
	}
	var list []factor
	for _, w := range layout(c) {
		m, ok := modules[strings.TrimSuffix(w.source, ".weight")]
		if !ok || len(w.shape) != 2 {
			continue
		}
		delete(modules, m.Name)
		if m.Out != w.shape[0] || m.In != w.shape[1] {
			refused.Add(m.Name, faults.Caused(errTensor, "an adapter of a weight [%d %d], and the base's is %v", m.Out, m.In, w.shape))
		}
		list = append(list,
			factor{weight{w.source, w.name + ".lora_a", []int{m.Rank, m.In}, 0}, m.A},
			factor{weight{w.source, w.name + ".lora_b", []int{m.Out, m.Rank}, w.heads}, m.B})
	}
	for _, m := range a.Modules {
		if _, left := modules[m.Name]; left {
			refused.Add(m.Name, faults.Caused(errTensor, "the base has no such linear layer"))
		}
	}
	return list, refused.Err()
}
