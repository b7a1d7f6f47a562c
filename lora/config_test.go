package lora

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"
)

func TestDefaultConfigIsValid(t *testing.T) {
	require.NoError(t, DefaultConfig().Validate())
}

func TestValidateRefuses(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Config)
		key    string
		reason string
	}{
		{"rank 0", func(c *Config) { c.Rank = 0 }, "r", "a zero field means zero"},
		{"alpha 0", func(c *Config) { c.Alpha = 0 }, "lora_alpha", "the adapter would do nothing"},
		{"alpha NaN", func(c *Config) { c.Alpha = math.NaN() }, "lora_alpha", "not a number"},
		{"alpha infinite", func(c *Config) { c.Alpha = math.Inf(1) }, "lora_alpha", "not finite"},
		{"dropout 1", func(c *Config) { c.Dropout = 1 }, "lora_dropout", "nothing would be left"},
		{"dropout negative", func(c *Config) { c.Dropout = -0.1 }, "lora_dropout", "a probability"},
		{"dropout NaN", func(c *Config) { c.Dropout = math.NaN() }, "lora_dropout", "a probability"},
		{"no targets", func(c *Config) { c.TargetModules = nil }, "target_modules", "nothing to adapt"},
		{"names and pattern", func(c *Config) { c.TargetPattern = "x" }, "target_modules", "one of them"},
		{"empty name", func(c *Config) { c.TargetModules = []string{""} }, "target_modules", "would match a trailing dot"},
		{"all-linear as a name", func(c *Config) { c.TargetModules = []string{AllLinear} }, "target_modules", "it is a pattern"},
		{"bad pattern", func(c *Config) { c.TargetModules, c.TargetPattern = nil, "(" }, "target_modules", "does not compile"},
		{"lookahead", func(c *Config) { c.TargetModules, c.TargetPattern = nil, "(?!x).*" }, "target_modules", "Python only"},
		{"open repetition", func(c *Config) { c.TargetModules, c.TargetPattern = nil, "x{,3}" }, "target_modules", "means another thing in Python"},
		{"two exclusions", func(c *Config) { c.ExcludeModules, c.ExcludePattern = []string{"x"}, "x" }, "exclude_modules", "one of them"},
		{"empty exclusion", func(c *Config) { c.ExcludeModules = []string{""} }, "exclude_modules", "would match a trailing dot"},
		{"bad exclusion", func(c *Config) { c.ExcludePattern = "(" }, "exclude_modules", "does not compile"},
		{"layers with a pattern", func(c *Config) { c.TargetModules, c.TargetPattern, c.LayersToTransform = nil, "x", []int{0} }, "layers_to_transform", "as PEFT"},
		{"negative layer", func(c *Config) { c.LayersToTransform = []int{-1} }, "layers_to_transform", "layers count from 0"},
		{"layers pattern alone", func(c *Config) { c.LayersPattern = []string{"h"} }, "layers_pattern", "as PEFT"},
		{"bad layers pattern", func(c *Config) { c.LayersToTransform, c.LayersPattern = []int{0}, []string{"("} }, "layers_pattern", "does not compile"},
		{"rank pattern 0", func(c *Config) { c.RankPattern = map[string]int{"x": 0} }, "rank_pattern", "a rank"},
		{"bad rank pattern", func(c *Config) { c.RankPattern = map[string]int{"(": 1} }, "rank_pattern", "does not compile"},
		{"alpha pattern 0", func(c *Config) { c.AlphaPattern = map[string]float64{"x": 0} }, "alpha_pattern", "an alpha"},
		{"bad alpha pattern", func(c *Config) { c.AlphaPattern = map[string]float64{"(": 1} }, "alpha_pattern", "does not compile"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := DefaultConfig()
			test.change(&c)
			err := c.Validate()
			require.ErrorIs(t, err, ErrConfig, test.reason)
			var place *ConfigError
			require.ErrorAs(t, err, &place)
			require.Equal(t, test.key, place.Key)
		})
	}
	require.Len(t, faultsOf(Config{}.Validate()), 3, "all at once: rank, alpha, targets")
}

// faultsOf splits a joined error.
func faultsOf(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}

