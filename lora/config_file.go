package lora

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/impulse-salamandra/finetune/salamandra/safetensors"
)

// maxConfigSize bounds adapter_config.json, in bytes: a thousand times what
// PEFT writes.
const maxConfigSize = 1 << 20

// ignoredKeys of adapter_config.json say how an adapter was trained or saved,
// and nothing about what it computes now.
var ignoredKeys = []string{
	"auto_mapping", "corda_config", "eva_config", "inference_mode", "loftq_config",
	"lora_ga_config", "megatron_core", "peft_version", "qalora_group_size", "runtime_config",
}

// refusedKeys change what an adapter computes in a way this package does not
// implement; they must be absent or off.
var refusedKeys = []struct{ key, reason string }{
	{"alora_invocation_tokens", "activated LoRA switches the adapter on within the text"},
	{"arrow_config", "Arrow routes tokens among adapters"},
	{"bias", "biases of the base model were trained"},
	{"ensure_weight_tying", "the adapter is shared with a tied layer"},
	{"fan_in_fan_out", "the base stores its weights transposed"},
	{"kasa_config", "KaSA changes the base weights and the update"},
	{"layer_replication", "the layers of the base are repeated"},
	{"lora_bias", "B has a bias"},
	{"megatron_config", "the base is a Megatron model"},
	{"modules_to_save", "whole modules were trained"},
	{"monteclora_config", "MonteCLoRA samples the update"},
	{"target_parameters", "parameters that are not linear layers are adapted"},
	{"trainable_token_indices", "rows of the embedding were trained"},
	{"use_bdlora", "A or B is block-diagonal"},
	{"use_qalora", "QA-LoRA pools the input of A"},
	{"velora_config", "VeLoRA is a variant of the layer"},
}

// A configReader takes an adapter_config.json apart, collecting faults.
type configReader struct {
	path   string
	raw    map[string]json.RawMessage
	faults []error
}

// patternOrder is the order in which a file lists the keys of its patterns.
type patternOrder struct{ rank, alpha []string }

// readConfig reads an adapter_config.json. The error lists every setting that
// is invalid or not supported.
func readConfig(path string) (Config, patternOrder, error) {
	text, err := readLimited(path, maxConfigSize)
	if err != nil {
		return Config{}, patternOrder{}, err
	}
	r := &configReader{path: path}
	if err := json.Unmarshal(text, &r.raw); err != nil {
		return Config{}, patternOrder{}, &ConfigError{File: path, Key: "file", Err: fmt.Errorf("%w: not a JSON object: %w", ErrConfig, err)}
	}
	c, order := r.config()
	r.refuse()
	if len(r.faults) == 0 {
		return c, order, c.validate(path)
	}
	return c, order, errors.Join(r.faults...)
}

// readLimited reads a file of at most limit bytes.
func readLimited(path string, limit int64) ([]byte, error) {
	stat, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if stat.Size() > limit {
		return nil, fmt.Errorf("lora: %s: %w: %d bytes, want at most %d", path, ErrConfig, stat.Size(), limit)
	}
	return os.ReadFile(path)
}

// config reads the supported keys.
func (r *configReader) config() (Config, patternOrder) {
	var c Config
	var order patternOrder
	var peftType, taskType string
	r.need("peft_type", &peftType)
	if peftType != "" && peftType != "LORA" {
		r.fault("peft_type", ErrUnsupported, "%q, want \"LORA\"", peftType)
	}
	if r.get("task_type", &taskType); taskType != "" && taskType != "CAUSAL_LM" {
		r.fault("task_type", ErrUnsupported, "%q, want \"CAUSAL_LM\"", taskType)
	}
	r.need("r", &c.Rank)
	r.need("lora_alpha", &c.Alpha)
	r.get("lora_dropout", &c.Dropout)
	r.names("target_modules", &c.TargetModules, &c.TargetPattern)
	r.names("exclude_modules", &c.ExcludeModules, &c.ExcludePattern)
	r.names("layers_pattern", &c.LayersPattern, nil)
	r.layers(&c.LayersToTransform)
	order.rank = r.keys("rank_pattern")
	r.get("rank_pattern", &c.RankPattern)
	order.alpha = r.keys("alpha_pattern")
	r.get("alpha_pattern", &c.AlphaPattern)
	r.get("use_rslora", &c.UseRSLoRA)
	r.get("use_dora", &c.UseDoRA)
	r.get("base_model_name_or_path", &c.BaseModelNameOrPath)
	r.get("revision", &c.Revision)
	r.initialisation()
	return c, order
}

func (r *configReader) fault(key string, cause error, format string, args ...any) {
	err := fmt.Errorf("%w: %s", cause, fmt.Sprintf(format, args...))
	r.faults = append(r.faults, &ConfigError{File: r.path, Key: key, Err: err})
}

// get decodes a key into dst; absent and null leave it as it is.
func (r *configReader) get(key string, dst any) {
	raw, ok := r.raw[key]
	delete(r.raw, key)
	if !ok {
		return
	}
	if err := json.Unmarshal(raw, dst); err != nil {
		r.fault(key, ErrConfig, "%s: %v", raw, err)
	}
}

