package lora

import (
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Matches reports whether the linear layer called module carries an adapter.
//
// The name is the one in the base model's files without ".weight", such as
// "model.layers.0.self_attn.q_proj". The rules are PEFT's, in this order:
// excluded modules never match; a pattern must match the whole name; a listed
// name must equal the module name or its last segments, and, unless it equals
// it, the layer index must be among LayersToTransform. [AllLinear] matches
// every name but those ending in lm_head and embed_tokens.
//
// A pattern that Validate refuses matches nothing.
func (c Config) Matches(module string) bool {
	if named(c.ExcludeModules, module) || c.ExcludePattern != "" && fullMatch(c.ExcludePattern, module) {
		return false
	}
	if strings.EqualFold(c.TargetPattern, AllLinear) {
		kind := lastSegment(module)
		return kind != "lm_head" && kind != "embed_tokens"
	}
	if c.TargetPattern != "" {
		return fullMatch(c.TargetPattern, module)
	}
	if slices.Contains(c.TargetModules, module) {
		return true
	}
	return named(c.TargetModules, module) && c.inLayers(module)
}

// RankOf returns the rank of the adapter on module: the value of the first key
// of RankPattern that matches, or Rank.
func (c Config) RankOf(module string) int {
	return patternValue(c.RankPattern, sortedKeys(c.RankPattern), module, c.Rank)
}

// AlphaOf returns the alpha of the adapter on module: the value of the first
// key of AlphaPattern that matches, or Alpha.
func (c Config) AlphaOf(module string) float64 {
	return patternValue(c.AlphaPattern, sortedKeys(c.AlphaPattern), module, c.Alpha)
}

// ScaleOf returns the factor of B*A on module: AlphaOf/RankOf, or
// AlphaOf/sqrt(RankOf) with UseRSLoRA.
//
// Source: Hu et al. 2021, arXiv:2106.09685, section 4.1; Kalajdzievski 2023,
// arXiv:2312.03732.
func (c Config) ScaleOf(module string) float64 {
	r := float64(c.RankOf(module))
	if c.UseRSLoRA {
		r = math.Sqrt(r)
	}
	return c.AlphaOf(module) / r
}

// anyLayer finds the layer index of a module name: the first segment of digits
// that has two segments before it and one behind.
var anyLayer = regexp.MustCompile(`^.*?\.[^.]*\.(\d+)\.`)

// inLayers reports whether the layer index in a module name is among
// LayersToTransform; a name without one is not.
func (c Config) inLayers(module string) bool {
	if len(c.LayersToTransform) == 0 {
		return true
	}
	patterns := []*regexp.Regexp{anyLayer}
	if len(c.LayersPattern) > 0 {
		patterns = patterns[:0]
	}
	for _, p := range c.LayersPattern {
		re, err := regexp.Compile(`^(?:|.*?\.)(?:` + p + `)\.(?P<idx>\d+)\.`)
		if err != nil {
			return false
		}
		patterns = append(patterns, re)
	}
	for _, re := range patterns {
		if m := re.FindStringSubmatch(module); m != nil {
			layer, err := strconv.Atoi(m[len(m)-1])
			return err == nil && slices.Contains(c.LayersToTransform, layer)
		}
	}
	return false
}

// named reports whether module equals one of names or ends in "." and it.
func named(names []string, module string) bool {
	return slices.ContainsFunc(names, func(name string) bool {
		return module == name || strings.HasSuffix(module, "."+name)
	})
}

// patternValue returns the value of the first of keys that matches the last
// segments of module, or otherwise.
func patternValue[V any](values map[string]V, keys []string, module string, otherwise V) V {
	for _, key := range keys {
		if fullMatch(`(?:.*\.)?(?:`+key+`)`, module) {
			return values[key]
		}
	}
	return otherwise
}

// fullMatch reports whether pattern matches all of s.
func fullMatch(pattern, s string) bool {
	re, err := regexp.Compile(`^(?:` + pattern + `)$`)
	return err == nil && re.MatchString(s)
}

// checkPattern reports a regular expression that Go cannot compile, or that
// means one thing to Go and another to Python, which wrote it.
func checkPattern(pattern string) error {
	if _, err := regexp.Compile(pattern); err != nil {
		return fmt.Errorf("%q is not a regular expression Go knows (no lookaround, no backreferences): %w", pattern, err)
	}
	if strings.Contains(pattern, "{,") {
		return fmt.Errorf(`%q: "{,n}" is literal text in Go and a repetition in Python, want "{0,n}"`, pattern)
	}
	return nil
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
