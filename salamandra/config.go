package salamandra

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
)

// Config is the part of a Hugging Face config.json that fixes the mathematics
// of a Llama-architecture model. Field names are those of the file.
type Config struct {
	VocabSize             int     // rows of embed_tokens and lm_head
	HiddenSize            int     // width of the residual stream
	IntermediateSize      int     // width of the feed-forward layer
	NumHiddenLayers       int     // number of blocks
	NumAttentionHeads     int     // query heads
	NumKeyValueHeads      int     // key and value heads; divides NumAttentionHeads
	HeadDim               int     // width of one head; HiddenSize/NumAttentionHeads unless the file says otherwise
	MaxPositionEmbeddings int     // longest sequence the model was made for, in tokens
	RMSNormEps            float64 // added to the mean square in each norm
	TieWordEmbeddings     bool    // lm_head is embed_tokens
	RoPE                  RoPE

	TorchDtype string // dtype the weights are stored in: "bfloat16", "float16" or "float32"; empty if the file does not say
	BOSTokenID int    // -1 if the file names none
	PadTokenID int    // -1 if the file names none
	EOSTokenID []int  // ids that end a text, in the file's order
}

// RoPE holds the settings of the rotary position embedding.
// Source: Su et al. 2021, arXiv:2104.09864; the scaled variants as Transformers
// computes them from rope_parameters (formerly rope_scaling).
type RoPE struct {
	Type   string  // "default", "linear" or "llama3"
	Theta  float64 // base of the frequencies
	Factor float64 // linear, llama3: how much longer the context becomes

	// llama3 only.
	LowFreqFactor, HighFreqFactor float64
	OriginalMaxPositionEmbeddings int
}

// Causes of a refused config.json; test with errors.Is.
var (
	// ErrUnsupported marks a setting that changes the mathematics and that
	// this package does not compute.
	ErrUnsupported = errors.New("unsupported")
	// ErrInvalid marks a value that contradicts itself or another value.
	ErrInvalid = errors.New("invalid")
)

// configFile mirrors config.json. Pointers tell an absent key from a zero.
type configFile struct {
	ModelType             string          `json:"model_type"`
	VocabSize             int             `json:"vocab_size"`
	HiddenSize            int             `json:"hidden_size"`
	IntermediateSize      int             `json:"intermediate_size"`
	NumHiddenLayers       int             `json:"num_hidden_layers"`
	NumAttentionHeads     int             `json:"num_attention_heads"`
	NumKeyValueHeads      *int            `json:"num_key_value_heads"`
	HeadDim               *int            `json:"head_dim"`
	MaxPositionEmbeddings int             `json:"max_position_embeddings"`
	RMSNormEps            *float64        `json:"rms_norm_eps"`
	TieWordEmbeddings     bool            `json:"tie_word_embeddings"`
	TorchDtype            string          `json:"torch_dtype"`
	Dtype                 string          `json:"dtype"`
	BOSTokenID            *int            `json:"bos_token_id"`
	PadTokenID            *int            `json:"pad_token_id"`
	EOSTokenID            json.RawMessage `json:"eos_token_id"`

	RopeTheta      *float64        `json:"rope_theta"`
	RopeScaling    *ropeFile       `json:"rope_scaling"`
	RopeParameters *ropeFile       `json:"rope_parameters"`
	HiddenAct      string          `json:"hidden_act"`
	AttentionBias  bool            `json:"attention_bias"`
	MLPBias        bool            `json:"mlp_bias"`
	AttnDropout    float64         `json:"attention_dropout"`
	PretrainingTP  *int            `json:"pretraining_tp"`
	Interleaved    bool            `json:"rope_interleaved"`
	Quantization   json.RawMessage `json:"quantization_config"`
}

type ropeFile struct {
	RopeType                      string   `json:"rope_type"`
	Type                          string   `json:"type"` // older spelling of rope_type
	RopeTheta                     *float64 `json:"rope_theta"`
	Factor                        float64  `json:"factor"`
	LowFreqFactor                 float64  `json:"low_freq_factor"`
	HighFreqFactor                float64  `json:"high_freq_factor"`
	OriginalMaxPositionEmbeddings int      `json:"original_max_position_embeddings"`
	PartialRotaryFactor           *float64 `json:"partial_rotary_factor"`
}

