package lora

import (
	"encoding/json"
	"errors"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/internal/faults"
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
		{"all-linear as a name", func(c *Config) { c.TargetModules = []string{allLinear} }, "target_modules", "it is a pattern"},
		{"bad pattern", func(c *Config) { c.TargetModules, c.TargetPattern = nil, "(" }, "target_modules", "does not compile"},
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
			require.ErrorIs(t, err, errConfig, test.reason)
			require.Contains(t, faultsAt(err, "adapter"), test.key)
		})
	}
	require.Len(t, faultsAt(Config{}.Validate(), "adapter"), 3, "all at once: rank, alpha, targets")
}

// faultsAt returns the faults of an error by their places, which are within subject.
func faultsAt(err error, subject string) map[string]error {
	list := []error{err}
	if several := new(faults.Error); errors.As(err, &several) {
		list = several.Unwrap()
	}
	at := map[string]error{}
	for _, err := range list {
		if f := new(faults.Fault); errors.As(err, &f) {
			at[strings.TrimPrefix(strings.TrimPrefix(f.Place, subject), ": ")] = f.Err
		}
	}
	return at
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
			c, _, _, err := readConfig(path)
			require.NoError(t, err)
			got := map[string]adapted{}
			for _, module := range golden.Linear {
				if c.Matches(module) {
					got[module] = adapted{c.rankOf(module), c.alphaOf(module), c.ScaleOf(module)}
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
		{"no JSON", `{`, []string{"line 1, column 2"}, errConfig},
		{"no object", `[]`, []string{""}, errConfig},
		{"empty", `{}`, []string{"peft_type", "r", "lora_alpha"}, errConfig},
		{"other method", `{"peft_type":"IA3","r":8,"lora_alpha":16,"target_modules":["q_proj"]}`, []string{"peft_type"}, errUnsupported},
		{"other task", `{` + minimal + `,"task_type":"SEQ_CLS"}`, []string{"task_type"}, errUnsupported},
		{"rank is text", `{"peft_type":"LORA","r":"8","lora_alpha":16,"target_modules":["q_proj"]}`, []string{"r"}, errConfig},
		{"targets are numbers", `{"peft_type":"LORA","r":8,"lora_alpha":16,"target_modules":[1]}`, []string{"target_modules"}, errConfig},
		{"targets are null", `{"peft_type":"LORA","r":8,"lora_alpha":16,"target_modules":null}`, []string{"target_modules"}, errConfig},
		{"rank invalid", `{"peft_type":"LORA","r":-8,"lora_alpha":16,"target_modules":["q_proj"]}`, []string{"r"}, errConfig},
		{"layers are text", `{` + minimal + `,"layers_to_transform":"0"}`, []string{"layers_to_transform"}, errConfig},
		{"pattern is a list", `{` + minimal + `,"rank_pattern":[1]}`, []string{"rank_pattern"}, errConfig},
		{"biases", `{` + minimal + `,"bias":"some"}`, []string{"bias"}, errUnsupported},
		{"everything unsupported", `{` + minimal + `,
			"alora_invocation_tokens":[1],"arrow_config":{"top_k":1},"ensure_weight_tying":true,
			"kasa_config":{"beta":1},"layer_replication":[[0,1]],"lora_bias":true,"megatron_config":{"a":1},"modules_to_save":["lm_head"],
			"monteclora_config":{"a":1},"target_parameters":["x"],"trainable_token_indices":[1],"use_bdlora":{"nblocks":2},"use_qalora":true,
			"velora_config":{"num_groups":2},"init_lora_weights":"pissa"}`,
			[]string{"alora_invocation_tokens", "arrow_config", "ensure_weight_tying", "init_lora_weights",
				"kasa_config", "layer_replication", "lora_bias", "megatron_config", "modules_to_save", "monteclora_config",
				"target_parameters", "trainable_token_indices", "use_bdlora", "use_qalora", "velora_config"}, errUnsupported},
		{"initialised from the base", `{` + minimal + `,"init_lora_weights":"pissa_niter_4"}`, []string{"init_lora_weights"}, errUnsupported},
		{"LoftQ", `{` + minimal + `,"init_lora_weights":"loftq","loftq_config":{"loftq_bits":4}}`, []string{"init_lora_weights"}, errUnsupported},
		{"of a later version", `{` + minimal + `,"use_wonder":true,"wonder_config":{"a":1}}`, []string{"use_wonder", "wonder_config"}, errUnsupported},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), ConfigFile)
			require.NoError(t, os.WriteFile(path, []byte(test.text), 0o666))
			_, _, _, err := readConfig(path)
			require.ErrorIs(t, err, test.want)
			require.ErrorContains(t, err, path)
			keys := slices.Sorted(maps.Keys(faultsAt(err, path)))
			slices.Sort(test.keys)
			require.Equal(t, test.keys, keys, "every fault, and no other")
		})
	}
}

