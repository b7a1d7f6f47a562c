package gguf

import (
	"cmp"
	"path/filepath"
)

// config is what is needed of a model's config.json.
type config struct {
	ModelType             string  `json:"model_type"`
	VocabSize             int     `json:"vocab_size"`
	HiddenSize            int     `json:"hidden_size"`
	IntermediateSize      int     `json:"intermediate_size"`
	NumHiddenLayers       int     `json:"num_hidden_layers"`
	NumAttentionHeads     int     `json:"num_attention_heads"`
	NumKeyValueHeads      int     `json:"num_key_value_heads"`
	HeadDim               int     `json:"head_dim"`
	MaxPositionEmbeddings int     `json:"max_position_embeddings"`
	RMSNormEps            float64 `json:"rms_norm_eps"`
	HiddenAct             string  `json:"hidden_act"`
	TieWordEmbeddings     bool    `json:"tie_word_embeddings"`
	AttentionBias         bool    `json:"attention_bias"`
	MLPBias               bool    `json:"mlp_bias"`
	Quantization          any     `json:"quantization_config"`
	RopeTheta             float64 `json:"rope_theta"`
	RopeScaling           *rope   `json:"rope_scaling"`
	RopeParameters        *rope   `json:"rope_parameters"` // both, in newer files
	BOS                   any     `json:"bos_token_id"`
	EOS                   any     `json:"eos_token_id"`
	PAD                   any     `json:"pad_token_id"`

	rope rope // what the three fields say together
}

// rope is the rotary embedding as config.json spells it.
type rope struct {
	Theta    float64 `json:"rope_theta"`
	RopeType string  `json:"rope_type"`
	Type     string  `json:"type"` // in older files
	Factor   float64 `json:"factor"`
}

// defaultTheta is the base of the rotary embedding where config.json has none.
const defaultTheta = 10000

// readConfig reads config.json and refuses what it says llama.cpp would not
// compute.
func readConfig(dir string) (*config, error) {
	c := &config{RMSNormEps: 1e-6, HiddenAct: "silu"}
	if err := readJSON(dir, "config.json", c); err != nil {
		return nil, err
	}
	f := &faults{path: filepath.Join(dir, "config.json")}
	if c.ModelType != architecture {
		f.add("model_type", ErrUnsupported, "%q, want %q", c.ModelType, architecture)
	}
	c.NumKeyValueHeads = cmp.Or(c.NumKeyValueHeads, c.NumAttentionHeads)
	if c.HeadDim == 0 && c.NumAttentionHeads > 0 {
		c.HeadDim = c.HiddenSize / c.NumAttentionHeads
	}
	for _, x := range []struct {
		key   string
		value int
	}{
		{"vocab_size", c.VocabSize}, {"hidden_size", c.HiddenSize}, {"intermediate_size", c.IntermediateSize},
		{"num_hidden_layers", c.NumHiddenLayers}, {"num_attention_heads", c.NumAttentionHeads},
		{"num_key_value_heads", c.NumKeyValueHeads}, {"head_dim", c.HeadDim}, {"max_position_embeddings", c.MaxPositionEmbeddings},
	} {
		if x.value < 1 {
			f.add(x.key, ErrFile, "%d, want 1 or more", x.value)
		}
	}
	if c.HeadDim%2 != 0 {
		f.add("head_dim", ErrUnsupported, "%d, want an even number", c.HeadDim)
	}
	if c.HiddenAct != "silu" {
		f.add("hidden_act", ErrUnsupported, "%q, want \"silu\"", c.HiddenAct)
	}
	if c.AttentionBias {
		f.add("attention_bias", ErrUnsupported, "the attention has biases")
	}
	if c.MLPBias {
		f.add("mlp_bias", ErrUnsupported, "the feed-forward layers have biases")
	}
	if c.Quantization != nil {
		f.add("quantization_config", ErrUnsupported, "the weights are quantised; export the model they were made from")
	}
	c.setRope(f)
	return c, f.err()
}

// setRope gathers the rotary embedding from the spellings there are.
func (c *config) setRope(f *faults) {
	c.rope = rope{Theta: c.RopeTheta}
	key := "rope_scaling"
	if c.RopeScaling != nil {
		c.rope = *c.RopeScaling
		c.rope.Theta = cmp.Or(c.RopeTheta, c.rope.Theta)
	}
	if c.RopeParameters != nil {
		key = "rope_parameters"
		c.rope = *c.RopeParameters
		c.rope.Theta = cmp.Or(c.rope.Theta, c.RopeTheta)
	}
	c.rope.Theta = cmp.Or(c.rope.Theta, defaultTheta)
	c.rope.Type = cmp.Or(c.rope.RopeType, c.rope.Type, "default")
	switch c.rope.Type {
	case "default":
	case "linear":
		if c.rope.Factor <= 0 {
			f.add(key, ErrFile, "factor %v, want a number above 0", c.rope.Factor)
		}
	default:
		f.add(key, ErrUnsupported, "type %q, want default or linear", c.rope.Type)
	}
}

// metadata describes the model to llama.cpp.
func (c *config) metadata() []KV {
	list := []KV{
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
		{"llama.rope.freq_base", float32(c.rope.Theta)},
		{"llama.vocab_size", uint32(c.VocabSize)},
	}
	if c.rope.Type == "linear" {
		list = append(list, KV{"llama.rope.scaling.type", "linear"}, KV{"llama.rope.scaling.factor", float32(c.rope.Factor)})
	}
	return list
}
