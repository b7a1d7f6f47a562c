package constrain

import (
	"cmp"
	"encoding/binary"
	"errors"
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
	prog     *syntax.Prog
	reps     []rune // one code point of each class
	ids      map[string]int
	todo     []patternState
	limit    int
	late     func(work int) bool
	anchored bool // the pattern begins where the text does
	looks    []look
	groups   []string // names of the groups of prog
}

// patternState is a state of the dfa: the instructions to go on with, before
// their empty steps, and the character before. In the state that is matched the
// pattern has matched.
type patternState struct {
	threads []thread
	prev    rune  // -1 at the start
	behind  []int // the state of each lookbehind
	matched bool
}

// compilePattern reads a pattern with the meaning of Go's regexp package, and
// lookarounds. It fails with ErrUnsupported if that package cannot read it, with
// ErrTooLarge if it needs more than limit states.
//
// Late, if not nil, ends it early.
func compilePattern(pattern string, limit int, late func(work int) bool) (*dfa, error) {
	p := &patternBuilder{limit: limit, late: late}
	if err := p.build(pattern, -1); err != nil {
		return nil, err
	}
	return &p.dfa, nil
}

// build makes the dfa of a pattern, before is the character before the text.
func (p *patternBuilder) build(pattern string, before rune) error {
	pattern, err := p.cutLooks(pattern)
	if err != nil {
		return err
	}
	re, err := syntax.Parse(pattern, syntax.Perl)
	if fault := (*syntax.Error)(nil); errors.As(err, &fault) && fault.Code == syntax.ErrInvalidRepeatSize {
		return fmt.Errorf("%w: counted repetitions multiply to more than 1000: %s", ErrTooLarge, fault.Expr)
	}
	if err != nil {
		return fmt.Errorf("%w: %v", ErrUnsupported, err)
	}
	p.groups = re.CapNames()
	prog, err := syntax.Compile(re.Simplify())
	if err != nil {
		return fmt.Errorf("%w: %v", ErrUnsupported, err)
	}
	p.prog, p.ids = prog, map[string]int{}
	p.classify()
	p.id(patternState{threads: []thread{{pc: uint32(prog.Start)}}, prev: before, behind: make([]int, len(p.looks))})
	for i := 0; i < len(p.todo); i++ {
		if len(p.todo) > p.limit {
			return fmt.Errorf("%w: the pattern needs more than %d states", ErrTooLarge, p.limit)
		}
		if p.late != nil && p.late(len(prog.Inst)*len(p.reps)) {
			return fmt.Errorf("%w: no time is left", ErrTooLarge)
		}
		p.expand(p.todo[i])
	}
	return nil
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
	var inside []*dfa
	for _, l := range p.looks {
		inside = append(inside, l.dfas...)
	}
	for _, d := range inside {
		for _, ranges := range d.classes {
			for _, r := range ranges {
				cuts = append(cuts, r.lo)
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
		for _, d := range inside {
			sign = binary.LittleEndian.AppendUint32(sign, uint32(d.classOf(lo)))
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
	if s.matched {
		name = []byte("matched")
	}
	for _, t := range s.threads {
		name = binary.LittleEndian.AppendUint32(name, t.pc)
		if len(p.looks) > 0 {
			name = append(binary.LittleEndian.AppendUint32(name, uint32(len(t.owes))), t.owes...)
		}
	}
	for _, q := range s.behind {
		name = binary.LittleEndian.AppendUint32(name, uint32(q))
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
	if s.matched {
		for c := range next {
			next[c] = p.id(s)
		}
		p.next, p.accept = append(p.next, next), append(p.accept, true)
		return
	}
	for c, r := range p.reps {
		next[c] = p.id(p.after(s, r))
	}
	ends, matched := p.follow(s, -1)
	for _, t := range ends { // those that have matched, and owe
		matched = matched || p.prog.Inst[t.pc].Op == syntax.InstMatch && p.paid(t.owes)
	}
	p.next, p.accept = append(p.next, next), append(p.accept, matched)
}

// after returns the state after a character.
func (p *patternBuilder) after(s patternState, r rune) patternState {
	readers, matched := p.follow(s, r)
	if matched {
		return patternState{matched: true}
	}
	var threads []thread
	if !p.anchored { // the pattern may also begin at the next character
		threads = append(threads, thread{pc: uint32(p.prog.Start)})
	}
	for _, t := range readers {
		inst := &p.prog.Inst[t.pc]
		if inst.Op == syntax.InstMatch {
			inst = &syntax.Inst{Out: t.pc} // there is nothing left to read
		} else if !inst.MatchRune(r) {
			continue
		}
		owes, can := t.owes, true
		if owes != "" {
			owes, can = p.pay(owes, r)
		}
		if can {
			threads = append(threads, thread{inst.Out, owes})
		}
	}
	slices.SortFunc(threads, func(x, y thread) int { return cmp.Or(cmp.Compare(x.pc, y.pc), cmp.Compare(x.owes, y.owes)) })
	next := patternState{threads: slices.Compact(threads), prev: r}
	for i, l := range p.looks {
		q := 0
		if l.behind {
			q = l.dfas[0].step(s.behind[i], r)
		}
		next.behind = append(next.behind, q)
	}
	return next
}

// follow takes the empty steps of a state before the character r, -1 at the
// end, and returns the threads that read a character, or have matched but for what
// they owe. It reports whether one has matched and owes nothing.
func (p *patternBuilder) follow(s patternState, r rune) (readers []thread, matched bool) {
	holds := syntax.EmptyOpContext(s.prev, r)
	seen, seenOwing := make([]bool, len(p.prog.Inst)), map[thread]bool{}
	stack := slices.Clone(s.threads)
	for len(stack) > 0 {
		t := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if t.owes == "" {
			if seen[t.pc] {
				continue
			}
			seen[t.pc] = true
		} else {
			if seenOwing[t] {
				continue
			}
			seenOwing[t] = true
		}
		switch inst := &p.prog.Inst[t.pc]; inst.Op {
		case syntax.InstAlt, syntax.InstAltMatch:
			stack = append(stack, thread{inst.Out, t.owes}, thread{inst.Arg, t.owes})
		case syntax.InstCapture:
			owes, can := t.owes, true
			if which, ok := p.lookOf(inst); ok && p.looks[which].behind {
				can = p.looks[which].dfas[0].accept[s.behind[which]] != p.looks[which].not
			} else if ok {
				owes, can = p.owe(owes, which, s.prev)
			}
			if can {
				stack = append(stack, thread{inst.Out, owes})
			}
		case syntax.InstNop:
			stack = append(stack, thread{inst.Out, t.owes})
		case syntax.InstEmptyWidth:
			if syntax.EmptyOp(inst.Arg)&^holds == 0 {
				stack = append(stack, thread{inst.Out, t.owes})
			}
		case syntax.InstMatch:
			if t.owes == "" {
				matched = true
			} else {
				readers = append(readers, t)
			}
		case syntax.InstFail:
		default:
			readers = append(readers, t)
		}
	}
	return readers, matched
}
