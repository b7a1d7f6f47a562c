package constrain

import (
	"encoding/binary"
	"fmt"
	"regexp/syntax"
	"slices"
	"unicode"
)

// dfa recognises the strings in which a pattern matches somewhere. State 0 is
// the start.
type dfa struct {
	classes [][]runeRange // code points that no state tells apart
	next    [][]int       // state, class -> state
	accept  []bool        // whether the string may end in a state
}

// patternBuilder turns a compiled pattern into a dfa.
type patternBuilder struct {
	dfa
	prog  *syntax.Prog
	reps  []rune // one code point of each class
	ids   map[string]int
	todo  []patternState
	limit int
}

// patternState is a state of the dfa: the instructions to go on with, before
// their empty steps, and the character before. A nil pcs is the state in which
// the pattern has matched.
type patternState struct {
	pcs  []uint32
	prev rune // -1 at the start
}

// compilePattern reads a pattern with the meaning of Go's regexp package. It
// fails with ErrUnsupported if that package cannot read it, with ErrTooLarge if
// it needs more than limit states.
//
// Late, if not nil, ends it early.
func compilePattern(pattern string, limit int, late func(work int) bool) (*dfa, error) {
	re, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrUnsupported, err)
	}
	prog, err := syntax.Compile(re.Simplify())
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrUnsupported, err)
	}
	p := &patternBuilder{prog: prog, ids: map[string]int{}, limit: limit}
	p.classify()
	p.id(patternState{pcs: []uint32{uint32(prog.Start)}, prev: -1})
	for i := 0; i < len(p.todo); i++ {
		if len(p.todo) > limit {
			return nil, fmt.Errorf("%w: the pattern needs more than %d states", ErrTooLarge, limit)
		}
		if late != nil && late(len(prog.Inst)*len(p.reps)) {
			return nil, fmt.Errorf("%w: no time is left", ErrTooLarge)
		}
		p.expand(p.todo[i])
	}
	return &p.dfa, nil
}

// classify finds the code points that no instruction tells apart.
func (p *patternBuilder) classify() {
	cuts := []rune{0, '\n', '\n' + 1, '0', '9' + 1, 'A', 'Z' + 1, '_', '_' + 1, 'a', 'z' + 1, unicode.MaxRune + 1}
	var readers []*syntax.Inst
	for i := range p.prog.Inst {
		inst := &p.prog.Inst[i]
		switch inst.Op {
		case syntax.InstRune, syntax.InstRune1:
			readers = append(readers, inst)
			if len(inst.Rune) == 1 { // perhaps with its other cases
				for r, first := inst.Rune[0], inst.Rune[0]; ; {
					cuts = append(cuts, r, r+1)
					if r = unicode.SimpleFold(r); r == first {
						break
					}
				}
			}
			for k := 0; k+1 < len(inst.Rune); k += 2 {
				cuts = append(cuts, inst.Rune[k], inst.Rune[k+1]+1)
			}
		}
	}
	slices.Sort(cuts)
	cuts = slices.Compact(cuts)
	known := map[string]int{}
	for i, lo := range cuts[:len(cuts)-1] {
		sign := []byte{kind(lo)}
		for _, inst := range readers {
			if inst.MatchRune(lo) {
				sign = append(sign, 1)
			} else {
				sign = append(sign, 0)
			}
		}
		class, ok := known[string(sign)]
		if !ok {
			class = len(p.classes)
			known[string(sign)] = class
			p.classes = append(p.classes, nil)
			p.reps = append(p.reps, lo)
		}
		p.classes[class] = append(p.classes[class], runeRange{lo, cuts[i+1] - 1})
	}
}

// kind is what an assertion such as \b can see of a character.
func kind(r rune) byte {
	switch {
	case r < 0:
		return 0
	case r == '\n':
		return 1
	case syntax.IsWordChar(r):
		return 2
	}
	return 3
}

// id returns the number of a state, a new one if need be.
func (p *patternBuilder) id(s patternState) int {
	name := []byte{kind(s.prev)}
	if s.pcs == nil {
		name = []byte("matched")
	}
	for _, pc := range s.pcs {
		name = binary.LittleEndian.AppendUint32(name, pc)
	}
	n, ok := p.ids[string(name)]
	if !ok {
		n = len(p.todo)
		p.ids[string(name)] = n
		p.todo = append(p.todo, s)
	}
	return n
}

// expand finds the transitions of a state.
func (p *patternBuilder) expand(s patternState) {
	next := make([]int, len(p.reps))
	if s.pcs == nil {
		for c := range next {
			next[c] = p.id(s)
		}
		p.next, p.accept = append(p.next, next), append(p.accept, true)
		return
	}
	for c, r := range p.reps {
		readers, matched := p.follow(s, r)
		if matched {
			next[c] = p.id(patternState{})
			continue
		}
		// The pattern may also begin at the next character.
		pcs := []uint32{uint32(p.prog.Start)}
		for _, pc := range readers {
			if p.prog.Inst[pc].MatchRune(r) {
				pcs = append(pcs, p.prog.Inst[pc].Out)
			}
		}
		slices.Sort(pcs)
		next[c] = p.id(patternState{slices.Compact(pcs), r})
	}
	_, matched := p.follow(s, -1)
	p.next, p.accept = append(p.next, next), append(p.accept, matched)
}

// follow takes the empty steps of a state before the character r, -1 at the
// end, and returns the instructions that read a character.
func (p *patternBuilder) follow(s patternState, r rune) (readers []uint32, matched bool) {
	holds := syntax.EmptyOpContext(s.prev, r)
	seen := make([]bool, len(p.prog.Inst))
	stack := slices.Clone(s.pcs)
	for len(stack) > 0 {
		pc := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if seen[pc] {
			continue
		}
		seen[pc] = true
		switch inst := &p.prog.Inst[pc]; inst.Op {
		case syntax.InstAlt, syntax.InstAltMatch:
			stack = append(stack, inst.Out, inst.Arg)
		case syntax.InstCapture, syntax.InstNop:
			stack = append(stack, inst.Out)
		case syntax.InstEmptyWidth:
			if syntax.EmptyOp(inst.Arg)&^holds == 0 {
				stack = append(stack, inst.Out)
			}
		case syntax.InstMatch:
			matched = true
		case syntax.InstFail:
		default:
			readers = append(readers, pc)
		}
	}
	return readers, matched
}
