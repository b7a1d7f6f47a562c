package lora

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/impulse-salamandra/finetune/internal/atomicfile"
	"github.com/impulse-salamandra/finetune/internal/faults"
	"github.com/impulse-salamandra/finetune/internal/strictjson"
	"github.com/impulse-salamandra/finetune/internal/wrongfile"
)

// maxConfigSize bounds adapter_config.json, in bytes: a thousand times what
// PEFT writes.
const maxConfigSize = 1 << 20

// refusedKey is a key that is refused, and why.
type refusedKey struct{ key, reason string }

// ignoredKeys of adapter_config.json say how an adapter was trained or saved,
// and nothing about what it computes now.
var ignoredKeys = []string{
	"auto_mapping", "corda_config", "eva_config", "inference_mode", "loftq_config",
	"lora_ga_config", "megatron_core", "peft_version", "qalora_group_size", "runtime_config",
	"fan_in_fan_out",                               // which PEFT turns off for linear layers
	"lora_dtype", "lorap_emb_lr", "lorap_lr_ratio", // of ms-swift
}

// refusedKeys change what an adapter computes in a way this package does not
// implement; they must be absent or off.
var refusedKeys = []refusedKey{
	{"alora_invocation_tokens", "activated LoRA switches the adapter on within the text"},
	{"arrow_config", "Arrow routes tokens among adapters"},
	{"ensure_weight_tying", "the adapter is shared with a tied layer"},
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

// patternOrder is the order in which a file lists the keys of its patterns.
type patternOrder struct{ rank, alpha []string }

// readConfig reads an adapter_config.json. The error lists every setting that
// is invalid or not supported; warnings are of keys that were left aside.
func readConfig(path string) (c Config, order patternOrder, warnings []string, err error) {
	text, err := readLimited(path, maxConfigSize)
	if err != nil {
		return Config{}, patternOrder{}, nil, err
	}
	list := faults.List{Subject: path}
	f := strictjson.ReadFields(text, &list, errConfig)
	if f == nil {
		return Config{}, patternOrder{}, nil, wrongfile.Explain(path, list.Err())
	}
	if f.Value("peft_type") == nil && (f.Value("fine_tune_type") != nil || f.Value("lora_parameters") != nil) {
		return Config{}, patternOrder{}, nil, fmt.Errorf("%s is of an adapter of MLX, which is not read: fuse it into its base with mlx_lm.fuse", path)
	}
	c, order = configOf(f)
	if unknown := refuse(f); len(unknown) > 0 {
		warnings = []string{fmt.Sprintf("%s: left aside, as PEFT does: unknown %s", path, strings.Join(unknown, ", "))}
	}
	if list.Len() == 0 {
		c.validate(&list)
	}
	return c, order, warnings, list.Err()
}

// readLimited reads a file of at most limit bytes.
func readLimited(path string, limit int64) ([]byte, error) {
	stat, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if stat.Size() > limit {
		return nil, fmt.Errorf("%s: %w: %d bytes, want at most %d", path, errConfig, stat.Size(), limit)
	}
	return os.ReadFile(path)
}

// configOf reads the supported keys.
func configOf(f *strictjson.Fields) (Config, patternOrder) {
	f.Need("peft_type", "r", "lora_alpha")
	if t := f.String("peft_type", "LORA"); t != "LORA" {
		f.Fault("peft_type", errUnsupported, "%q is not supported, want \"LORA\"", t)
	}
	if t := f.String("task_type", ""); t != "" && t != "CAUSAL_LM" {
		f.Fault("task_type", errUnsupported, "%q is not supported, want \"CAUSAL_LM\"", t)
	}
	c := Config{
		Rank: f.Int("r", 0), Alpha: f.Number("lora_alpha", 0), Dropout: f.Number("lora_dropout", 0),
		LayersPattern: f.Strings("layers_pattern"), LayersToTransform: f.Ints("layers_to_transform"),
		UseRSLoRA: f.Bool("use_rslora", false), UseDoRA: f.Bool("use_dora", false),
		BaseModelNameOrPath: f.String("base_model_name_or_path", ""), Revision: f.String("revision", ""),
	}
	c.TargetModules, c.TargetPattern = namesOrPatternOf(f, "target_modules")
	c.ExcludeModules, c.ExcludePattern = namesOrPatternOf(f, "exclude_modules")
	var order patternOrder
	c.RankPattern, order.rank = patterns(f, "rank_pattern", (*strictjson.Fields).Int)
	c.AlphaPattern, order.alpha = patterns(f, "alpha_pattern", (*strictjson.Fields).Number)
	checkInitialisation(f)
	// Of a base without biases none can have been trained; a tensor of one is left over.
	if b := f.String("bias", "none"); b != "none" && b != "all" && b != "lora_only" {
		f.Fault("bias", errUnsupported, "%q is not supported, want \"none\", \"all\" or \"lora_only\"", b)
	}
	return c, order
}

// namesOrPatternOf reads a list of names, or one pattern.
func namesOrPatternOf(f *strictjson.Fields, key string) (names []string, pattern string) {
	if v := f.Value(key); v != nil && v.Kind == strictjson.String {
		return nil, v.Text
	}
	return f.Strings(key), ""
}

// patterns reads an object of numbers, and its keys in the order of the file.
func patterns[V any](f *strictjson.Fields, key string, number func(f *strictjson.Fields, key string, otherwise V) V) (map[string]V, []string) {
	object := f.Object(key)
	if object == nil {
		return nil, nil
	}
	values := map[string]V{}
	var zero V
	for _, pattern := range object.Keys() {
		values[pattern] = number(object, pattern, zero)
	}
	return values, object.Keys()
}

// checkInitialisation refuses the ways to initialise an adapter that change the
// base weights: the adapter is then relative to weights that no file holds.
func checkInitialisation(f *strictjson.Fields) {
	const key = "init_lora_weights"
	v := f.Value(key)
	if v == nil || v.Kind == strictjson.Boolean || slices.Contains([]string{"gaussian", "orthogonal", "eva"}, v.Characters()) {
		return
	}
	f.Fault(key, errUnsupported, "%s may change the base weights; save the adapter in PEFT with path_initial_model_for_weight_conversion", f.Source(v))
}

// refuse reports the keys that nothing has read and that change what an adapter
// computes. Of those that nobody knows, it refuses what looks like a switch, true
// or an object, and returns the others.
func refuse(f *strictjson.Fields) (unknown []string) {
	for _, key := range f.Unread() {
		v := f.Value(key)
		if isOff(v) || slices.Contains(ignoredKeys, key) {
			continue
		}
		if i := slices.IndexFunc(refusedKeys, func(k refusedKey) bool { return k.key == key }); i >= 0 {
			f.Fault(key, errUnsupported, "%s is not supported: %s", f.Source(v), refusedKeys[i].reason)
		} else if v.Kind == strictjson.Boolean || v.Kind == strictjson.Object {
			f.Fault(key, errUnsupported, "%s: unknown key, which may change what the adapter computes; if it does not, take it out of the file", f.Source(v))
		} else {
			unknown = append(unknown, key)
		}
	}
	return unknown
}

// isOff reports whether a value leaves its setting off.
func isOff(v *strictjson.Value) bool {
	switch v.Kind {
	case strictjson.Array:
		return len(v.Items) == 0
	case strictjson.Object:
		return len(v.Members) == 0
	case strictjson.String:
		return v.Text == "" || v.Text == "none"
	}
	return v.Kind == strictjson.Null || v.Text == "false"
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
		return fmt.Errorf("%s: %w", path, err)
	}
	return atomicfile.Write(path, text)
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