// harmlessKeys are keys of config.json that do not change what a forward pass
// computes. A key that is neither here nor in configFile is refused: it could.
var harmlessKeys = []string{
	"_name_or_path", "architectures", "auto_map", "initializer_range", "transformers_version", "use_cache",
	"output_attentions", "output_hidden_states", "return_dict", "id2label", "label2id", "task_specific_params",
	"finetuning_task", "problem_type", "tokenizer_class", "torchscript", "is_decoder", "is_encoder_decoder",
	"_attn_implementation", "_attn_implementation_autoset", "unsloth_version", "unsloth_fixed", "is_llama_config", "transformers.js_config",
}

// ReadConfig reads config.json of a model directory, in the present spelling
// (dtype, rope_parameters) or the older one (torch_dtype, rope_theta,
// rope_scaling). The error lists every fault of the file.
func ReadConfig(dir string) (Config, error) {
	path := filepath.Join(dir, "config.json")
	data, err := os.ReadFile(path)
	if err != nil {
		return Config{}, fmt.Errorf("salamandra: %s is not a model directory: %w", dir, err)
	}
	c, err := ParseConfig(data)
	if err != nil {
		return Config{}, fmt.Errorf("salamandra: %s: %w", path, err)
	}
	return c, nil
}

// ParseConfig is [ReadConfig] on the bytes of the file.
func ParseConfig(data []byte) (Config, error) {
	var f configFile
	if err := json.Unmarshal(data, &f); err != nil {
		return Config{}, err
	}
	var faults []error
	fault := func(cause error, format string, args ...any) {
		faults = append(faults, fmt.Errorf("%w: %s", cause, fmt.Sprintf(format, args...)))
	}
	if unknown := unknownKeys(data); len(unknown) > 0 {
		fault(ErrUnsupported, "unknown key %s: it may change what the model computes", strings.Join(unknown, ", "))
	}
	f.refuse(fault)

	c := Config{
		VocabSize: f.VocabSize, HiddenSize: f.HiddenSize, IntermediateSize: f.IntermediateSize,
		NumHiddenLayers: f.NumHiddenLayers, NumAttentionHeads: f.NumAttentionHeads, NumKeyValueHeads: f.NumAttentionHeads,
		MaxPositionEmbeddings: f.MaxPositionEmbeddings, RMSNormEps: 1e-6, TieWordEmbeddings: f.TieWordEmbeddings,
		TorchDtype: f.Dtype, BOSTokenID: -1, PadTokenID: -1,
	}
	if c.TorchDtype == "" {
		c.TorchDtype = f.TorchDtype
	}
	setIfGiven(&c.NumKeyValueHeads, f.NumKeyValueHeads)
	setIfGiven(&c.RMSNormEps, f.RMSNormEps)
	setIfGiven(&c.BOSTokenID, f.BOSTokenID)
	setIfGiven(&c.PadTokenID, f.PadTokenID)
	if c.NumAttentionHeads > 0 {
		c.HeadDim = c.HiddenSize / c.NumAttentionHeads
	}
	setIfGiven(&c.HeadDim, f.HeadDim)
	c.RoPE = f.rope(fault)
	c.EOSTokenID = f.eos(fault)
	c.check(fault)
	return c, errors.Join(faults...)
}

func setIfGiven[T any](dst, src *T) {
	if src != nil {
		*dst = *src
	}
}

// unknownKeys lists the keys with a value that neither configFile nor
// harmlessKeys names, sorted.
func unknownKeys(data []byte) []string {
	known := slices.Clone(harmlessKeys)
	var all, mine map[string]json.RawMessage
	own, _ := json.Marshal(configFile{})
	if json.Unmarshal(own, &mine) != nil || json.Unmarshal(data, &all) != nil {
		return nil
	}
	for k := range mine {
		known = append(known, k)
	}
	var unknown []string
	for k, v := range all {
		if !slices.Contains(known, k) && !bytes.Equal(v, []byte("null")) {
			unknown = append(unknown, k)
		}
	}
	sort.Strings(unknown)
	return unknown
}