// PEFT selected the same modules with the same ranks, alphas and scales.
func TestMatchingEqualsPEFT(t *testing.T) {
	text, err := os.ReadFile("testdata/matching.json")
	require.NoError(t, err)
	type adapted struct {
		Rank         int
		Alpha, Scale float64
	}
	var golden struct {
		Linear []string
		Cases  []struct {
			Name    string
			Config  json.RawMessage
			Modules map[string]adapted
		}
	}
	require.NoError(t, json.Unmarshal(text, &golden))
	require.NotEmpty(t, golden.Cases)
	for _, test := range golden.Cases {
		t.Run(test.Name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), ConfigFile)
			require.NoError(t, os.WriteFile(path, test.Config, 0o666))
			c, _, err := readConfig(path)
			require.NoError(t, err)
			got := map[string]adapted{}
			for _, module := range golden.Linear {
				if c.Matches(module) {
					got[module] = adapted{c.RankOf(module), c.AlphaOf(module), c.ScaleOf(module)}
				}
			}
			require.Empty(t, cmp.Diff(test.Modules, got))
		})
	}
}

// minimal is the least that an adapter_config.json holds.
const minimal = `"peft_type":"LORA","r":8,"lora_alpha":16,"target_modules":["q_proj"]`

func TestReadConfigRefuses(t *testing.T) {
	tests := []struct {
		name, text string
		keys       []string
		want       error
	}{
		{"no JSON", `{`, []string{"file"}, ErrConfig},
		{"no object", `[]`, []string{"file"}, ErrConfig},
		{"empty", `{}`, []string{"peft_type", "r", "lora_alpha"}, ErrConfig},
		{"other method", `{"peft_type":"IA3","r":8,"lora_alpha":16,"target_modules":["q_proj"]}`, []string{"peft_type"}, ErrUnsupported},
		{"other task", `{` + minimal + `,"task_type":"SEQ_CLS"}`, []string{"task_type"}, ErrUnsupported},
		{"rank is text", `{"peft_type":"LORA","r":"8","lora_alpha":16,"target_modules":["q_proj"]}`, []string{"r"}, ErrConfig},
		{"targets are numbers", `{"peft_type":"LORA","r":8,"lora_alpha":16,"target_modules":[1]}`, []string{"target_modules"}, ErrConfig},
		{"targets are null", `{"peft_type":"LORA","r":8,"lora_alpha":16,"target_modules":null}`, []string{"target_modules"}, ErrConfig},
		{"rank invalid", `{"peft_type":"LORA","r":-8,"lora_alpha":16,"target_modules":["q_proj"]}`, []string{"r"}, ErrConfig},
		{"layers are text", `{` + minimal + `,"layers_to_transform":"0"}`, []string{"layers_to_transform"}, ErrConfig},
		{"pattern is a list", `{` + minimal + `,"rank_pattern":[1]}`, []string{"rank_pattern"}, ErrConfig},
		{"biases", `{` + minimal + `,"bias":"all"}`, []string{"bias"}, ErrUnsupported},
		{"everything unsupported", `{` + minimal + `,
			"alora_invocation_tokens":[1],"arrow_config":{"top_k":1},"bias":"lora_only","ensure_weight_tying":true,"fan_in_fan_out":true,
			"kasa_config":{"beta":1},"layer_replication":[[0,1]],"lora_bias":true,"megatron_config":{"a":1},"modules_to_save":["lm_head"],
			"monteclora_config":{"a":1},"target_parameters":["x"],"trainable_token_indices":[1],"use_bdlora":{"nblocks":2},"use_qalora":true,
			"velora_config":{"num_groups":2},"init_lora_weights":"pissa"}`,
			[]string{"alora_invocation_tokens", "arrow_config", "bias", "ensure_weight_tying", "fan_in_fan_out", "init_lora_weights",
				"kasa_config", "layer_replication", "lora_bias", "megatron_config", "modules_to_save", "monteclora_config",
				"target_parameters", "trainable_token_indices", "use_bdlora", "use_qalora", "velora_config"}, ErrUnsupported},
		{"initialised from the base", `{` + minimal + `,"init_lora_weights":"pissa_niter_4"}`, []string{"init_lora_weights"}, ErrUnsupported},
		{"LoftQ", `{` + minimal + `,"init_lora_weights":"loftq","loftq_config":{"loftq_bits":4}}`, []string{"init_lora_weights"}, ErrUnsupported},
		{"of a later version", `{` + minimal + `,"use_wonder":true}`, []string{"use_wonder"}, ErrUnsupported},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), ConfigFile)
			require.NoError(t, os.WriteFile(path, []byte(test.text), 0o666))
			_, _, err := readConfig(path)
			require.ErrorIs(t, err, test.want)
			var keys []string
			for _, fault := range faultsOf(err) {
				var place *ConfigError
				require.ErrorAs(t, fault, &place)
				require.Equal(t, path, place.File)
				keys = append(keys, place.Key)
			}
			slices.Sort(keys)
			slices.Sort(test.keys)
			require.Equal(t, test.keys, keys, "every fault, and no other")
		})
	}
}

