package llama

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/impulse-salamandra/finetune/internal/faults"
	"github.com/impulse-salamandra/finetune/internal/strictjson"
	"github.com/impulse-salamandra/finetune/internal/wrongfile"
)

// ConfigFile is the name of a model's configuration in its directory.
const ConfigFile = "config.json"

// generationFile says how to generate with the model; it may be absent.
const generationFile = "generation_config.json"

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
	MaxPositionEmbeddings int     // longest sequence the model was made for, in tokens; 2048 unless the file says otherwise
	RMSNormEps            float64 // added to the mean square in each norm
	TieWordEmbeddings     bool    // lm_head is embed_tokens
	AttentionDropout      float64 // of attention weights in training, which this module does not compute
	RoPE                  RoPE

	TorchDtype string // dtype the weights are stored in: "bfloat16", "float16" or "float32"; empty if the file does not say
	// Quantization is "4bit" where the files hold linear layers as bitsandbytes' NF4,
	// empty where nothing is quantised.
	Quantization string

	BOSTokenID int // -1 for none; 1 unless the file says otherwise
	PadTokenID int // -1 for none
	// EOSTokenID are the ids that end a text, in the file's order: 2 unless the
	// file says otherwise, and those of generation_config.json where it has some,
	// as in Transformers' generate.
	EOSTokenID []int
}

// ReadConfig reads config.json of a model directory, in the present spelling
// (dtype, rope_parameters) or the older one (torch_dtype, rope_theta,
// rope_scaling), and the ids that end a text from generation_config.json. The
// error lists every fault of a file.
func ReadConfig(dir string) (Config, error) {
	path := filepath.Join(dir, ConfigFile)
	text, err := os.ReadFile(path)
	if err != nil {
		return Config{}, wrongfile.ExplainModel(dir, fmt.Errorf("%s is not a model directory: %w", dir, err))
	}
	c, err := parseConfig(text, path)
	if err != nil {
		return Config{}, wrongfile.Explain(path, err)
	}
	path = filepath.Join(dir, generationFile)
	if text, err = os.ReadFile(path); errors.Is(err, fs.ErrNotExist) {
		return c, nil
	} else if err != nil {
		return c, err
	}
	return c, c.readGeneration(text, path)
}

// readGeneration reads what generation_config.json says of the end of a text.
func (c *Config) readGeneration(text []byte, path string) error {
	list := faults.List{Subject: path}
	f := strictjson.ReadFields(text, &list, nil)
	if f == nil {
		return list.Err()
	}
	if end := ids(f, "eos_token_id"); len(end) > 0 {
		c.EOSTokenID = end
	}
	return list.Err()
}

// ParseConfig reads the text of a config.json; see [ReadConfig].
func ParseConfig(text []byte) (Config, error) { return parseConfig(text, "") }

func parseConfig(text []byte, path string) (Config, error) {
	list := faults.List{Subject: path}
	f := strictjson.ReadFields(text, &list, nil)
	if f == nil {
		return Config{}, list.Err()
	}
	c := config(f)
	refuseUnknown(f)
	return c, list.Err()
}

// config reads every field.
func config(f *strictjson.Fields) Config {
	f.Need("model_type")
	if t := f.String("model_type", "llama"); t != "llama" {
		f.Fault("model_type", nil, "%q is not supported, want \"llama\"", t)
	}
	refuseSettings(f)
	c := Config{
		VocabSize: size(f, "vocab_size", 0), HiddenSize: size(f, "hidden_size", 0), IntermediateSize: size(f, "intermediate_size", 0),
		NumHiddenLayers: size(f, "num_hidden_layers", 0), NumAttentionHeads: size(f, "num_attention_heads", 0),
		MaxPositionEmbeddings: size(f, "max_position_embeddings", 2048), RMSNormEps: f.Number("rms_norm_eps", 1e-6),
		TieWordEmbeddings: f.Bool("tie_word_embeddings", false), AttentionDropout: f.Number("attention_dropout", 0),
		BOSTokenID: id(f, "bos_token_id", 1), PadTokenID: id(f, "pad_token_id", -1), EOSTokenID: ids(f, "eos_token_id", 2),
		TorchDtype: f.String("dtype", f.String("torch_dtype", "")), Quantization: quantization(f),
	}
	if heads := c.NumAttentionHeads; heads > 0 {
		if !f.Has("head_dim") && c.HiddenSize%heads != 0 {
			f.Fault("hidden_size", nil, "%d is no multiple of num_attention_heads %d, and there is no head_dim", c.HiddenSize, heads)
		}
		c.NumKeyValueHeads, c.HeadDim = size(f, "num_key_value_heads", heads), size(f, "head_dim", max(c.HiddenSize/heads, 1))
	}
	c.RoPE = rope(f, c.MaxPositionEmbeddings)
	c.check(f)
	return c
}

// check reports values that do not go together.
func (c Config) check(f *strictjson.Fields) {
	if c.NumKeyValueHeads > 0 && c.NumAttentionHeads%c.NumKeyValueHeads != 0 {
		f.Fault("num_attention_heads", nil, "%d is no multiple of num_key_value_heads %d", c.NumAttentionHeads, c.NumKeyValueHeads)
	}
	if c.NumHiddenLayers > maxLayers {
		f.Fault("num_hidden_layers", nil, "%d, want %d or less", c.NumHiddenLayers, maxLayers)
	}
	if c.HeadDim%2 != 0 {
		f.Fault("head_dim", nil, "%d is odd: the rotary embedding turns pairs", c.HeadDim)
	}
	if !(c.RMSNormEps > 0) {
		f.Fault("rms_norm_eps", nil, "%v, want a positive number", c.RMSNormEps)
	}
	switch c.TorchDtype {
	case "", "bfloat16", "float16", "float32":
	default:
		f.Fault("dtype", nil, "%q is not supported, want bfloat16, float16 or float32", c.TorchDtype)
	}
}

// CheckIDs refuses token ids outside the vocabulary, which a device would clamp
// in silence.
func (c Config) CheckIDs(ids []int32) error {
	for i, id := range ids {
		if id < 0 || int(id) >= c.VocabSize {
			return fmt.Errorf("token %d is id %d, want 0 to %d", i, id, c.VocabSize-1)
		}
	}
	return nil
}

// maxSize bounds every size of a model and maxLayers its depth, a hundred times
// those of the largest Llama, so that no file makes a program count for long.
const (
	maxSize   = 1 << 26
	maxLayers = 1 << 14
)
