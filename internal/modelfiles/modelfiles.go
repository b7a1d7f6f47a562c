// Package modelfiles opens the weights of a model directory and checks them
// against its config.json. Loading, merging and exporting a model all begin
// here, so that none of them accepts what another refuses.
package modelfiles

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/impulse-salamandra/finetune/internal/faults"
	"github.com/impulse-salamandra/finetune/internal/quantize"
	"github.com/impulse-salamandra/finetune/internal/safetensors"
	"github.com/impulse-salamandra/finetune/salamandra/llama"
)

// Names of the weights that may be one.
const (
	embedding = "model.embed_tokens.weight"
	head      = "lm_head.weight"
)

// Files is a model directory whose weights fit its config.json.
type Files struct {
	*safetensors.Reader
	Config llama.Config
	Dir    string
}

// Open opens a model directory: config.json and its safetensors files, every
// tensor of which is accounted for by name, shape and dtype. The files are to be
// closed.
//
// Where config.json says that the head is tied to the embedding and the files
// hold another one, the stored one counts, as in Transformers: the Config then
// has TieWordEmbeddings false.
//
// Quantised weights are refused: what is made of them would be rounded twice.
func Open(dir string) (*Files, error) {
	c, err := OpenQuantized(dir)
	if err == nil && c.Config.Quantization != "" {
		err = errors.Join(fmt.Errorf("%s: quantization_config: the weights are quantised; use the 16-bit model they were made from", filepath.Join(dir, llama.ConfigFile)), c.Close())
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

// OpenQuantized is Open, and takes linear layers as bitsandbytes' NF4 too, where
// config.json says that there are some.
func OpenQuantized(dir string) (*Files, error) {
	config, err := llama.ReadConfig(dir)
	if err != nil {
		return nil, err
	}
	files, err := safetensors.OpenModel(dir)
	if err != nil {
		return nil, err
	}
	c := &Files{Reader: files, Config: config, Dir: dir}
	if err := c.settleHead(); err != nil {
		return nil, errors.Join(err, files.Close())
	}
	if err := checkTensors(c.Config, files.Tensors(), dir); err != nil {
		return nil, errors.Join(err, files.Close())
	}
	return c, nil
}

// settleHead unties the head if the files have one that is not the embedding.
func (c *Files) settleHead() error {
	if !c.Config.TieWordEmbeddings {
		return nil
	}
	if _, stored := c.Info(head); !stored {
		return nil
	}
	var err error
	c.Config.TieWordEmbeddings, err = safetensors.Equal(c.Reader, head, c.Reader, embedding)
	return err
}

// checkTensors compares what is stored with what the configuration asks for. The error lists every tensor that is missing, left over, misshapen or of
// another dtype than F32, BF16 and F16.
func checkTensors(c llama.Config, stored []safetensors.Info, subject string) error {
	if c.NumHiddenLayers > len(stored) { // listing what is missing could fill the memory
		return fmt.Errorf("%s: num_hidden_layers is %d, and there are %d tensors", subject, c.NumHiddenLayers, len(stored))
	}
	have := map[string]safetensors.Info{}
	for _, t := range stored {
		have[t.Name] = t
	}
	list := faults.List{Subject: subject}
	var quantized []string
	if c.Quantization != "" {
		for _, name := range c.Linears() {
			quantized = append(quantized, name+".weight")
		}
	}
	for _, want := range c.Tensors() {
		t, ok := have[want.Name]
		delete(have, want.Name)
		if t.Dtype == safetensors.U8 && slices.Contains(quantized, want.Name) {
			for _, part := range quantize.Parts {
				delete(have, want.Name+part)
			}
			continue // quantize.ReadNF4 looks closer
		}
		switch {
		case !ok:
			list.Addf(want.Name, "missing, want %v by config.json", want.Shape)
		case !slices.Equal(t.Shape, want.Shape):
			list.Addf(want.Name, "is %v, want %v by config.json", t.Shape, want.Shape)
		case t.Dtype != safetensors.F32 && t.Dtype != safetensors.BF16 && t.Dtype != safetensors.F16:
			list.Addf(want.Name, "is %s, want F32, BF16 or F16", t.Dtype)
		}
	}
	for _, t := range stored {
		if _, left := have[t.Name]; left && !redundant(c, t.Name) {
			list.Addf(t.Name, "left over: config.json asks for no such tensor")
		}
	}
	return list.Err()
}

// redundant reports whether a tensor repeats what the model holds anyway: the
// head of a model with tied embeddings, the frequencies that old versions of
// Transformers stored.
func redundant(c llama.Config, name string) bool {
	return c.TieWordEmbeddings && name == head || strings.HasSuffix(name, ".rotary_emb.inv_freq")
}
