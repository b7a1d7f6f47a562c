package lora

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/impulse-salamandra/finetune/internal/faults"
	"github.com/impulse-salamandra/finetune/lora/internal/update"
)

// CombineOptions says which adapters become one.
type CombineOptions struct {
	// Adapters are the adapters and their weights, at least one.
	Adapters []WeightedAdapter
	// Method is MethodCat, MethodSVD, or MethodLinear (also if empty), which
	// here is the same as MethodCat. The updates of the others have full rank,
	// which no adapter can hold: merge them.
	Method MergeMethod
	// Rank is the highest rank of the result with MethodSVD, 0 with others.
	Rank int
}

// Combine returns an adapter whose update is the weighted sum of the updates
// of several, without a base at hand, as [MergeMethod] defines it.
//
// With MethodCat it is that sum exactly, but for one rounding of B: ranks are
// put side by side, and add up. With MethodSVD it is the nearest of the rank
// asked for; where the sum has no more than that, it is the sum up to rounding.
//
// The result has scale 1 everywhere, no dropout, and names its modules in full.
// It fails for adapters of different bases, and as [ReadAdapter]
// does.
func Combine(ctx context.Context, opts CombineOptions) (*Adapter, error) {
	if opts.Method == "" {
		opts.Method = MethodLinear
	}
	list := faults.List{Subject: "combine"}
	option := func(format string, args ...any) { list.Join(faults.Caused(errOption, format, args...)) }
	if len(opts.Adapters) == 0 {
		option("want at least one adapter")
	}
	checkMethod(option, opts.Adapters, opts.Method, opts.Rank)
	if opts.Method == MethodTIES || opts.Method == MethodDARE {
		option("the update of method %s has full rank; merge the adapters instead", opts.Method)
	}
	if err := list.Err(); err != nil {
		return nil, err
	}
	adapters, err := readAdapters(opts.Adapters, opts.Method)
	if err != nil {
		return nil, err
	}
	for _, a := range adapters {
		if a.Config.UseDoRA {
			option("%s is a DoRA adapter, whose update depends on the base", a.Dir)
		}
		first := adapters[0].Config.BaseModelNameOrPath
		if name := a.Config.BaseModelNameOrPath; lastPath(name) != lastPath(first) {
			option("%s was trained on %q, %s on %q", a.Dir, name, opts.Adapters[0].Dir, first)
		}
	}
	if err := list.Err(); err != nil {
		return nil, err
	}
	return combine(ctx, adapters, opts)
}

// lastPath returns the last segment of a hub id or directory.
func lastPath(name string) string {
	name = strings.TrimRight(name, `/\`)
	return name[strings.LastIndexAny(name, `/\`)+1:]
}

// combine builds the adapter.
func combine(ctx context.Context, adapters []weightedAdapter, opts CombineOptions) (*Adapter, error) {
	result := &Adapter{Config: Config{
		BaseModelNameOrPath: adapters[0].Config.BaseModelNameOrPath,
		Revision:            adapters[0].Config.Revision,
	}}
	byTensor := collect(adapters)
	for _, tensor := range sortedKeys(byTensor) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		parts := byTensor[tensor]
		for _, p := range parts[1:] {
			if p.In != parts[0].In || p.Out != parts[0].Out {
				return nil, fmt.Errorf("lora: combine: %s: %w: [%d %d] and [%d %d]", p.Name, errShape, parts[0].Out, parts[0].In, p.Out, p.In)
			}
		}
		module := update.Concatenate(parts)
		if opts.Method == MethodSVD {
			module = update.Nearest(parts, opts.Rank)
		}
		result.Modules = append(result.Modules, Module(module))
		result.Config.Rank = max(result.Config.Rank, module.Rank)
	}
	result.setScale()
	return result, nil
}

// setScale makes the settings fit the modules: their names, their ranks, and
// scale 1 for all.
func (a *Adapter) setScale() {
	c := &a.Config
	c.Alpha = float64(c.Rank)
	for _, m := range a.Modules {
		c.TargetModules = append(c.TargetModules, m.Name)
		if m.Rank == c.Rank {
			continue
		}
		if c.RankPattern == nil {
			c.RankPattern, c.AlphaPattern = map[string]int{}, map[string]float64{}
		}
		key := regexp.QuoteMeta(m.Name)
		c.RankPattern[key], c.AlphaPattern[key] = m.Rank, float64(m.Rank)
	}
}
