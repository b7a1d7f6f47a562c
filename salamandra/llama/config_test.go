package llama_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/impulse-salamandra/finetune/salamandra/llama"
)

// published is config.json of the 2B model in the older spelling.
const published = `{"architectures": ["LlamaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0, "bos_token_id": 1,
 "eos_token_id": 2, "head_dim": 128, "hidden_act": "silu", "hidden_size": 2048, "initializer_range": 0.02, "intermediate_size": 5440,
 "max_position_embeddings": 8192, "mlp_bias": false, "model_type": "llama", "num_attention_heads": 16, "num_hidden_layers": 24,
 "num_key_value_heads": 16, "pretraining_tp": 1, "rms_norm_eps": 1e-05, "rope_scaling": null, "rope_theta": 10000.0,
 "tie_word_embeddings": false, "torch_dtype": "bfloat16", "transformers_version": "4.40.2", "use_cache": true, "vocab_size": 256000}`

// config is the published one with these keys, given as JSON members, in place of
// its own; those of gone are left out.
func config(t *testing.T, keys string, gone ...string) string {
	t.Helper()
	all := map[string]json.RawMessage{}
	for _, text := range []string{published, "{" + keys + "}"} {
		if err := json.Unmarshal([]byte(text), &all); err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range gone {
		delete(all, key)
	}
	text, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func parse(t *testing.T, text string) llama.Config {
	t.Helper()
	c, err := llama.ParseConfig([]byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return c
}

func TestConfigSpellings(t *testing.T) {
	old := parse(t, published)
	if n := old.NumParameters(); n != 2_253_490_176 {
		t.Errorf("%d parameters, and 2,253,490,176 are published for the 2B", n)
	}
	if old.RoPE != (llama.RoPE{Type: "default", Theta: 10000}) || !slices.Equal(old.EOSTokenID, []int{2}) || old.PadTokenID != -1 {
		t.Errorf("%+v", old)
	}
	now := parse(t, config(t, `"dtype": "bfloat16", "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"}`, "torch_dtype", "rope_scaling", "rope_theta"))
	if !reflect.DeepEqual(old, now) {
		t.Errorf("the present spelling gives %+v, the older one %+v", now, old)
	}
	seven := parse(t, config(t, `"hidden_size": 4096, "intermediate_size": 11008, "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 8`, "head_dim"))
	if n := seven.NumParameters(); n != 7_768_117_248 {
		t.Errorf("%d parameters, and 7,768,117,248 are published for the 7B; head_dim is that of the sizes", n)
	}
}

func TestConfigRefusals(t *testing.T) {
	for _, row := range []struct{ name, keys, want string }{
		{"another architecture", `"model_type": "mistral"`, `model_type: "mistral" is not supported`},
		{"another activation", `"hidden_act": "gelu"`, `hidden_act: "gelu" is not supported`},
		{"biases", `"attention_bias": true`, "attention_bias: true"},
		{"biases in the feed-forward layer", `"mlp_bias": true`, "mlp_bias: true"},
		{"a float for a size", `"hidden_size": 2048.0`, "hidden_size: 2048.0, want a whole number"},
		{"an exponent for a size", `"vocab_size": 256e3`, "vocab_size: 256e3, want a whole number"},
		{"a context beyond all", `"max_position_embeddings": 1000000000`, "max_position_embeddings: 1000000000, want at most 67108864"},
		{"text for a size", `"hidden_size": "2048"`, `hidden_size: "2048", want a whole number`},
		{"a boolean for a size", `"num_hidden_layers": true`, `num_hidden_layers: true, want a whole number`},
		{"text for a number", `"rms_norm_eps": "1e-5"`, `rms_norm_eps: "1e-5", want a number`},
		{"a number for a boolean", `"tie_word_embeddings": 1`, "tie_word_embeddings: 1, want true or false"},
		{"a size of 0", `"head_dim": 0`, "head_dim: 0, want a positive number"},
		{"more layers than any model has", `"num_hidden_layers": 60000000`, "want 16384 or less"},
		{"factors of Granite", `"embedding_multiplier": 12.0, "logits_scaling": 8.0`, "embedding_multiplier: 12.0 is not supported, want 1; also logits_scaling"},
		{"two spellings of rope", `"rope_scaling": {"type": "linear", "factor": 4.0}, "rope_parameters": {"rope_type": "default"}`, "rope_parameters: type default, theta 10000 and factor 0 contradict rope_scaling with type linear, theta 10000 and factor 4"},
		{"two factors", `"rope_scaling": {"type": "linear", "factor": 4.0}, "rope_parameters": {"rope_type": "linear", "factor": 2.0}`, "contradict rope_scaling"},
		{"two bases", `"rope_scaling": {"type": "linear", "factor": 4.0}, "rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 50000.0}`, "contradict rope_scaling"},
		{"two contexts", `"original_max_position_embeddings": 4096, "rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4, "original_max_position_embeddings": 2048}`, "keep the one that is meant"},
		{"a head that the sizes do not give", `"hidden_size": 2050, "head_dim": null`, "no multiple of num_attention_heads"},
		{"a key that may change the maths", `"sliding_window": 4096`, "sliding_window: 4096"},
		{"windows in some layers", `"layer_types": ["full_attention", "sliding_attention"]`, `layer_types: "sliding_attention"`},
		{"part of a head is turned", `"partial_rotary_factor": 0.5`, "partial_rotary_factor: 0.5"},
		{"an unknown key", `"speed": 3`, "speed: unknown key, which may change"},
		{"unknown keys", `"speed": 3, "colour": "red"`, `colour: unknown key, which may change what the model computes; if it does not, take it out of the file; also speed`},
		{"quantised weights", `"quantization_config": {"bits": 4}`, "quantization_config"},
		{"fp4", `"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": true}`, "not as bitsandbytes' nf4"},
		{"8 bits", `"quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": true, "bnb_4bit_quant_type": "nf4"}`, "not as bitsandbytes' nf4"},
		{"dynamic rope", `"rope_scaling": {"type": "dynamic", "factor": 2.0}`, `rope_scaling.rope_type: "dynamic" is not supported`},
		{"two types of rope", `"rope_scaling": {"type": "linear", "rope_type": "llama3", "factor": 2.0}`, "differ"},
		{"linear rope without a factor", `"rope_scaling": {"type": "linear"}`, "rope_scaling.factor: missing"},
		{"rope that is no object", `"rope_scaling": "linear"`, `rope_scaling: "linear", want an object`},
		{"heads that do not divide", `"num_key_value_heads": 3`, "no multiple"},
		{"an odd head", `"head_dim": 127`, "odd"},
		{"eight-bit weights", `"torch_dtype": "float8_e4m3fn"`, "float8"},
		{"an end of text that is no id", `"eos_token_id": "</s>"`, "eos_token_id"},
		{"an end of text that is no whole number", `"eos_token_id": [2, 5.0]`, "eos_token_id"},
		{"all at once", `"hidden_act": "relu", "num_key_value_heads": 5, "vocab_size": -1`, "3 faults:\n  hidden_act: \"relu\" is not supported, want \"silu\" or \"swish\"\n  vocab_size: -1, want a positive number\n  num_attention_heads: 16 is no multiple"},
	} {
		t.Run(row.name, func(t *testing.T) { refuses(t, config(t, row.keys), row.want) })
	}
	for _, key := range []string{"model_type", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"} {
		refuses(t, config(t, "", key), key+": missing")
	}
}

// refuses fails unless the text is refused with these words, and none of Go's.
func refuses(t *testing.T, text, want string) {
	t.Helper()
	_, err := llama.ParseConfig([]byte(text))
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Fatalf("%v, want %q", err, want)
	}
	for _, word := range []string{"json:", "unmarshal", "Go ", "struct", "invalid character", "strconv", "offset"} {
		if strings.Contains(err.Error(), word) {
			t.Errorf("%v speaks of %q", err, word)
		}
	}
}

func TestConfigSyntax(t *testing.T) {
	for _, row := range []struct{ name, from, to, want string }{
		{"a comma too many", `256000}`, `256000,}`, `line 5, column 133: unexpected '}'`},
		{"not a number", `"initializer_range": 0.02`, `"initializer_range": NaN`, "line 2, column 102: initializer_range: NaN is not JSON"},
		{"cut off", `"use_cache": true, "vocab_size": 256000}`, `"use_ca`, "line 5"},
		{"a byte order mark", `{"arch`, "\ufeff" + `{"arch`, "byte order mark"},
		{"one key, two values", `"head_dim": 128`, `"head_dim": 128, "head_dim": 64`, "head_dim: key given twice"},
		{"an array", published, `[1]`, "the file holds a JSON array, want an object"},
		{"nothing", published, ``, "the file is empty"},
		{"a pointer", published, "version https://git-lfs.github.com/spec/v1\n", "line 1, column 1"},
	} {
		t.Run(row.name, func(t *testing.T) { refuses(t, strings.Replace(published, row.from, row.to, 1), row.want) })
	}
}

// TestConfigHarmless: what cannot change the logits, or has its neutral value, is
// no reason to refuse, and changes nothing.
func TestConfigHarmless(t *testing.T) {
	want := parse(t, published)
	for _, keys := range []string{
		`"chunk_size_feed_forward": 0, "is_decoder": false, "add_cross_attention": false, "tie_encoder_decoder": false, "pruned_heads": {}, "min_length": 0, "num_beams": 1, "use_bfloat16": false, "prefix": null, "tf_legacy_loss": false, "cross_attention_hidden_size": null, "remove_invalid_values": false`,
		`"temperature": 0.7, "top_p": 0.9, "do_sample": true, "max_length": 20, "bad_words_ids": null, "num_assistant_tokens": 20`,
		`"unsloth_fixed": true, "unsloth_version": "2026.1.1", "unsloth_training_offload": true`,
		`"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 1}`,
		`"rope_scaling": {}, "rope_parameters": {"rope_type": "default"}`,
		`"rope_scaling": {"type": "default"}, "rope_parameters": {"rope_type": "default"}`,
		`"rope_scaling": {"factor": 2.0}`,
		`"sliding_window": null, "quantization_config": null, "head_dim": null, "num_key_value_heads": null, "tie_word_embeddings": null, "attention_bias": null`,
		`"sliding_window": 4096, "use_sliding_window": false, "max_window_layers": 20`,
		`"layer_types": ["full_attention", "full_attention"], "pretraining_tp": 2, "hidden_act": "swish"`,
		`"embedding_multiplier": 1.0, "residual_multiplier": 1, "logits_scaling": 1.0, "partial_rotary_factor": 1.0`,
		`"license": "apache-2.0", "base_model": "x/y", "pad_token": "<pad>", "model_max_length": 8192, "use_flash_attention_2": true`,
		`"_attn_implementation": "sdpa", "_commit_hash": "0123", "quantization_config": {}, "some_list": [], "some_text": "", "nothing": null`,
		`"original_max_position_embeddings": 4096`,
	} {
		if got := parse(t, config(t, keys)); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, want %+v", keys, got, want)
		}
	}
}

// TestConfigDefaults: an absent key has the reference's default.
func TestConfigDefaults(t *testing.T) {
	c := parse(t, config(t, "", "max_position_embeddings", "rms_norm_eps", "num_key_value_heads", "head_dim", "rope_theta", "tie_word_embeddings", "bos_token_id", "eos_token_id", "hidden_act"))
	want := parse(t, published)
	want.MaxPositionEmbeddings, want.RMSNormEps = 2048, 1e-6
	if !reflect.DeepEqual(c, want) {
		t.Errorf("%+v, want %+v", c, want)
	}
	if c := parse(t, config(t, `"bos_token_id": null, "eos_token_id": null, "pad_token_id": -1`)); c.BOSTokenID != -1 || c.EOSTokenID != nil || c.PadTokenID != -1 {
		t.Errorf("null and -1 are no token: %+v", c)
	}
	if c := parse(t, config(t, `"attention_dropout": 0.1`)); c.AttentionDropout != 0.1 {
		t.Errorf("attention_dropout %v, want 0.1 for training to say so", c.AttentionDropout)
	}
	c = parse(t, config(t, `"rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4}`))
	if c.RoPE.OriginalMaxPositionEmbeddings != 8192 {
		t.Errorf("%+v, want the model's context where llama3 names none", c.RoPE)
	}
	if c := parse(t, config(t, `"rope_theta": 5, "rope_parameters": {"rope_theta": 50000}`)); c.RoPE.Theta != 50000 {
		t.Errorf("%+v: the nested rope_theta wins", c.RoPE)
	}
}

// TestReadConfig reads directories, and names the place of a fault and what a
// path is that is no model.
func TestReadConfig(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	refused := func(path string, parts ...string) {
		t.Helper()
		_, err := llama.ReadConfig(path)
		for _, part := range parts {
			if err == nil || !strings.Contains(err.Error(), part) {
				t.Errorf("%v, want %q", err, part)
			}
		}
	}
	refused(filepath.Join(dir, "none"), "none", "no such file")
	refused(dir, dir+" is not a model directory")
	write("adapter_config.json", "{}")
	refused(dir, dir+" is an adapter, not a model")
	write("model.gguf", "GGUF")
	refused(filepath.Join(dir, "model.gguf"), "GGUF file")
	refused(filepath.Join(dir, "adapter_config.json"), "is a file: give the model directory")

	write("config.json", published)
	for text, want := range map[string][]int{`{"eos_token_id": [2, 5], "temperature": 1}`: {2, 5}, `{"eos_token_id": 7}`: {7}, `{}`: {2}, `{"eos_token_id": null}`: {2}} {
		write("generation_config.json", text)
		c, err := llama.ReadConfig(dir)
		if err != nil || !slices.Equal(c.EOSTokenID, want) {
			t.Errorf("%s: %v %v, want %v", text, c.EOSTokenID, err, want)
		}
	}
	write("generation_config.json", `{"eos_token_id": "x"}`)
	refused(dir, filepath.Join(dir, "generation_config.json"), `eos_token_id: "x"`)
	write("config.json", "{")
	refused(dir, filepath.Join(dir, "config.json"), "line 1")
}

func TestCheckIDs(t *testing.T) {
	c := llama.Config{VocabSize: 4}
	if err := c.CheckIDs([]int32{0, 3}); err != nil {
		t.Error(err)
	}
	for _, ids := range [][]int32{{0, 4}, {0, -1}} {
		if err := c.CheckIDs(ids); err == nil || !strings.Contains(err.Error(), "token 1 is id") {
			t.Errorf("%v: %v", ids, err)
		}
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(published))
	f.Add([]byte(`{"model_type": "llama", "eos_token_id": [1, 2], "rope_parameters": {"rope_type": "llama3", "factor": 8}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := llama.ParseConfig(data)
		if err == nil && c.NumParameters() <= 0 {
			t.Fatalf("accepted a model of %d parameters", c.NumParameters())
		}
	})
}

// TestQuantizationOfBitsandbytes: a model whose linear layers bitsandbytes quantised to
// NF4 is told from one that is not quantised.
func TestQuantizationOfBitsandbytes(t *testing.T) {
	text := `{"model_type": "llama", "vocab_size": 8, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2%s}`
	for more, want := range map[string]string{
		``: "", `, "quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": true, "bnb_4bit_quant_type": "nf4"}`: "4bit",
	} {
		c, err := llama.ParseConfig(fmt.Appendf(nil, text, more))
		if err != nil || c.Quantization != want {
			t.Errorf("%s: %q, %v", more, c.Quantization, err)
		}
	}
}
