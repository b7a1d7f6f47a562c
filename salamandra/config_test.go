package salamandra_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/salamandra"
)

// published is config.json of the 2B model in the older spelling.
const published = `{"architectures": ["LlamaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0, "bos_token_id": 1,
 "eos_token_id": 2, "head_dim": 128, "hidden_act": "silu", "hidden_size": 2048, "initializer_range": 0.02, "intermediate_size": 5440,
 "max_position_embeddings": 8192, "mlp_bias": false, "model_type": "llama", "num_attention_heads": 16, "num_hidden_layers": 24,
 "num_key_value_heads": 16, "pretraining_tp": 1, "rms_norm_eps": 1e-05, "rope_scaling": null, "rope_theta": 10000.0,
 "tie_word_embeddings": false, "torch_dtype": "bfloat16", "transformers_version": "4.40.2", "use_cache": true, "vocab_size": 256000}`

func TestConfigSpellings(t *testing.T) {
	old, err := salamandra.ParseConfig([]byte(published))
	require.NoError(t, err)
	require.Equal(t, int64(2_253_490_176), old.NumParameters(), "as published for the 2B")
	require.Equal(t, salamandra.RoPE{Type: "default", Theta: 10000}, old.RoPE)
	require.Equal(t, []int{2}, old.EOSTokenID)
	require.Equal(t, -1, old.PadTokenID)

	now := strings.NewReplacer(`"torch_dtype"`, `"dtype"`, `"rope_scaling": null, "rope_theta": 10000.0`, `"rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"}`).Replace(published)
	require.NotEqual(t, published, now)
	new, err := salamandra.ParseConfig([]byte(now))
	require.NoError(t, err)
	require.Equal(t, old, new)

	seven := strings.NewReplacer(`"hidden_size": 2048`, `"hidden_size": 4096`, `"intermediate_size": 5440`, `"intermediate_size": 11008`,
		`"num_attention_heads": 16`, `"num_attention_heads": 32`, `"num_hidden_layers": 24`, `"num_hidden_layers": 32`,
		`"num_key_value_heads": 16`, `"num_key_value_heads": 8`, `"head_dim": 128, `, ``).Replace(published)
	c, err := salamandra.ParseConfig([]byte(seven))
	require.NoError(t, err)
	require.Equal(t, int64(7_768_117_248), c.NumParameters(), "as published for the 7B; head_dim from the sizes")
}

func TestConfigRefusals(t *testing.T) {
	for _, row := range []struct {
		name, from, to string
		cause          error
		want           string
	}{
		{"another architecture", `"llama"`, `"mistral"`, salamandra.ErrUnsupported, `model_type "mistral"`},
		{"another activation", `"silu"`, `"gelu"`, salamandra.ErrUnsupported, `hidden_act "gelu"`},
		{"biases", `"attention_bias": false`, `"attention_bias": true`, salamandra.ErrUnsupported, "attention_bias"},
		{"biases in the feed-forward layer", `"mlp_bias": false`, `"mlp_bias": true`, salamandra.ErrUnsupported, "mlp_bias"},
		{"attention dropout", `"attention_dropout": 0.0`, `"attention_dropout": 0.1`, salamandra.ErrUnsupported, "attention_dropout 0.1"},
		{"a key that may change the maths", `"use_cache": true`, `"sliding_window": 4096`, salamandra.ErrUnsupported, "sliding_window"},
		{"quantised weights", `"use_cache": true`, `"quantization_config": {"bits": 4}`, salamandra.ErrUnsupported, "quantization_config"},
		{"dynamic rope", `"rope_scaling": null`, `"rope_scaling": {"type": "dynamic", "factor": 2.0}`, salamandra.ErrUnsupported, `rope type "dynamic"`},
		{"two types of rope", `"rope_scaling": null`, `"rope_scaling": {"type": "linear", "rope_type": "llama3", "factor": 2.0}`, salamandra.ErrInvalid, "differ"},
		{"linear rope without a factor", `"rope_scaling": null`, `"rope_scaling": {"type": "linear"}`, salamandra.ErrInvalid, "factor 0"},
		{"heads that do not divide", `"num_key_value_heads": 16`, `"num_key_value_heads": 3`, salamandra.ErrInvalid, "no multiple"},
		{"an odd head", `"head_dim": 128`, `"head_dim": 127`, salamandra.ErrInvalid, "odd"},
		{"a missing size", `"vocab_size": 256000`, `"use_cache": true`, salamandra.ErrInvalid, "vocab_size is 0"},
		{"eight-bit weights", `"bfloat16"`, `"float8_e4m3fn"`, salamandra.ErrUnsupported, "float8"},
		{"an end of text that is no id", `"eos_token_id": 2`, `"eos_token_id": "</s>"`, salamandra.ErrInvalid, "eos_token_id"},
	} {
		t.Run(row.name, func(t *testing.T) {
			text := strings.Replace(published, row.from, row.to, 1)
			require.NotEqual(t, published, text)
			_, err := salamandra.ParseConfig([]byte(text))
			require.ErrorIs(t, err, row.cause)
			require.ErrorContains(t, err, row.want)
		})
	}
	_, err := salamandra.ParseConfig([]byte(strings.NewReplacer(`"silu"`, `"relu"`, `"num_key_value_heads": 16`, `"num_key_value_heads": 5`).Replace(published)))
	require.ErrorContains(t, err, "relu")
	require.ErrorContains(t, err, "no multiple", "all faults at once")
}

func TestReadConfigNamesThePlace(t *testing.T) {
	_, err := salamandra.ReadConfig("no/such/dir")
	require.ErrorIs(t, err, os.ErrNotExist)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "config.json"), []byte("{"), 0o644))
	_, err = salamandra.ReadConfig(dir)
	require.ErrorContains(t, err, filepath.Join(dir, "config.json"))
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(published))
	f.Add([]byte(`{"model_type": "llama", "eos_token_id": [1, 2], "rope_parameters": {"rope_type": "llama3", "factor": 8}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := salamandra.ParseConfig(data)
		if err == nil && c.NumParameters() <= 0 {
			t.Fatalf("accepted a model of %d parameters", c.NumParameters())
		}
	})
}
