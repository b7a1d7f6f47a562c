package salamandra_test

import (
	"context"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gomlx/compute"

	"github.com/impulse-salamandra/finetune/salamandra"
	"github.com/impulse-salamandra/finetune/salamandra/salamandratest"
)

// TestConfigsAsTransformers loads tiny-mha with one thing changed in its
// config.json, as trainings and people leave it. The logits after a prompt are
// those of Transformers 5.24.0, to the four decimals noted, or the model is
// refused with the words given.
func TestConfigsAsTransformers(t *testing.T) {
	const gone = "gone"
	keys := func(pairs ...any) map[string]any {
		m := map[string]any{}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i].(string)] = pairs[i+1]
		}
		return m
	}
	type object = map[string]any
	plain := []float64{-0.5092, 0.4746, -0.0447, -0.0210}
	theta := []float64{-0.4926, 0.4937, -0.0489, -0.0133}
	linear := []float64{-0.4421, 0.4094, -0.0410, 0.0133}
	for _, row := range []struct {
		name   string
		config map[string]any
		logits []float64 // nil for a refusal
		refuse string
	}{
		{"as it is", keys(), plain, ""},
		{"tied, and a head that differs", keys("tie_word_embeddings", true), plain, ""},
		{"tied neither way", keys("tie_word_embeddings", nil), plain, ""},
		{"head_dim null", keys("head_dim", nil), plain, ""},
		{"no architectures", keys("architectures", gone), plain, ""},
		{"no end of text", keys("eos_token_id", nil), plain, ""},
		{"no key and value heads", keys("num_key_value_heads", gone), plain, ""},
		{"the older spelling of dtype", keys("dtype", gone, "torch_dtype", "float32"), plain, ""},
		{"both spellings of dtype", keys("dtype", "float32", "torch_dtype", "float16"), plain, ""},
		{"attention dropout", keys("attention_dropout", 0.1), plain, ""},
		{"old defaults", keys("chunk_size_feed_forward", 0, "is_decoder", false, "add_cross_attention", false, "tie_encoder_decoder", false, "pruned_heads", object{},
			"min_length", 0, "num_beams", 1, "use_bfloat16", false, "prefix", nil, "tf_legacy_loss", false, "cross_attention_hidden_size", nil, "remove_invalid_values", false), plain, ""},
		{"no context", keys("max_position_embeddings", gone), plain, ""},
		{"keys of Unsloth", keys("unsloth_fixed", true, "unsloth_version", "2026.1.1", "unsloth_training_offload", true), plain, ""},
		{"settings of generation", keys("temperature", 0.7, "num_beams", 4, "do_sample", true), plain, ""},
		{"parallel training", keys("pretraining_tp", 2), plain, ""},
		{"another name of the activation", keys("hidden_act", "swish"), plain, ""},
		{"windows that are off", keys("sliding_window", 4, "use_sliding_window", false), plain, ""},

		{"theta at the top", keys("rope_theta", 50000.0, "rope_parameters", gone), theta, ""},
		{"theta within", keys("rope_theta", gone, "rope_parameters", object{"rope_type": "default", "rope_theta": 50000.0}), theta, ""},
		{"theta in both, the nested one wins", keys("rope_theta", 7.0, "rope_parameters", object{"rope_type": "default", "rope_theta": 50000.0}), theta, ""},
		{"an empty older spelling", keys("rope_scaling", object{}, "rope_parameters", object{"rope_type": "default", "rope_theta": 50000.0}), theta, ""},
		{"linear, older", keys("rope_theta", 50000.0, "rope_parameters", gone, "rope_scaling", object{"type": "linear", "factor": 4.0}), linear, ""},
		{"linear, newer", keys("rope_parameters", object{"rope_type": "linear", "rope_theta": 50000.0, "factor": 4.0}), linear, ""},
		{"linear in both", keys("rope_theta", 50000.0, "rope_parameters", object{"rope_type": "linear", "factor": 4.0}, "rope_scaling", object{"type": "linear", "factor": 4.0}), linear, ""},
		{"default and linear", keys("rope_theta", 50000.0, "rope_parameters", object{"rope_type": "default", "rope_theta": 50000.0}, "rope_scaling", object{"type": "linear", "factor": 4.0}),
			nil, "rope_parameters: type default, theta 50000 and factor 0 contradict rope_scaling with type linear, theta 50000 and factor 4"},

		{"quantised", keys("quantization_config", object{"quant_method": "bitsandbytes", "load_in_4bit": true}), nil, "quantization_config"},
		{"factors of Granite", keys("embedding_multiplier", 12.0, "logits_scaling", 8.0), nil, "embedding_multiplier"},
		{"another architecture", keys("model_type", "mistral", "sliding_window", nil), nil, `model_type: "mistral"`},
		{"another activation", keys("hidden_act", "gelu"), nil, `hidden_act: "gelu"`},
		{"biases that are not there", keys("attention_bias", true), nil, "attention_bias: true"},
		{"another width of heads", keys("head_dim", 8), nil, "self_attn.q_proj.weight: is [48 48], want [32 48]"},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := withConfig(t, salamandratest.Reference(t, "models", "tiny-mha"), func(c map[string]any) {
				for key, value := range row.config {
					if c[key] = value; value == gone {
						delete(c, key)
					}
				}
			})
			b := salamandratest.Go(t)
			if row.logits == nil {
				refusesLoad(t, b, dir, row.refuse)
				return
			}
			logits, err := salamandratest.Load(t, b, dir).Logits(nil, [][]int32{{1, 4, 100, 200, 300, 5, 45}})
			if err != nil {
				t.Fatal(err)
			}
			last := logits[0][6]
			for i, want := range row.logits {
				if math.Abs(float64(last[i])-want) > 6e-5 {
					t.Errorf("logits %.4f, want %v", last[:4], row.logits)
					break
				}
			}
			if best := slices.Index(last, slices.Max(last)); slices.Equal(row.logits, plain) && best != 967 {
				t.Errorf("likeliest token %d, want 967", best)
			}
		})
	}
}

func refusesLoad(t *testing.T, b compute.Backend, dir, want string) {
	t.Helper()
	m, err := salamandra.Load(context.Background(), b, dir, salamandra.Options{Dtype: "float32"})
	if err == nil {
		_ = m.Close()
	}
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %q", err, want)
	}
}

// withConfig copies the weights of a model beside its changed config.json.
func withConfig(t *testing.T, from string, change func(map[string]any)) string {
	t.Helper()
	dir := t.TempDir()
	text, err := os.ReadFile(filepath.Join(from, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	config := map[string]any{}
	if err := json.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	change(config)
	if text, err = json.Marshal(config); err == nil {
		err = os.WriteFile(filepath.Join(dir, "config.json"), text, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	weights, err := filepath.Abs(filepath.Join(from, "model.safetensors"))
	if err == nil {
		err = os.Symlink(weights, filepath.Join(dir, "model.safetensors"))
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}