func TestReadConfigIgnores(t *testing.T) {
	path := filepath.Join(t.TempDir(), ConfigFile)
	text := `{` + minimal + `,"auto_mapping":{"parent_library":"x"},"inference_mode":true,"peft_version":"9.9",
		"qalora_group_size":16,"megatron_core":"megatron.core","loftq_config":{"a":1},"use_wonder":false,"wonder_config":null,
		"bias":"none","modules_to_save":[ ],"init_lora_weights":"gaussian","task_type":null}`
	require.NoError(t, os.WriteFile(path, []byte(text), 0o666))
	got, _, err := readConfig(path)
	require.NoError(t, err)
	require.Equal(t, Config{Rank: 8, Alpha: 16, TargetModules: []string{"q_proj"}}, got)
}

// A file has the keys of PEFT 0.7, which refuses others, and newer keys only
// where they are set.
func TestWriteConfigKeys(t *testing.T) {
	keys := func(c Config) []string {
		path := filepath.Join(t.TempDir(), ConfigFile)
		require.NoError(t, writeConfig(path, c))
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		var m map[string]any
		require.NoError(t, json.Unmarshal(text, &m))
		return sortedKeys(m)
	}
	old := []string{"alpha_pattern", "auto_mapping", "base_model_name_or_path", "bias", "fan_in_fan_out", "inference_mode",
		"init_lora_weights", "layers_pattern", "layers_to_transform", "loftq_config", "lora_alpha", "lora_dropout", "megatron_config",
		"megatron_core", "modules_to_save", "peft_type", "r", "rank_pattern", "revision", "target_modules", "task_type"}
	require.Equal(t, old, keys(DefaultConfig()))
	c := DefaultConfig()
	c.UseRSLoRA, c.UseDoRA, c.ExcludePattern = true, true, "x"
	require.Len(t, keys(c), len(old)+3)
}

// Every setting comes back from the file.
func TestConfigRoundTrip(t *testing.T) {
	for name, c := range map[string]Config{
		"default": DefaultConfig(),
		"names": {Rank: 3, Alpha: 1.5, Dropout: 0.25, TargetModules: []string{"a", "b"}, ExcludeModules: []string{"c"},
			LayersToTransform: []int{1, 2}, LayersPattern: []string{"h"}, RankPattern: map[string]int{"a": 2}, AlphaPattern: map[string]float64{"b<": 0.5},
			UseRSLoRA: true, UseDoRA: true, BaseModelNameOrPath: "x/y", Revision: "main"},
		"patterns": {Rank: 1, Alpha: 1, TargetPattern: ".*", ExcludePattern: "x&y"},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, c.Validate())
			path := filepath.Join(t.TempDir(), ConfigFile)
			require.NoError(t, writeConfig(path, c))
			got, _, err := readConfig(path)
			require.NoError(t, err)
			require.Empty(t, cmp.Diff(c, got, cmpopts.EquateEmpty()))
		})
	}
}

// No configuration file makes the reader fail, and what it accepts is valid and
// comes back from a file of ours.
func FuzzReadConfig(f *testing.F) {
	f.Add([]byte(`{` + minimal + `}`))
	f.Add([]byte(`{` + minimal + `,"rank_pattern":{"a":1,"b":2},"layers_to_transform":3,"layers_pattern":"h","target_modules":"x"}`))
	f.Add([]byte(`{` + minimal + `,"init_lora_weights":"pissa","modules_to_save":["x"]}`))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text []byte) {
		path := filepath.Join(dir, ConfigFile)
		if err := os.WriteFile(path, text, 0o666); err != nil {
			t.Fatal(err)
		}
		c, _, err := readConfig(path)
		if err != nil {
			return
		}
		if err := c.Validate(); err != nil {
			t.Fatalf("accepted %s: %v", text, err)
		}
		if err := writeConfig(path, c); err != nil {
			t.Fatal(err)
		}
		if _, _, err := readConfig(path); err != nil {
			t.Fatalf("%s was accepted, but not again: %v", text, err)
		}
	})
}
