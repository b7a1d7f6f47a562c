package gguf

import (
	"path/filepath"

	"github.com/impulse-salamandra/finetune/internal/faults"
	"github.com/impulse-salamandra/finetune/salamandra/llama"
)

// checkConfig refuses what this module computes and llama.cpp would not, or not
// in the same way.
func checkConfig(dir string, c llama.Config) error {
	if c.RoPE.Type != "default" && c.RoPE.Type != "linear" {
		return &faults.Fault{Place: filepath.Join(dir, llama.ConfigFile) + ": rope_type",
			Err: faults.Caused(errUnsupported, "%q is not exported, want default or linear", c.RoPE.Type)}
	}
	return nil
}

// metadata describes the model to llama.cpp.
func metadata(c llama.Config) []kv {
	list := []kv{
		{"llama.block_count", uint32(c.NumHiddenLayers)},
		{"llama.context_length", uint32(c.MaxPositionEmbeddings)},
		{"llama.embedding_length", uint32(c.HiddenSize)},
		{"llama.feed_forward_length", uint32(c.IntermediateSize)},
		{"llama.attention.head_count", uint32(c.NumAttentionHeads)},
		{"llama.attention.head_count_kv", uint32(c.NumKeyValueHeads)},
		{"llama.attention.key_length", uint32(c.HeadDim)},
		{"llama.attention.value_length", uint32(c.HeadDim)},
		{"llama.attention.layer_norm_rms_epsilon", float32(c.RMSNormEps)},
		{"llama.rope.dimension_count", uint32(c.HeadDim)},
		{"llama.rope.freq_base", float32(c.RoPE.Theta)},
		{"llama.vocab_size", uint32(c.VocabSize)},
	}
	if c.RoPE.Type == "linear" {
		list = append(list, kv{"llama.rope.scaling.type", "linear"}, kv{"llama.rope.scaling.factor", float32(c.RoPE.Factor)})
	}
	return list
}
