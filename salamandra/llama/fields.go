package llama

import (
	"slices"
	"strconv"
	"strings"

	"github.com/impulse-salamandra/finetune/internal/strictjson"
)

// size returns a number of things; without a default above 0 the key is
// required.
func size(f *strictjson.Fields, key string, otherwise int) int {
	v := f.Value(key)
	if v == nil {
		if otherwise <= 0 {
			f.Fault(key, nil, "missing")
		}
		return otherwise
	}
	n, whole := v.Int()
	switch {
	case !whole:
		f.Fault(key, nil, "%s, want a whole number", f.Source(v))
		return otherwise
	case n > maxSize:
		f.Fault(key, nil, "%d, want at most %d", n, maxSize)
		return otherwise
	case n <= 0:
		f.Fault(key, nil, "%d, want a positive number", n)
	}
	return n
}

// ids returns one id or a list; a key that is absent has the ids of otherwise,
// one that is null has none.
func ids(f *strictjson.Fields, key string, otherwise ...int) []int {
	v := f.Value(key)
	if v == nil {
		if slices.Contains(f.Keys(), key) {
			return nil
		}
		return otherwise
	}
	list := f.Ints(key)
	return slices.DeleteFunc(list, func(id int) bool { return id < 0 }) // some files have -1 for none
}

// id returns one id, -1 for none.
func id(f *strictjson.Fields, key string, otherwise int) int {
	if list := ids(f, key, otherwise); len(list) > 0 {
		return list[0]
	}
	return -1
}

// object returns the members of an object, nil if there is none or if it is
// empty.
func object(f *strictjson.Fields, key string) *strictjson.Fields {
	if o := f.Object(key); o != nil && len(o.Keys()) > 0 {
		return o
	}
	return nil
}

// off reports whether a value leaves its setting off, whatever that is.
func off(v *strictjson.Value) bool {
	switch v.Kind {
	case strictjson.Null:
		return true
	case strictjson.String:
		return v.Text == ""
	case strictjson.Array, strictjson.Object:
		return len(v.Items)+len(v.Members) == 0
	}
	return false
}

// neutral lists the settings that this module does not compute, with the values
// that change nothing. Numbers are compared as numbers.
var neutral = []struct {
	key    string
	values []string
}{
	{"hidden_act", []string{`"silu"`, `"swish"`}},
	{"attention_bias", []string{"false"}},
	{"mlp_bias", []string{"false"}},
	{"rope_interleaved", []string{"false"}},
	{"partial_rotary_factor", []string{"1"}},
	{"use_sliding_window", []string{"false"}},
	{"add_cross_attention", []string{"false"}},
	{"is_encoder_decoder", []string{"false"}},
	{"use_qk_norm", []string{"false"}},
	{"embedding_multiplier", []string{"1"}},
	{"residual_multiplier", []string{"1"}},
	{"logits_scaling", []string{"1"}},
	{"logit_scale", []string{"1"}},
}

// refuseSettings reports the settings with another value than a neutral one.
func refuseSettings(f *strictjson.Fields) {
	for _, setting := range neutral {
		if v := f.Value(setting.key); v != nil && !slices.Contains(setting.values, plain(f, v)) {
			f.Fault(setting.key, nil, "%s is not supported, want %s", f.Source(v), strings.Join(setting.values, " or "))
		}
	}
	windows := f.Value("use_sliding_window")
	if v := f.Value("sliding_window"); v != nil && (windows == nil || windows.Text != "false") {
		f.Fault("sliding_window", nil, "%s is not supported, want null, or use_sliding_window false", f.Source(v))
	}
	for _, t := range f.Strings("layer_types") {
		if t != "full_attention" {
			f.Fault("layer_types", nil, "%q is not supported, want \"full_attention\"", t)
			break
		}
	}
}

// quantization returns what the weights are quantised to, of what is supported.
func quantization(f *strictjson.Fields) string {
	if v := f.Value("quantization_config"); v == nil || off(v) {
		return ""
	}
	q := f.Object("quantization_config")
	if q == nil {
		return ""
	}
	if method, kind, storage := q.String("quant_method", ""), q.String("bnb_4bit_quant_type", "fp4"), q.String("bnb_4bit_quant_storage", "uint8"); method != "bitsandbytes" || !q.Bool("load_in_4bit", false) || kind != "nf4" || storage != "uint8" {
		f.Fault("quantization_config", nil, "the weights are quantised, and not as bitsandbytes' nf4 in uint8; use the 16-bit model they were made from")
	}
	return "4bit"
}

// plain is a value as the file has it, a number in its shortest form.
func plain(f *strictjson.Fields, v *strictjson.Value) string {
	if n, err := strconv.ParseFloat(v.Text, 64); err == nil && v.Kind == strictjson.Number {
		return strconv.FormatFloat(n, 'g', -1, 64)
	}
	return f.Source(v)
}

// harmless are keys of config.json that do not change what a forward pass
// computes: bookkeeping of Transformers, generation, which is configured
// elsewhere, and training in other programs. Keys that begin with an underscore,
// or with "unsloth_", are of that kind too.
var harmless = strings.Fields(`
	architectures auto_map initializer_range transformers_version transformers.js_config use_cache
	output_attentions output_hidden_states return_dict id2label label2id num_labels task_specific_params finetuning_task
	problem_type tokenizer_class torchscript is_decoder use_bfloat16 tf_legacy_loss attn_implementation is_llama_config
	chunk_size_feed_forward tie_encoder_decoder cross_attention_hidden_size prefix gradient_checkpointing name_or_path
	pretraining_tp max_window_layers max_sequence_length model_max_length license base_model padding_side
	bos_token eos_token pad_token unk_token use_flash_attention_2

	temperature top_k top_p min_p typical_p epsilon_cutoff eta_cutoff do_sample early_stopping num_beams num_beam_groups
	diversity_penalty repetition_penalty length_penalty encoder_repetition_penalty no_repeat_ngram_size
	encoder_no_repeat_ngram_size bad_words_ids force_words_ids max_length min_length max_new_tokens min_new_tokens max_time
	num_return_sequences output_scores output_logits return_dict_in_generate forced_bos_token_id forced_eos_token_id
	remove_invalid_values exponential_decay_length_penalty suppress_tokens begin_suppress_tokens sep_token_id
	decoder_start_token_id renormalize_logits assistant_confidence_threshold assistant_lookbehind num_assistant_tokens
	num_assistant_tokens_schedule target_lookbehind`)

// refuseUnknown names the keys that nothing here knows, unless they are off: they
// may change what the model computes.
func refuseUnknown(f *strictjson.Fields) {
	for _, key := range f.Unread() {
		known := slices.Contains(harmless, key) || strings.HasPrefix(key, "_") || strings.HasPrefix(key, "unsloth_")
		if v := f.Value(key); !known && !off(v) {
			f.Fault(key, nil, "unknown key, which may change what the model computes; if it does not, take it out of the file")
		}
	}
}