// refuse reports the settings this package does not compute.
func (f *configFile) refuse(fault func(error, string, ...any)) {
	if f.ModelType != "llama" {
		fault(ErrUnsupported, "model_type %q, want \"llama\"", f.ModelType)
	}
	if f.HiddenAct != "" && f.HiddenAct != "silu" {
		fault(ErrUnsupported, "hidden_act %q, want \"silu\"", f.HiddenAct)
	}
	if f.AttentionBias {
		fault(ErrUnsupported, "attention_bias true")
	}
	if f.MLPBias {
		fault(ErrUnsupported, "mlp_bias true")
	}
	if f.AttnDropout != 0 {
		fault(ErrUnsupported, "attention_dropout %v, want 0", f.AttnDropout)
	}
	if f.Interleaved {
		fault(ErrUnsupported, "rope_interleaved true")
	}
	if f.PretrainingTP != nil && *f.PretrainingTP != 1 {
		fault(ErrUnsupported, "pretraining_tp %d, want 1", *f.PretrainingTP)
	}
	if len(f.Quantization) > 0 && string(f.Quantization) != "null" {
		fault(ErrUnsupported, "quantization_config: quantised weights; use the 16-bit model they were made from")
	}
}

// rope reads the rotary settings from either spelling.
func (f *configFile) rope(fault func(error, string, ...any)) RoPE {
	r := RoPE{Type: "default", Theta: 10000}
	setIfGiven(&r.Theta, f.RopeTheta)
	p := f.RopeParameters
	if p == nil {
		p = f.RopeScaling
	}
	if p != nil {
		setIfGiven(&r.Theta, p.RopeTheta)
		switch {
		case p.RopeType == "" && p.Type == "":
		case p.RopeType == "":
			r.Type = p.Type
		case p.Type == "" || p.Type == p.RopeType:
			r.Type = p.RopeType
		default:
			fault(ErrInvalid, "rope_type %q and type %q differ", p.RopeType, p.Type)
		}
		r.Factor, r.LowFreqFactor, r.HighFreqFactor = p.Factor, p.LowFreqFactor, p.HighFreqFactor
		r.OriginalMaxPositionEmbeddings = p.OriginalMaxPositionEmbeddings
		if p.PartialRotaryFactor != nil && *p.PartialRotaryFactor != 1 {
			fault(ErrUnsupported, "partial_rotary_factor %v, want 1", *p.PartialRotaryFactor)
		}
	}
	switch r.Type {
	case "default":
	case "linear":
		if r.Factor < 1 {
			fault(ErrInvalid, "rope type linear: factor %v, want 1 or more", r.Factor)
		}
	case "llama3":
		if r.Factor < 1 || r.LowFreqFactor <= 0 || r.HighFreqFactor <= r.LowFreqFactor || r.OriginalMaxPositionEmbeddings <= 0 {
			fault(ErrInvalid, "rope type llama3: factor %v, low_freq_factor %v, high_freq_factor %v, original_max_position_embeddings %d",
				r.Factor, r.LowFreqFactor, r.HighFreqFactor, r.OriginalMaxPositionEmbeddings)
		}
	default:
		fault(ErrUnsupported, "rope type %q, want default, linear or llama3", r.Type)
	}
	if !(r.Theta > 0) {
		fault(ErrInvalid, "rope_theta %v, want a positive number", r.Theta)
	}
	return r
}

// eos reads eos_token_id, one id or a list.
func (f *configFile) eos(fault func(error, string, ...any)) []int {
	if len(f.EOSTokenID) == 0 || string(f.EOSTokenID) == "null" {
		return nil
	}
	var one int
	if json.Unmarshal(f.EOSTokenID, &one) == nil {
		return []int{one}
	}
	var list []int
	if err := json.Unmarshal(f.EOSTokenID, &list); err != nil {
		fault(ErrInvalid, "eos_token_id %s, want an id or a list of ids", f.EOSTokenID)
	}
	return list
}