// need is get for a key without a default.
func (r *configReader) need(key string, dst any) {
	if raw, ok := r.raw[key]; !ok || isOff(raw) {
		r.fault(key, ErrConfig, "missing")
	}
	r.get(key, dst)
}

// names decodes a list of strings, or one string; where pattern is nil, one
// string is a list of one.
func (r *configReader) names(key string, list *[]string, pattern *string) {
	if raw := r.raw[key]; len(raw) == 0 || raw[0] != '"' {
		r.get(key, list)
		return
	}
	var s string
	r.get(key, &s)
	if pattern != nil {
		*pattern = s
	} else if s != "" {
		*list = []string{s}
	}
}

// layers decodes layers_to_transform, a list or one number.
func (r *configReader) layers(list *[]int) {
	if raw := r.raw["layers_to_transform"]; len(raw) == 0 || raw[0] == '[' || raw[0] == 'n' {
		r.get("layers_to_transform", list)
		return
	}
	var one int
	r.get("layers_to_transform", &one)
	*list = []int{one}
}

// keys returns the keys of a JSON object in the order of the file.
func (r *configReader) keys(key string) []string {
	dec := json.NewDecoder(bytes.NewReader(r.raw[key]))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil // absent, null, or a fault that get reports
	}
	var keys []string
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return nil
		}
		keys = append(keys, fmt.Sprint(t))
		if err := dec.Decode(new(json.RawMessage)); err != nil {
			return nil
		}
	}
	return keys
}

// initialisation refuses the ways to initialise an adapter that change the
// base weights: the adapter is then relative to weights that no file holds.
func (r *configReader) initialisation() {
	const key = "init_lora_weights"
	raw, ok := r.raw[key]
	delete(r.raw, key)
	if !ok {
		return
	}
	harmless := []string{"true", "false", `"gaussian"`, `"orthogonal"`, `"eva"`}
	if !slices.Contains(harmless, string(raw)) {
		r.fault(key, ErrUnsupported, "%s may change the base weights; save the adapter in PEFT with path_initial_model_for_weight_conversion", raw)
	}
}

// refuse reports the keys that are left and not off.
func (r *configReader) refuse() {
	for _, key := range ignoredKeys {
		delete(r.raw, key)
	}
	for _, k := range refusedKeys {
		if raw, ok := r.raw[k.key]; ok && !isOff(raw) {
			r.fault(k.key, ErrUnsupported, "%s: %s", raw, k.reason)
		}
		delete(r.raw, k.key)
	}
	for _, key := range sortedKeys(r.raw) {
		if raw := r.raw[key]; !isOff(raw) {
			r.fault(key, ErrUnsupported, "%s: unknown key, which may change what the adapter computes", raw)
		}
	}
}

// isOff tells whether a value leaves its setting off.
func isOff(raw json.RawMessage) bool {
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		return false
	}
	switch b.String() {
	case "null", "false", "{}", "[]", `""`, `"none"`:
		return true
	}
	return false
}

// writeConfig writes an adapter_config.json that PEFT 0.7 and later load: the
// keys of 0.7, and newer ones only where they are set, as PEFT refuses keys
// that it does not know.
func writeConfig(path string, c Config) error {
	keys := map[string]any{
		"alpha_pattern":           orEmpty(c.AlphaPattern),
		"auto_mapping":            nil,
		"base_model_name_or_path": orNull(c.BaseModelNameOrPath),
		"bias":                    "none",
		"fan_in_fan_out":          false,
		"inference_mode":          true,
		"init_lora_weights":       true,
		"layers_pattern":          c.LayersPattern,
		"layers_to_transform":     c.LayersToTransform,
		"loftq_config":            struct{}{},
		"lora_alpha":              c.Alpha,
		"lora_dropout":            c.Dropout,
		"megatron_config":         nil,
		"megatron_core":           "megatron.core",
		"modules_to_save":         nil,
		"peft_type":               "LORA",
		"r":                       c.Rank,
		"rank_pattern":            orEmpty(c.RankPattern),
		"revision":                orNull(c.Revision),
		"target_modules":          namesOrPattern(c.TargetModules, c.TargetPattern),
		"task_type":               "CAUSAL_LM",
	}
	if c.UseRSLoRA { // since 0.8
		keys["use_rslora"] = true
	}
	if c.UseDoRA { // since 0.9
		keys["use_dora"] = true
	}
	if len(c.ExcludeModules) > 0 || c.ExcludePattern != "" { // since 0.14
		keys["exclude_modules"] = namesOrPattern(c.ExcludeModules, c.ExcludePattern)
	}
	text, err := formatJSON(keys)
	if err != nil {
		return fmt.Errorf("lora: %s: %w", path, err)
	}
	return safetensors.WriteFile(path, text)
}

// formatJSON returns v as the Hugging Face tools write it.
func formatJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(v)
	return b.Bytes(), err
}

// orEmpty makes a nil map an empty one: {} in JSON.
func orEmpty[V any](m map[string]V) map[string]V {
	if m == nil {
		return map[string]V{}
	}
	return m
}

// orNull makes an empty string nil: null in JSON.
func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func namesOrPattern(names []string, pattern string) any {
	if pattern != "" {
		return pattern
	}
	return names
}
