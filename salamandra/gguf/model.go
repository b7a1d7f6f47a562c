package gguf

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/impulse-salamandra/finetune/internal/faults"
	"github.com/impulse-salamandra/finetune/internal/modelfiles"
	"github.com/impulse-salamandra/finetune/internal/safetensors"
	"github.com/impulse-salamandra/finetune/salamandra/llama"
)

// architecture is the name llama.cpp has for the models of this package.
const architecture = "llama"

// ModelOptions says what ExportModel reads and writes; Model and Output are
// needed.
type ModelOptions struct {
	// Model is a Hugging Face model directory: config.json, safetensors
	// weights, tokenizer.json and tokenizer_config.json.
	Model string
	// Output is the file to write; one that is there already is refused.
	Output string
	// Type is the format of the matrices, "f32", "f16", "bf16" or "q8_0"; empty for
	// f32. Vectors are stored as f32, and with q8_0 matrices whose rows are no
	// multiple of 32 as f16.
	Type string
	// Progress, if not nil, is called after each tensor with the tensors
	// written and their number.
	Progress func(phase string, done, total int64)
}

// A Report says what an export wrote.
type Report struct {
	Tensors  int
	Warnings []string // where llama.cpp may differ from the model
}

// ExportModel writes a model directory of Llama architecture as one GGUF file,
// with its tokenizer and chat template. The rows of the query and key weights
// are put into the order of llama.cpp's rotary embedding. Memory stays near
// the size of the largest tensor. The file is complete or absent.
//
// It refuses, listing all, a model directory that package llama refuses,
// settings or tokenizers that llama.cpp does not compute this way,
// and values that the format cannot hold.
func ExportModel(ctx context.Context, opts ModelOptions) (Report, error) {
	r, err := exportModel(ctx, opts)
	return r, named(err)
}

// named says which package an error is of.
func named(err error) error {
	if err != nil {
		return fmt.Errorf("gguf: %w", err)
	}
	return nil
}

func exportModel(ctx context.Context, opts ModelOptions) (Report, error) {
	if err := checkOutput(opts.Output); err != nil {
		return Report{}, err
	}
	model, err := modelfiles.Open(opts.Model)
	if err != nil {
		return Report{}, err
	}
	defer model.Close()
	c := model.Config
	weights := layout(c)
	tokens, err := readTokenizer(opts.Model, c)
	if err := faults.Join(checkConfig(opts.Model, c), err); err != nil {
		return Report{}, err
	}
	stored, err := parseType(opts.Type)
	if err != nil {
		return Report{}, fmt.Errorf("%s: %w", opts.Output, err)
	}
	name, err := filepath.Abs(opts.Model)
	if err != nil {
		return Report{}, err
	}
	metadata := slices.Concat([]kv{
		{"general.architecture", architecture},
		{"general.type", "model"},
		{"general.name", filepath.Base(name)},
		{"general.file_type", types[stored.index()].fileType},
		{"general.quantization_version", uint32(2)},
	}, metadata(c), tokens.metadata())
	var tensors []tensor
	for _, w := range weights {
		tensors = append(tensors, tensor{Name: w.name, Type: w.storedAs(stored), Shape: w.shape})
	}
	out, err := create(opts.Output, metadata, tensors)
	if err != nil {
		return Report{}, err
	}
	defer out.Abort()
	for i, w := range weights {
		data, err := model.Bytes(w.source)
		if err != nil {
			return Report{}, err
		}
		info, _ := model.Info(w.source)
		size := w.shape[len(w.shape)-1] * info.Dtype.Size()
		read := func(row int, values []float32) error {
			return safetensors.DecodeFloat32(values, data[row*size:(row+1)*size], info.Dtype)
		}
		if err := writeRows(ctx, out, tensors[i], w.heads, read); err != nil {
			return Report{}, cmp.Or(model.CheckFinite(w.source), err)
		}
		model.Release(w.source)
		if opts.Progress != nil {
			opts.Progress("exporting", int64(i+1), int64(len(weights)))
		}
	}
	return Report{Tensors: len(tensors), Warnings: tokens.warnings}, out.Commit()
}

// chunkBytes is about how much is written at a time.
const chunkBytes = 1 << 20

// writeRows converts a tensor row by row. With heads above 0 the rows of each
// head are put into llama.cpp's order.
func writeRows(ctx context.Context, w *writer, t tensor, heads int, read func(row int, values []float32) error) error {
	width := t.Shape[len(t.Shape)-1]
	values, row := make([]float32, width), make([]byte, t.Type.rowBytes(width))
	rows := t.numBytes() / len(row)
	var chunk []byte
	for i := range rows {
		if err := read(sourceRow(i, rows, heads), values); err != nil {
			return err
		}
		if err := t.Type.encode(row, values); err != nil {
			return err
		}
		if !t.Type.finite(row) {
			return fmt.Errorf("%s: %s: %w: row %d as %v", w.path, t.Name, errNotFinite, i, t.Type)
		}
		if chunk = append(chunk, row...); len(chunk) < chunkBytes && i < rows-1 {
			continue
		}
		if err := errors.Join(ctx.Err(), w.Write(t.Name, chunk)); err != nil {
			return err
		}
		chunk = chunk[:0]
	}
	return nil
}

// sourceRow returns which row of a model's weight is row i in llama.cpp. Where
// the model turns dimension j of a head together with j + D/2, llama.cpp turns
// neighbours, so the two halves of each head are interleaved.
func sourceRow(i, rows, heads int) int {
	if heads == 0 {
		return i
	}
	dim := rows / heads
	head, j := i/dim, i%dim
	return head*dim + j%2*(dim/2) + j/2
}

// A weight is one tensor of a model in both layouts.
type weight struct {
	source string // name in the model directory
	name   string // name in GGUF
	shape  []int
	heads  int // that its rows are divided into for rotation, 0 if they are not
}

// storedAs returns the type of the weight where t is asked for.
func (w weight) storedAs(t elementType) elementType {
	switch {
	case len(w.shape) == 1:
		return typeF32
	case t.rowBytes(w.shape[1]) == 0:
		return typeF16
	}
	return t
}

// names are those of modules in GGUF.
var names = map[string]string{
	"input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
	"post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
	"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
}

// layout lists all tensors of a model in both layouts.
func layout(c llama.Config) []weight {
	var list []weight
	for _, t := range c.Tensors() {
		module, prefix := strings.TrimSuffix(t.Name, ".weight"), ""
		if rest, ok := strings.CutPrefix(module, "model.layers."); ok {
			layer, name, _ := strings.Cut(rest, ".")
			module, prefix = name, "blk."+layer+"."
		}
		heads := map[string]int{"self_attn.q_proj": c.NumAttentionHeads, "self_attn.k_proj": c.NumKeyValueHeads}[module]
		list = append(list, weight{t.Name, prefix + names[module] + ".weight", t.Shape, heads})
	}
	return list
}