// check reports sizes that cannot be.
func (c Config) check(fault func(error, string, ...any)) {
	for _, s := range []struct {
		key   string
		value int
	}{
		{"vocab_size", c.VocabSize}, {"hidden_size", c.HiddenSize}, {"intermediate_size", c.IntermediateSize},
		{"num_hidden_layers", c.NumHiddenLayers}, {"num_attention_heads", c.NumAttentionHeads},
		{"num_key_value_heads", c.NumKeyValueHeads}, {"head_dim", c.HeadDim}, {"max_position_embeddings", c.MaxPositionEmbeddings},
	} {
		if s.value <= 0 || s.value > math.MaxInt32 {
			fault(ErrInvalid, "%s is %d, want a positive number", s.key, s.value)
		}
	}
	if c.NumKeyValueHeads > 0 && c.NumAttentionHeads%c.NumKeyValueHeads != 0 {
		fault(ErrInvalid, "num_attention_heads %d is no multiple of num_key_value_heads %d", c.NumAttentionHeads, c.NumKeyValueHeads)
	}
	if c.HeadDim%2 != 0 {
		fault(ErrInvalid, "head_dim %d is odd: the rotary embedding turns pairs", c.HeadDim)
	}
	if !(c.RMSNormEps > 0) {
		fault(ErrInvalid, "rms_norm_eps is %v, want a positive number", c.RMSNormEps)
	}
	switch c.TorchDtype {
	case "", "bfloat16", "float16", "float32":
	default:
		fault(ErrUnsupported, "dtype %q, want bfloat16, float16 or float32", c.TorchDtype)
	}
}

// TensorShape is the name and shape of one tensor of a checkpoint.
type TensorShape struct {
	Name  string
	Shape []int
}

// Names of the linear layers of a block, in the order they are computed.
const (
	QProj    = "self_attn.q_proj"
	KProj    = "self_attn.k_proj"
	VProj    = "self_attn.v_proj"
	OProj    = "self_attn.o_proj"
	GateProj = "mlp.gate_proj"
	UpProj   = "mlp.up_proj"
	DownProj = "mlp.down_proj"
)

// LayerName returns the full name of a module of block i, such as
// "model.layers.3.self_attn.q_proj".
func LayerName(i int, module string) string { return fmt.Sprintf("model.layers.%d.%s", i, module) }

// Tensors lists every tensor a checkpoint of this configuration holds, by its
// Hugging Face name, in the order of the forward pass. With tied embeddings
// there is no lm_head.weight.
func (c Config) Tensors() []TensorShape {
	q, kv := c.NumAttentionHeads*c.HeadDim, c.NumKeyValueHeads*c.HeadDim
	list := []TensorShape{{"model.embed_tokens.weight", []int{c.VocabSize, c.HiddenSize}}}
	for i := range c.NumHiddenLayers {
		for _, t := range []TensorShape{
			{"input_layernorm", []int{c.HiddenSize}},
			{QProj, []int{q, c.HiddenSize}},
			{KProj, []int{kv, c.HiddenSize}},
			{VProj, []int{kv, c.HiddenSize}},
			{OProj, []int{c.HiddenSize, q}},
			{"post_attention_layernorm", []int{c.HiddenSize}},
			{GateProj, []int{c.IntermediateSize, c.HiddenSize}},
			{UpProj, []int{c.IntermediateSize, c.HiddenSize}},
			{DownProj, []int{c.HiddenSize, c.IntermediateSize}},
		} {
			list = append(list, TensorShape{LayerName(i, t.Name) + ".weight", t.Shape})
		}
	}
	list = append(list, TensorShape{"model.norm.weight", []int{c.HiddenSize}})
	if !c.TieWordEmbeddings {
		list = append(list, TensorShape{"lm_head.weight", []int{c.VocabSize, c.HiddenSize}})
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

// inverseFrequencies returns the HeadDim/2 angles per position, in float32
// with the roundings of the reference.
func (c Config) inverseFrequencies() []float32 {
	freq := make([]float32, c.HeadDim/2)
	for i := range freq {
		exponent := float32(2*i) / float32(c.HeadDim)
		f := 1 / float32(math.Pow(c.RoPE.Theta, float64(exponent)))
		switch c.RoPE.Type {
		case "linear":
			f /= float32(c.RoPE.Factor)
		case "llama3":
			f = c.RoPE.llama3(f)
		}
		freq[i] = f
	}
	return freq
}

// llama3 stretches long wavelengths by Factor, leaves short ones and blends
// those between.
func (r RoPE) llama3(f float32) float32 {
	original := float32(r.OriginalMaxPositionEmbeddings)
	wavelength := 2 * math.Pi / f
	switch {
	case wavelength < original/float32(r.HighFreqFactor):
		return f
	case wavelength > original/float32(r.LowFreqFactor):
		return f / float32(r.Factor)
	}
	smooth := (original/wavelength - float32(r.LowFreqFactor)) / float32(r.HighFreqFactor-r.LowFreqFactor)
	return (1-smooth)*f/float32(r.Factor) + smooth*f
}
