package lora

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/impulse-salamandra/finetune/salamandra/safetensors"
)

// A baseModel is the model directory to merge into.
type baseModel struct {
	*safetensors.Model
	dir    string
	config []byte                     // config.json
	keys   map[string]json.RawMessage // its keys
}

// maxModelConfigSize bounds config.json, in bytes: a thousand times a common
// one.
const maxModelConfigSize = 1 << 20

// openBase opens a model directory and refuses a quantised one.
func openBase(dir string) (*baseModel, error) {
	b := &baseModel{dir: dir}
	var err error
	if b.config, err = readLimited(b.configPath(), maxModelConfigSize); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("lora: no config.json in %s: not a model directory: %w", dir, fs.ErrNotExist)
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b.config, &b.keys); err != nil {
		return nil, fmt.Errorf("lora: %s: %w: not a JSON object: %w", b.configPath(), ErrConfig, err)
	}
	if q, ok := b.keys["quantization_config"]; ok && !isOff(q) {
		return nil, fmt.Errorf("lora: %s: quantization_config: %w", b.configPath(), ErrQuantised)
	}
	b.Model, err = safetensors.OpenModel(dir)
	return b, err
}

func (b *baseModel) configPath() string { return filepath.Join(b.dir, "config.json") }

// llamaSizes are the keys of a Llama's config.json that say which tensors the
// model has.
type llamaSizes struct {
	ModelType         string `json:"model_type"`
	VocabSize         int    `json:"vocab_size"`
	HiddenSize        int    `json:"hidden_size"`
	IntermediateSize  int    `json:"intermediate_size"`
	NumHiddenLayers   int    `json:"num_hidden_layers"`
	NumAttentionHeads int    `json:"num_attention_heads"`
	NumKeyValueHeads  *int   `json:"num_key_value_heads"`
	HeadDim           *int   `json:"head_dim"`
	TieWordEmbeddings bool   `json:"tie_word_embeddings"`
	AttentionBias     bool   `json:"attention_bias"`
	MLPBias           bool   `json:"mlp_bias"`
}

// check adds every tensor that config.json asks for and that is missing or has
// another shape, and every one it does not ask for, and returns their names.
// What a model of another type than Llama consists of is not known here.
func (b *baseModel) check(faults *tensorFaults) (faulty map[string]bool, err error) {
	var sizes llamaSizes
	if err := json.Unmarshal(b.config, &sizes); err != nil {
		return nil, fmt.Errorf("lora: %s: %w: %v", b.configPath(), ErrConfig, err)
	}
	if sizes.ModelType != "llama" {
		return nil, nil
	}
	if err := sizes.check(b.configPath(), len(b.Tensors())); err != nil {
		return nil, err
	}
	want := sizes.tensors()
	faulty = map[string]bool{}
	fault := func(name string, cause error, format string, args ...any) {
		faulty[name] = true
		faults.add(name, cause, format, args...)
	}
	for _, name := range sortedKeys(want) {
		if info, ok := b.Info(name); !ok {
			fault(name, ErrMissing, "config.json asks for it, %v", want[name])
		} else if !slices.Equal(info.Shape, want[name]) {
			fault(name, ErrShape, "%v, want %v by config.json", info.Shape, want[name])
		}
	}
	for _, info := range b.Tensors() {
		if want[info.Name] == nil && !sizes.redundant(info.Name) {
			fault(info.Name, ErrLeftOver, "config.json has no place for it")
		}
	}
	return faulty, nil
}

// check completes the sizes and reports those that cannot be, in a model of so
// many tensors.
func (s *llamaSizes) check(path string, tensors int) error {
	if s.NumKeyValueHeads == nil {
		s.NumKeyValueHeads = &s.NumAttentionHeads
	}
	if s.HeadDim == nil {
		dim := s.HiddenSize / max(1, s.NumAttentionHeads)
		s.HeadDim = &dim
	}
	var faults []error
	for _, size := range []struct {
		key   string
		value int
	}{
		{"vocab_size", s.VocabSize}, {"hidden_size", s.HiddenSize}, {"intermediate_size", s.IntermediateSize},
		{"num_hidden_layers", s.NumHiddenLayers}, {"num_attention_heads", s.NumAttentionHeads},
		{"num_key_value_heads", *s.NumKeyValueHeads}, {"head_dim", *s.HeadDim},
	} {
		if size.value < 1 {
			faults = append(faults, &ConfigError{File: path, Key: size.key, Err: fmt.Errorf("%w: %d, want 1 or more", ErrConfig, size.value)})
		}
	}
	if s.NumHiddenLayers > tensors { // and listing all that is missing could fill the memory
		faults = append(faults, &ConfigError{File: path, Key: "num_hidden_layers", Err: fmt.Errorf("%w: %d, but there are %d tensors", ErrConfig, s.NumHiddenLayers, tensors)})
	}
	return errors.Join(faults...)
}

// tensors returns the shape of every tensor of the model by name.
func (s *llamaSizes) tensors() map[string][]int {
	hidden, width := s.HiddenSize, s.IntermediateSize
	query, key := s.NumAttentionHeads**s.HeadDim, *s.NumKeyValueHeads**s.HeadDim
	shapes := map[string][]int{"model.embed_tokens.weight": {s.VocabSize, hidden}, "model.norm.weight": {hidden}}
	if !s.TieWordEmbeddings {
		shapes["lm_head.weight"] = []int{s.VocabSize, hidden}
	}
	for i := range s.NumHiddenLayers {
		layer := fmt.Sprintf("model.layers.%d.", i)
		linear := func(name string, out, in int, bias bool) {
			shapes[layer+name+".weight"] = []int{out, in}
			if bias {
				shapes[layer+name+".bias"] = []int{out}
			}
		}
		linear("self_attn.q_proj", query, hidden, s.AttentionBias)
		linear("self_attn.k_proj", key, hidden, s.AttentionBias)
		linear("self_attn.v_proj", key, hidden, s.AttentionBias)
		linear("self_attn.o_proj", hidden, query, s.AttentionBias)
		linear("mlp.gate_proj", width, hidden, s.MLPBias)
		linear("mlp.up_proj", width, hidden, s.MLPBias)
		linear("mlp.down_proj", hidden, width, s.MLPBias)
		shapes[layer+"input_layernorm.weight"] = []int{hidden}
		shapes[layer+"post_attention_layernorm.weight"] = []int{hidden}
	}
	return shapes
}

// redundant tells whether a tensor repeats what the model holds anyway: a tied
// head, or the frequencies that old versions of Transformers stored.
func (s *llamaSizes) redundant(name string) bool {
	return s.TieWordEmbeddings && name == "lm_head.weight" || strings.HasSuffix(name, ".rotary_emb.inv_freq")
}
