package gguf

import (
	"context"
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

// architecture is the name llama.cpp has for the models of this package.
const architecture = "llama"

// ModelOptions says what ExportModel reads and writes; Model and Output are
// needed.
type ModelOptions struct {
	// Model is a Hugging Face model directory: config.json, safetensors
	// weights, tokenizer.json and tokenizer_config.json.
	Model string
	// Output is the file to write, replacing what has the name.
	Output string
	// Type is the format of the matrices, zero for F32. Vectors are stored as
	// F32, and with Q8_0 matrices whose rows are no multiple of 32 as F16.
	Type Type
	// Progress, if not nil, is called after each tensor with the tensors
	// written and their number.
	Progress func(done, total int)
}

// A Report says what an export wrote.
type Report struct {
	Tensors  int
	Warnings []string // where llama.cpp may differ from the model
}

// ExportModel writes a model directory of Llama architecture as one GGUF file,
// with its tokenizer and chat template. The rows of the query and key weights
// are put into the order of llama.cpp's rotary embedding. Memory stays near
// that of the largest tensor. The file is complete or absent.
//
// It refuses, in one error listing all, weights that do not fit config.json
// (ErrTensor), settings or tokenizers that llama.cpp does not compute this way
// (ErrUnsupported), and values that the format cannot hold (ErrNotFinite).
func ExportModel(ctx context.Context, opts ModelOptions) (Report, error) {
	c, err := readConfig(opts.Model)
	if err != nil {
		return Report{}, err
	}
	model, err := safetensors.OpenModel(opts.Model)
	if err != nil {
		return Report{}, err
	}
	defer model.Close()
	weights := c.weights()
	tokens, err := readTokenizer(opts.Model, c)
	if err := errors.Join(checkWeights(opts.Model, model, weights), err); err != nil {
		return Report{}, err
	}
	i := opts.Type.index()
	if i < 0 {
		return Report{}, fmt.Errorf("gguf: %s: %v: %w", opts.Output, opts.Type, ErrUnsupported)
	}
	name, err := filepath.Abs(opts.Model)
	if err != nil {
		return Report{}, err
	}
	metadata := slices.Concat([]KV{
		{"general.architecture", architecture},
		{"general.type", "model"},
		{"general.name", filepath.Base(name)},
		{"general.file_type", types[i].fileType},
		{"general.quantization_version", uint32(2)},
	}, c.metadata(), tokens.metadata())
	var tensors []Tensor
	for _, w := range weights {
		tensors = append(tensors, Tensor{Name: w.name, Type: w.storedAs(opts.Type), Shape: w.shape})
	}
	out, err := Create(opts.Output, metadata, tensors)
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
		if err := writeRows(ctx, out, tensors[i], data, info.Dtype, w.heads); err != nil {
			return Report{}, err
		}
		model.Release(w.source)
		if opts.Progress != nil {
			opts.Progress(i+1, len(weights))
		}
	}
	return Report{Tensors: len(tensors), Warnings: tokens.warnings}, out.Commit()
}

// chunkBytes is about how much is written at a time.
const chunkBytes = 1 << 20

// writeRows converts a tensor row by row. With heads above 0 the rows of each
// head are put into llama.cpp's order.
func writeRows(ctx context.Context, w *Writer, t Tensor, data []byte, from safetensors.Dtype, heads int) error {
	width := t.Shape[len(t.Shape)-1]
	size := width * from.Size()
	values, row := make([]float32, width), make([]byte, t.Type.RowBytes(width))
	rows := len(data) / size
	var chunk []byte
	for i := range rows {
		s := sourceRow(i, rows, heads)
		if err := safetensors.DecodeFloat32(values, data[s*size:(s+1)*size], from); err != nil {
			return err
		}
		if err := t.Type.encode(row, values); err != nil {
			return err
		}
		if !t.Type.finite(row) {
			return &Error{Path: w.path, Key: t.Name, Err: fmt.Errorf("%w: row %d as %v", ErrNotFinite, i, t.Type)}
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
func (w weight) storedAs(t Type) Type {
	switch {
	case len(w.shape) == 1:
		return F32
	case t.RowBytes(w.shape[1]) == 0:
		return F16
	}
	return t
}

// weights returns all tensors that a model of this configuration has.
func (c *config) weights() []weight {
	h, w, q, kv := c.HiddenSize, c.IntermediateSize, c.NumAttentionHeads*c.HeadDim, c.NumKeyValueHeads*c.HeadDim
	list := []weight{{"model.embed_tokens.weight", "token_embd.weight", []int{c.VocabSize, h}, 0}}
	for i := range c.NumHiddenLayers {
		from, to := fmt.Sprintf("model.layers.%d.", i), fmt.Sprintf("blk.%d.", i)
		for _, x := range []weight{
			{"input_layernorm", "attn_norm", []int{h}, 0},
			{"self_attn.q_proj", "attn_q", []int{q, h}, c.NumAttentionHeads},
			{"self_attn.k_proj", "attn_k", []int{kv, h}, c.NumKeyValueHeads},
			{"self_attn.v_proj", "attn_v", []int{kv, h}, 0},
			{"self_attn.o_proj", "attn_output", []int{h, q}, 0},
			{"post_attention_layernorm", "ffn_norm", []int{h}, 0},
			{"mlp.gate_proj", "ffn_gate", []int{w, h}, 0},
			{"mlp.up_proj", "ffn_up", []int{w, h}, 0},
			{"mlp.down_proj", "ffn_down", []int{h, w}, 0},
		} {
			list = append(list, weight{from + x.source + ".weight", to + x.name + ".weight", x.shape, x.heads})
		}
	}
	list = append(list, weight{"model.norm.weight", "output_norm.weight", []int{h}, 0})
	if !c.TieWordEmbeddings {
		list = append(list, weight{"lm_head.weight", "output.weight", []int{c.VocabSize, h}, 0})
	}
	return list
}

// checkWeights reports every tensor that is missing, left over, misshapen or
// not of floats.
func checkWeights(dir string, model *safetensors.Model, weights []weight) error {
	f := &faults{path: dir}
	wanted := map[string]bool{"lm_head.weight": true} // a tied head may be stored too
	for _, w := range weights {
		wanted[w.source] = true
		info, ok := model.Info(w.source)
		switch {
		case !ok:
			f.add(w.source, ErrTensor, "missing, want %v", w.shape)
		case !slices.Equal(info.Shape, w.shape):
			f.add(w.source, ErrTensor, "%v, want %v", info.Shape, w.shape)
		case info.Dtype != safetensors.F32 && info.Dtype != safetensors.F16 && info.Dtype != safetensors.BF16:
			f.add(w.source, ErrTensor, "%s, want F32, F16 or BF16", info.Dtype)
		}
	}
	for _, info := range model.Tensors() {
		if !wanted[info.Name] && !strings.HasSuffix(info.Name, ".rotary_emb.inv_freq") {
			f.add(info.Name, ErrTensor, "left over")
		}
	}
	return f.err()
}

// readJSON decodes a file of dir into v.
func readJSON(dir, name string, v any) error {
	path := filepath.Join(dir, name)
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, v); err != nil {
		return &Error{Path: path, Key: "file", Err: fmt.Errorf("%w: %w", ErrFile, err)}
	}
	return nil
}

// readOptional is readJSON for a file that may be absent.
func readOptional(dir, name string, v any) error {
	if err := readJSON(dir, name, v); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
