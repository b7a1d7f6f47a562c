package llama

import (
	"fmt"
	"strings"
)

// Tensor is the name and shape of one tensor of a checkpoint.
type Tensor struct {
	Name  string
	Shape []int
}

// Names of the weights outside the blocks.
const (
	embedding = "model.embed_tokens.weight"
	head      = "lm_head.weight"
)

// LayerName returns the full name of a module of block i, such as
// "model.layers.3.self_attn.q_proj".
func LayerName(i int, module string) string { return fmt.Sprintf("model.layers.%d.%s", i, module) }

// Tensors lists every tensor a checkpoint of this configuration holds, by its
// Hugging Face name, in the order of the forward pass. With tied embeddings
// there is no lm_head.weight.
func (c Config) Tensors() []Tensor {
	q, kv := c.NumAttentionHeads*c.HeadDim, c.NumKeyValueHeads*c.HeadDim
	list := []Tensor{{embedding, []int{c.VocabSize, c.HiddenSize}}}
	for i := range c.NumHiddenLayers {
		for _, t := range []Tensor{
			{"input_layernorm", []int{c.HiddenSize}},
			{"self_attn.q_proj", []int{q, c.HiddenSize}},
			{"self_attn.k_proj", []int{kv, c.HiddenSize}},
			{"self_attn.v_proj", []int{kv, c.HiddenSize}},
			{"self_attn.o_proj", []int{c.HiddenSize, q}},
			{"post_attention_layernorm", []int{c.HiddenSize}},
			{"mlp.gate_proj", []int{c.IntermediateSize, c.HiddenSize}},
			{"mlp.up_proj", []int{c.IntermediateSize, c.HiddenSize}},
			{"mlp.down_proj", []int{c.HiddenSize, c.IntermediateSize}},
		} {
			list = append(list, Tensor{LayerName(i, t.Name) + ".weight", t.Shape})
		}
	}
	list = append(list, Tensor{"model.norm.weight", []int{c.HiddenSize}})
	if !c.TieWordEmbeddings {
		list = append(list, Tensor{head, []int{c.VocabSize, c.HiddenSize}})
	}
	return list
}

// Linears lists the linear layers of the blocks by name, such as
// "model.layers.0.self_attn.q_proj", in the order of the forward pass. They
// are what adapters may change.
func (c Config) Linears() []string {
	var names []string
	for _, t := range c.Tensors() {
		if strings.HasPrefix(t.Name, "model.layers.") && len(t.Shape) == 2 {
			names = append(names, strings.TrimSuffix(t.Name, ".weight"))
		}
	}
	return names
}

// LinearShape returns the sizes of a linear layer's weight [out, in], zeros if
// there is no such layer.
func (c Config) LinearShape(name string) (out, in int) {
	for _, t := range c.Tensors() {
		if t.Name == name+".weight" && len(t.Shape) == 2 {
			return t.Shape[0], t.Shape[1]
		}
	}
	return 0, 0
}

// NumParameters counts the weights of a checkpoint of this configuration.
func (c Config) NumParameters() int64 {
	var n int64
	for _, t := range c.Tensors() {
		size := int64(1)
		for _, d := range t.Shape {
			size *= int64(d)
		}
		n += size
	}
	return n
}
