package salamandra

import (
	"fmt"
	"slices"

	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
)

// variant is an adapter and what was computed with it. All but adapter belongs
// to whoever runs the engine.
type variant struct {
	adapter   Adapter
	structure string
	rows      int       // requests under way
	kept      []*prefix // the prefix cache, the one used last first
	warm      [][]int32 // prefixes asked for and not computed yet
	recent    [][]int32 // prompts, the last one last
	guesses   guesses
}

func newVariant(a Adapter) *variant { return &variant{adapter: a, structure: structure(a)} }

// recentPrompts is how many prompts are remembered to find what they share.
const recentPrompts = 8

// prefix is tokens with their keys and values.
type prefix struct {
	ids     []int32
	tensors []*tensors.Tensor // two per layer, [K, 1, P, D], P being len(ids) rounded up
	bytes   int64
	rows    int // requests under way that begin with it
}

// prefixStep is the least that a prefix found by itself adds to what is kept.
const prefixStep = 64

// begins tells whether a prompt begins with ids and has at least one token more.
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

// longest returns the longest prefix kept that a prompt begins with, nil for
// none, and marks it as used.
func (v *variant) longest(prompt []int32) *prefix {
	at := -1
	for i, p := range v.kept {
		if begins(prompt, p.ids) && (at < 0 || len(p.ids) > len(v.kept[at].ids)) {
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
	best, kept, shared := v.longest(prompt), 0, 0
	if best != nil {
		kept = len(best.ids)
	}
	for _, old := range v.recent {
		shared = max(shared, common(old, prompt[:len(prompt)-1]))
	}
	v.recent = append(v.recent[max(0, len(v.recent)-recentPrompts+1):], prompt)
	if shared < kept+prefixStep {
		return best, nil
	}
	if err := g.keep(v, prompt[:shared]); err != nil {
		return nil, err
	}
	return v.longest(prompt), nil
}

// keep computes a prefix and adds it to the cache, from which those used longest
// ago are dropped until it holds no more than PrefixBytes, or this one alone.
func (g *Generator) keep(v *variant, ids []int32) error {
	if slices.ContainsFunc(v.kept, func(p *prefix) bool { return slices.Equal(p.ids, ids) }) {
		return nil
	}
	p, err := g.computePrefix(v, ids)
	if err != nil {
		return err
	}
	v.kept = slices.Insert(v.kept, 0, p)
	v.guesses.learnFrom(ids, 0)
	total := int64(0)
	v.kept = slices.DeleteFunc(v.kept, func(old *prefix) bool {
		total += old.bytes
		if old == p || old.rows > 0 || total <= g.PrefixBytes {
			return false
		}
		total -= old.bytes
		finalize(old.tensors)
		return true
	})
	return nil
}

// paddedPrefix is the places that a prefix of n tokens takes, rounded so that few
// programs are compiled.
func (g *Generator) paddedPrefix(n int) int {
	step := 128
	if g.model.interprets() {
		step = 64
	}
	return (n + step - 1) / step * step
}

// computePrefix runs a prefix through the model.
func (g *Generator) computePrefix(v *variant, ids []int32) (*prefix, error) {
	n := g.paddedPrefix(len(ids))
	program, err := g.programs.get(v, fmt.Sprintf("prefix P=%d", n), func(t Transformer, args []*Node) []*Node {
		layout := SharedPrefix{B: 1, S: n}
		r := &recorder{Attention: layout, rows: 1}
		t.Blocks(t.Embed(args[0]), layout.Positions(args[0].Graph()), r)
		return r.kv
	})
	if err != nil {
		return nil, err
	}
	padded := make([]int32, n)
	copy(padded, ids)
	out, err := program.CallWith(v.adapter, padded)
	if err != nil {
		return nil, err
	}
	p := &prefix{ids: slices.Clone(ids), tensors: out}
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
