package lora

import (
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dlclark/regexp2"
)

// Matches reports whether the linear layer called module carries an adapter.
//
// The name is the one in the base model's files without ".weight", such as
// "model.layers.0.self_attn.q_proj". The rules are PEFT's, in this order:
// excluded modules never match; a pattern must match the whole name; a listed
// name must equal the module name or its last segments, and, unless it equals
// it, the layer index must be among LayersToTransform. "all-linear" matches
// every name but those ending in lm_head and embed_tokens.
//
// A pattern that Validate refuses matches nothing.
func (c Config) Matches(module string) bool {
	if named(c.ExcludeModules, module) || c.ExcludePattern != "" && fullMatch(c.ExcludePattern, module) {
		return false
	}
	if strings.EqualFold(c.TargetPattern, allLinear) {
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

// rankOf returns the rank of the adapter on module: the value of the first key
// of RankPattern that matches, or Rank.
func (c Config) rankOf(module string) int {
	return patternValue(c.RankPattern, sortedKeys(c.RankPattern), module, c.Rank)
}

// alphaOf returns the alpha of the adapter on module: the value of the first
// key of AlphaPattern that matches, or Alpha.
func (c Config) alphaOf(module string) float64 {
	return patternValue(c.AlphaPattern, sortedKeys(c.AlphaPattern), module, c.Alpha)
}

// ScaleOf returns the factor of B*A on module: alpha/rank of the module, or
// alpha/sqrt(rank) with UseRSLoRA.
//
// Source: Hu et al. 2021, arXiv:2106.09685, section 4.1; Kalajdzievski 2023,
// arXiv:2312.03732.
func (c Config) ScaleOf(module string) float64 {
	r := float64(c.rankOf(module))
	if c.UseRSLoRA {
		r = math.Sqrt(r)
	}
	return c.alphaOf(module) / r
}

// anyLayer finds the layer index of a module name: the first segment of digits
// that has two segments before it and one behind.
const anyLayer = `^.*?\.[^.]*\.(?P<idx>\d+)\.`

// inLayers reports whether the layer index in a module name is among
// LayersToTransform; a name without one is not.
func (c Config) inLayers(module string) bool {
	if len(c.LayersToTransform) == 0 {
		return true
	}
	patterns := []string{anyLayer}
	if len(c.LayersPattern) > 0 {
		patterns = patterns[:0]
	}
	for _, p := range c.LayersPattern {
		patterns = append(patterns, `^(?:|.*?\.)(?:`+p+`)\.(?P<idx>\d+)\.`)
	}
	for _, p := range patterns {
		if idx, ok := match(p, module); ok {
			layer, err := strconv.Atoi(idx)
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
	_, ok := match(`\A(?:`+pattern+`)\z`, s)
	return ok
}

// match reports whether a pattern of Python's re matches in s, and what its group
// idx is. Those that Go's regexp knows are its business; lookaround and
// backreferences are not, and one with them that takes longer than a second matches
// nothing.
func match(pattern, s string) (idx string, ok bool) {
	if re, err := regexp.Compile(pattern); err == nil {
		m, at := re.FindStringSubmatch(s), re.SubexpIndex("idx")
		if m != nil && at >= 0 {
			idx = m[at]
		}
		return idx, m != nil
	}
	re, err := regexp2.Compile(pattern, regexp2.RE2) // with Python's (?P<name>
	if err != nil {
		return "", false
	}
	re.MatchTimeout = time.Second
	m, err := re.FindStringMatch(s)
	if err != nil || m == nil {
		return "", false
	}
	if g := m.GroupByName("idx"); g != nil {
		idx = g.String()
	}
	return idx, true
}

// checkPattern reports what is no regular expression, or means something else in
// Python, where it was written.
func checkPattern(pattern string) error {
	if _, err := regexp2.Compile(pattern, regexp2.RE2); err != nil {
		return fmt.Errorf("%q is not a regular expression: %s", pattern, strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
	if strings.Contains(pattern, "{,") {
		return fmt.Errorf(`%q: "{,n}" is a repetition only in Python, want "{0,n}"`, pattern)
	}
	return nil
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
