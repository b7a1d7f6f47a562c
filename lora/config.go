package lora

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
)

// Causes a caller can test for with errors.Is on an error about a Config.
var (
	// ErrConfig reports a setting that no adapter can have.
	ErrConfig = errors.New("invalid setting")
	// ErrUnsupported reports a setting, or a tensor, of an adapter file whose
	// mathematics this package does not implement.
	ErrUnsupported = errors.New("not supported")
)

// A ConfigError is one fault of a Config or of an adapter_config.json.
type ConfigError struct {
	File string // the file it was read from, empty for a Config made in memory
	Key  string // the key as adapter_config.json spells it
	Err  error  // wraps ErrConfig or ErrUnsupported
}

// Error returns the place and the fault.
func (e *ConfigError) Error() string {
	if e.File == "" {
		return fmt.Sprintf("lora: config: %s: %v", e.Key, e.Err)
	}
	return fmt.Sprintf("lora: %s: %s: %v", e.File, e.Key, e.Err)
}

// Unwrap returns e.Err.
func (e *ConfigError) Unwrap() error { return e.Err }

// AllLinear as Config.TargetPattern selects every linear layer but the output
// head.
const AllLinear = "all-linear"

// Config says which linear layers carry an adapter, and how large and how
// strong it is. It holds the keys of PEFT's adapter_config.json that change
// the mathematics; a zero field means zero, so start from [DefaultConfig].
//
// For a layer with weight W [out, in] the adapter holds A [R, in] and
// B [out, R], and the layer computes with W + scale*B*A, where scale is
// Alpha/R, or Alpha/sqrt(R) with UseRSLoRA.
type Config struct {
	// Rank is R, the inner size of each pair, at least 1 ("r").
	Rank int
	// Alpha is the numerator of the scale, finite and above 0 ("lora_alpha").
	Alpha float64
	// Dropout is the probability, in [0, 1), with which an input of A is
	// zeroed while training ("lora_dropout").
	Dropout float64

	// TargetModules names the layers to adapt: a whole module name, or its last
	// segments ("q_proj", "self_attn.q_proj"). Exactly one of TargetModules and
	// TargetPattern is set ("target_modules").
	TargetModules []string
	// TargetPattern is a regular expression that must match the whole module
	// name, or [AllLinear] in any case ("target_modules" as a string).
	TargetPattern string
	// ExcludeModules names layers to leave alone, as TargetModules names them;
	// at most one of it and ExcludePattern is set ("exclude_modules").
	ExcludeModules []string
	// ExcludePattern is a regular expression that must match the whole module
	// name ("exclude_modules" as a string).
	ExcludePattern string
	// LayersToTransform keeps only layers with these indices, empty for all. It
	// does not limit a module that TargetModules names in full, and cannot be
	// used with TargetPattern ("layers_to_transform").
	LayersToTransform []int
	// LayersPattern are regular expressions for the segment before the layer
	// index, empty for any; needs LayersToTransform ("layers_pattern").
	LayersPattern []string

	// RankPattern gives other ranks to some layers. A key is a regular
	// expression for the last segments of a module name; where several match,
	// the first in sorted order counts, which is the order PEFT writes
	// ("rank_pattern").
	RankPattern map[string]int
	// AlphaPattern gives other alphas, with keys as in RankPattern
	// ("alpha_pattern").
	AlphaPattern map[string]float64

	// UseRSLoRA divides Alpha by sqrt(R) instead of R ("use_rslora").
	UseRSLoRA bool
	// UseDoRA adds a trained magnitude per output row ("use_dora").
	UseDoRA bool

	// BaseModelNameOrPath is the model the adapter was trained on, a hub id or a
	// directory; it is information only ("base_model_name_or_path").
	BaseModelNameOrPath string
	// Revision is the hub revision of the base, empty if none ("revision").
	Revision string
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

// Validate reports every setting that no adapter can have, each as a
// [ConfigError] wrapping [ErrConfig], joined; nil if there is none.
func (c Config) Validate() error { return c.validate("") }

// validate is Validate for a Config that was read from file.
func (c Config) validate(file string) error {
	var faults []error
	fault := func(key, format string, args ...any) {
		err := fmt.Errorf("%w: %s", ErrConfig, fmt.Sprintf(format, args...))
		faults = append(faults, &ConfigError{File: file, Key: key, Err: err})
	}
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
	return errors.Join(faults...)
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
	if slices.Contains(c.TargetModules, AllLinear) {
		fault("target_modules", "%q among the names, want it as the pattern", AllLinear)
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