func TestReadConfigIgnores(t *testing.T) {
	path := filepath.Join(t.TempDir(), ConfigFile)
	text := `{` + minimal + `,"auto_mapping":{"parent_library":"x"},"inference_mode":true,"peft_version":"9.9",
		"qalora_group_size":16,"megatron_core":"megatron.core","loftq_config":{"a":1},"use_wonder":false,"wonder_config":null,
		"bias":"lora_only","fan_in_fan_out":true,"modules_to_save":[ ],"init_lora_weights":"gaussian","task_type":null}`
	require.NoError(t, os.WriteFile(path, []byte(text), 0o666))
	got, _, _, err := readConfig(path)
	require.NoError(t, err)
	require.Equal(t, Config{Rank: 8, Alpha: 16, TargetModules: []string{"q_proj"}}, got)
}

// TestReadConfigOfMLX: another program's file of the same name is called what it is.
func TestReadConfigOfMLX(t *testing.T) {
	path := filepath.Join(t.TempDir(), ConfigFile)
	text := `{"fine_tune_type": "lora", "num_layers": 16, "lora_parameters": {"rank": 8, "scale": 20.0, "dropout": 0.0}}`
	require.NoError(t, os.WriteFile(path, []byte(text), 0o666))
	_, _, _, err := readConfig(path)
	require.EqualError(t, err, path+" is of an adapter of MLX, which is not read: fuse it into its base with mlx_lm.fuse")
}

// TestReadConfigLeavesAside: a key that nobody knows and that is no switch changes
// nothing, as in PEFT, with a warning; what a message quotes is on one line.
func TestReadConfigLeavesAside(t *testing.T) {
	path := filepath.Join(t.TempDir(), ConfigFile)
	text := `{` + minimal + `,"lorap_emb_lr":1e-06,"group_size":16,"note":"x","layers":[1]}`
	require.NoError(t, os.WriteFile(path, []byte(text), 0o666))
	got, _, warnings, err := readConfig(path)
	require.NoError(t, err)
	require.Equal(t, Config{Rank: 8, Alpha: 16, TargetModules: []string{"q_proj"}}, got)
	require.Equal(t, []string{path + ": left aside, as PEFT does: unknown group_size, note, layers"}, warnings)
	require.NoError(t, os.WriteFile(path, []byte("{"+minimal+",\"modules_to_save\":[\n  \"lm_head\",\n  \"x\"\n]}"), 0o666))
	_, _, _, err = readConfig(path)
	require.ErrorContains(t, err, `modules_to_save: [ "lm_head", "x" ] is not supported`)
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
			got, _, _, err := readConfig(path)
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
		c, _, _, err := readConfig(path)
		if err != nil {
			return
		}
		if err := c.Validate(); err != nil {
			t.Fatalf("accepted %s: %v", text, err)
		}
		if err := writeConfig(path, c); err != nil {
			t.Fatal(err)
		}
		if _, _, _, err := readConfig(path); err != nil {
			t.Fatalf("%s was accepted, but not again: %v", text, err)
		}
	})
}
