package generate

import (
	"slices"

	"github.com/gomlx/gomlx/core/tensors"

	"github.com/impulse-salamandra/finetune/salamandra"
)

// variant is an adapter and what was computed with it. All but adapter belongs to
// the engine.
type variant struct {
	adapter salamandra.Adapter
	rows    int       // requests under way
	kept    []*prefix // the prefix cache, the most recently used first
	warm    [][]int32 // prefixes asked for and not computed yet
	recent  [][]int32 // prompts, the last one last
	ngrams  ngrams
}

// recentPrompts is how many prompts are remembered to find what they share.
const recentPrompts = 8

// prefix is tokens with their keys and values.
type prefix struct {
	ids     []int32
	places  int               // P, len(ids) rounded up
	tensors []*tensors.Tensor // two per layer, [K, 1, P, D]; none where the host has them
	kv      *stretch
	bytes   int64
	rows    int // requests under way that begin with it
}

// prefixStep is how many tokens a prefix that was not asked for adds at least to
// what is kept.
const prefixStep = 64

// begins reports whether a prompt begins with ids and has at least one token more.
func begins(prompt, ids []int32) bool {
	return len(prompt) > len(ids) && slices.Equal(prompt[:len(ids)], ids)
}

// common counts the tokens that both begin with.
func common(a, b []int32) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}

// longest returns the longest prefix of the cache that a prompt begins with, of at
// least so many places, nil for none, and marks it as used.
func (v *variant) longest(prompt []int32, places int) *prefix {
	at := -1
	for i, p := range v.kept {
		if p.places >= places && begins(prompt, p.ids) && (at < 0 || len(p.ids) > len(v.kept[at].ids)) {
			at = i
		}
	}
	if at < 0 {
		return nil
	}
	p := v.kept[at]
	v.kept = slices.Insert(slices.Delete(v.kept, at, at+1), 0, p)
	return p
}

// prefixOf returns the prefix that a prompt is computed behind, nil for none. It
// computes one that was asked for when a prompt first begins with it, and one
// that is worth it when a prompt shares it with a recent one.
func (g *Generator) prefixOf(v *variant, prompt []int32) (*prefix, error) {
	for i, ids := range v.warm {
		if begins(prompt, ids) {
			v.warm = slices.Delete(v.warm, i, i+1)
			if err := g.keep(v, ids); err != nil {
				return nil, err
			}
			break
		}
	}
	shared := 0
	for _, old := range v.recent {
		shared = max(shared, common(old, prompt[:len(prompt)-1]))
	}
	v.recent = append(v.recent[max(0, len(v.recent)-recentPrompts+1):], prompt)
	if err := g.share(v, prompt[:shared+1], prefixStep); err != nil {
		return nil, err
	}
	return v.longest(prompt, g.prefixPlaces), nil
}

// share keeps what prompts have in common, all but the last of these ids, if that
// is at least so many tokens more than is kept already, and only as many as
// programs compiled ahead of time have places for.
func (g *Generator) share(v *variant, ids []int32, least int) error {
	kept, shared := 0, ids[:len(ids)-1]
	if g.prefixPlaces >= 0 {
		shared = shared[:min(len(shared), g.prefixPlaces)]
	}
	if best := v.longest(ids, g.prefixPlaces); best != nil {
		kept = len(best.ids)
	}
	if len(shared) < kept+least {
		return nil
	}
	return g.keep(v, shared)
}

// keep computes a prefix and adds it to the cache, from which the least recently
// used are dropped until it holds no more than PrefixBytes, or only this one.
func (g *Generator) keep(v *variant, ids []int32) error {
	if slices.ContainsFunc(v.kept, func(p *prefix) bool { return p.places >= g.prefixPlaces && slices.Equal(p.ids, ids) }) {
		return nil
	}
	p, err := g.computePrefix(v, ids)
	if err != nil {
		return err
	}
	v.kept = slices.Insert(v.kept, 0, p)
	v.ngrams.learnFrom(ids, 0)
	total := int64(0)
	v.kept = slices.DeleteFunc(v.kept, func(old *prefix) bool {
		total += old.bytes
		if old == p || old.rows > 0 || total <= g.PrefixBytes && old.places >= g.prefixPlaces {
			return false
		}
		total -= old.bytes
		finalize(old.tensors)
		return true
	})
	return nil
}

// fixPrefixes pads all prefixes to the length of the longest asked for, and
// computes again those that have fewer places.
func (g *Generator) fixPrefixes(v *variant) error {
	g.mu.Lock()
	warmed, places := slices.Clone(g.warmed), max(g.prefixPlaces, 0)
	for _, ids := range warmed {
		places = max(places, g.buckets(v).prefixPlaces(len(ids)))
	}
	g.prefixPlaces = places
	g.mu.Unlock()
	v.warm = nil
	for _, ids := range warmed {
		if err := g.keep(v, ids); err != nil {
			return err
		}
	}
	return nil
}

// filler returns a prefix for a step whose rows have none: programs compiled ahead
// of time take one, which no row attends to. It is nil where there need be none.
func (g *Generator) filler(v *variant) (*prefix, error) {
	if g.prefixPlaces <= 0 {
		return nil, nil
	}
	if len(v.kept) == 0 && len(v.warm) > 0 {
		ids := v.warm[0]
		v.warm = v.warm[1:]
		if err := g.keep(v, ids); err != nil {
			return nil, err
		}
	}
	i := slices.IndexFunc(v.kept, func(p *prefix) bool { return p.places >= g.prefixPlaces })
	if i < 0 {
		return nil, nil
	}
	return v.kept[i], nil
}

// computePrefix runs a prefix through the model.
func (g *Generator) computePrefix(v *variant, ids []int32) (*prefix, error) {
	places := g.buckets(v).prefixPlaces(len(ids))
	out, err := g.programs.runPrefix(v.adapter, ids, places)
	if err != nil {
		return nil, err
	}
	p := &prefix{ids: slices.Clone(ids), places: places}
	if g.programs.onHost(v.adapter) {
		if p.kv, err = stretchOf(&g.model.Config, out, len(ids)); err != nil {
			return nil, err
		}
		p.bytes = p.kv.bytes()
		return p, nil
	}
	p.tensors = out
	for _, t := range out {
		p.bytes += t.ByteSize()
	}
	return p, nil
}

// free drops the cache.
func (v *variant) free() {
	for _, p := range v.kept {
		finalize(p.tensors)
	}
	v.kept = nil
}
