package lora

import (
	"errors"
	"math"
	"slices"
	"strings"

	"github.com/impulse-salamandra/finetune/internal/faults"
)

// Causes a caller can test for with errors.Is on an error about a Config.
var (
	// errConfig reports a setting that no adapter can have.
	errConfig = errors.New("invalid setting")
	// errUnsupported reports a setting, or a tensor, of an adapter file whose
	// mathematics this package does not implement.
	errUnsupported = errors.New("not supported")
)

// allLinear as Config.TargetPattern selects every linear layer but the output
// head.
const allLinear = "all-linear"

// Config says which linear layers carry an adapter, and how large and how
// strong it is. It holds the keys of PEFT's adapter_config.json that change
// the mathematics; a zero field means zero, so start from [DefaultConfig].
//
// For a layer with weight W [out, in] the adapter holds A [R, in] and
// B [out, R], and the layer computes with W + scale*B*A, where scale is
// Alpha/R, or Alpha/sqrt(R) with UseRSLoRA.
type Config struct {
	// Rank is R, the inner size of each pair, at least 1 ("r").
	Rank int `json:"r"`
	// Alpha is the numerator of the scale, finite and above 0 ("lora_alpha").
	Alpha float64 `json:"lora_alpha"`
	// Dropout is the probability, in [0, 1), with which an input of A is
	// zeroed while training ("lora_dropout").
	Dropout float64 `json:"lora_dropout"`

	// TargetModules names the layers to adapt: a whole module name, or its last
	// segments ("q_proj", "self_attn.q_proj"). Exactly one of TargetModules and
	// TargetPattern is set ("target_modules").
	TargetModules []string `json:"target_modules"`
	// TargetPattern is a regular expression that must match the whole module
	// name, or "all-linear" in any case ("target_modules" as a string).
	TargetPattern string `json:"target_pattern"`
	// ExcludeModules names layers to leave alone, as TargetModules names them;
	// at most one of it and ExcludePattern is set ("exclude_modules").
	ExcludeModules []string `json:"exclude_modules"`
	// ExcludePattern is a regular expression that must match the whole module
	// name ("exclude_modules" as a string).
	ExcludePattern string `json:"exclude_pattern"`
	// LayersToTransform keeps only layers with these indices, empty for all. It
	// does not limit a module that TargetModules names in full, and cannot be
	// used with TargetPattern ("layers_to_transform").
	LayersToTransform []int `json:"layers_to_transform"`
	// LayersPattern are regular expressions for the segment before the layer
	// index, empty for any; needs LayersToTransform ("layers_pattern").
	LayersPattern []string `json:"layers_pattern"`

	// RankPattern gives other ranks to some layers. A key is a regular
	// expression for the last segments of a module name; where several match,
	// the first in sorted order counts, which is the order PEFT writes
	// ("rank_pattern").
	RankPattern map[string]int `json:"rank_pattern"`
	// AlphaPattern gives other alphas, with keys as in RankPattern
	// ("alpha_pattern").
	AlphaPattern map[string]float64 `json:"alpha_pattern"`

	// UseRSLoRA divides Alpha by sqrt(R) instead of R ("use_rslora").
	UseRSLoRA bool `json:"use_rslora"`
	// UseDoRA adds a trained magnitude per output row ("use_dora").
	UseDoRA bool `json:"use_dora"`

	// BaseModelNameOrPath is the model the adapter was trained on, a hub id or a
	// directory; it is information only ("base_model_name_or_path").
	BaseModelNameOrPath string `json:"base_model_name_or_path"`
	// Revision is the hub revision of the base, empty if none ("revision").
	Revision string `json:"revision"`
}

// DefaultConfig returns rank 16, alpha 32 and dropout 0.05 on the seven linear
// layers of each Llama block.
func DefaultConfig() Config {
	return Config{
		Rank:    16,
		Alpha:   32,
		Dropout: 0.05,
		TargetModules: []string{
			"q_proj", "k_proj", "v_proj", "o_proj",
			"gate_proj", "up_proj", "down_proj",
		},
	}
}

// Validate reports every setting that no adapter can have, by its key in
// adapter_config.json; nil if there is none.
func (c Config) Validate() error {
	list := faults.List{Subject: "adapter"}
	c.validate(&list)
	return list.Err()
}

// validate adds to list what Validate reports.
func (c Config) validate(list *faults.List) {
	fault := func(key, format string, args ...any) { list.Add(key, faults.Caused(errConfig, format, args...)) }
	if c.Rank < 1 {
		fault("r", "%d, want at least 1", c.Rank)
	}
	if !positive(c.Alpha) {
		fault("lora_alpha", "%v, want a finite number above 0", c.Alpha)
	}
	if !(c.Dropout >= 0 && c.Dropout < 1) {
		fault("lora_dropout", "%v, want a number in [0, 1)", c.Dropout)
	}
	c.validateSelection(fault)
	for _, key := range sortedKeys(c.RankPattern) {
		if err := checkPattern(key); err != nil {
			fault("rank_pattern", "%v", err)
		}
		if r := c.RankPattern[key]; r < 1 {
			fault("rank_pattern", "%q: %d, want at least 1", key, r)
		}
	}
	for _, key := range sortedKeys(c.AlphaPattern) {
		if err := checkPattern(key); err != nil {
			fault("alpha_pattern", "%v", err)
		}
		if a := c.AlphaPattern[key]; !positive(a) {
			fault("alpha_pattern", "%q: %v, want a finite number above 0", key, a)
		}
	}
}

// validateSelection checks the fields that choose modules.
func (c Config) validateSelection(fault func(key, format string, args ...any)) {
	switch {
	case len(c.TargetModules) == 0 && c.TargetPattern == "":
		fault("target_modules", "none, want names or a pattern")
	case len(c.TargetModules) > 0 && c.TargetPattern != "":
		fault("target_modules", "both names and a pattern, want one of them")
	case c.TargetPattern != "" && len(c.LayersToTransform) > 0:
		fault("layers_to_transform", "cannot be used with a target pattern; put the layers into the pattern")
	}
	if len(c.ExcludeModules) > 0 && c.ExcludePattern != "" {
		fault("exclude_modules", "both names and a pattern, want one of them")
	}
	if slices.Contains(c.TargetModules, "") {
		fault("target_modules", "an empty name")
	}
	if slices.Contains(c.TargetModules, allLinear) {
		fault("target_modules", "%q among the names, want it as the pattern", allLinear)
	}
	if slices.Contains(c.ExcludeModules, "") {
		fault("exclude_modules", "an empty name")
	}
	if err := checkPattern(c.TargetPattern); err != nil {
		fault("target_modules", "%v", err)
	}
	if err := checkPattern(c.ExcludePattern); err != nil {
		fault("exclude_modules", "%v", err)
	}
	for _, i := range c.LayersToTransform {
		if i < 0 {
			fault("layers_to_transform", "layer %d, want 0 or more", i)
		}
	}
	if len(c.LayersPattern) > 0 && len(c.LayersToTransform) == 0 {
		fault("layers_pattern", "set without layers_to_transform")
	}
	for _, p := range c.LayersPattern {
		if err := checkPattern(p); err != nil {
			fault("layers_pattern", "%v", err)
		}
	}
}

// positive reports whether v is a finite number above zero.
func positive(v float64) bool { return v > 0 && !math.IsInf(v, 1) }

// lastSegment returns the part of a module name after its last dot, the kind
// of the module.
func lastSegment(module string) string {
	return module[strings.LastIndexByte(module, '.')+1:]
}
