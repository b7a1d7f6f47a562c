package constrain

import (
	"encoding/binary"
	"errors"
	"fmt"
	"regexp/syntax"
	"slices"
	"unicode"
)

// patternBuilder turns a compiled pattern into a dfa.
type patternBuilder struct {
	dfa
	prog     *syntax.Prog
	reps     []rune   // one code point of each class
	kinds    []byte   // what assertions see of each class
	sees     byte     // the bits of [kind] that some assertion looks at
	reads    [][]bool // the classes that each instruction reads; nil for those that read none
	ids      map[string]int32
	todo     []patternState
	limit    int
	made     int // states of the largest automaton on the way
	late     func(work int) bool
	anchored bool // the pattern begins where the text does
	looks    []look
	groups   []string // names of the groups of prog
	owed     []string // what threads owe, by number
	owing    map[string]uint32

	// To work with.
	key     []byte
	marks   []uint32 // the threads that owe nothing and were seen, by instruction
	round   uint32
	seen    map[thread]bool
	stack   []thread
	readers []thread
	threads []thread
}

// patternState is a state of the dfa: the instructions to go on with, before
// their empty steps, and the character before. In the state that is matched the
// pattern has matched.
type patternState struct {
	threads []thread
	prev    rune  // one of the kind of the character before, -1 at the start
	behind  []int // the state of each lookbehind
	matched bool
}

// compilePattern reads a pattern with the meaning of Go's regexp package, and
// lookarounds. It fails with ErrUnsupported if that package cannot read it, with
// ErrTooLarge if it needs more than limit states. Made is how many states the largest
// automaton had that it took. Late, if not nil, ends it early.
func compilePattern(pattern string, limit int, late func(work int) bool) (d *dfa, made int, err error) {
	p := &patternBuilder{limit: limit, late: late}
	if err := p.build(pattern, -1); err != nil {
		return nil, 0, err
	}
	return &p.dfa, p.made, nil
}

// build makes the dfa of a pattern, before is the character before the text.
func (p *patternBuilder) build(pattern string, before rune) error {
	pattern, err := p.cutLooks(pattern)
	if err != nil {
		return err
	}
	re, err := syntax.Parse(pattern, syntax.Perl)
	if fault := (*syntax.Error)(nil); errors.As(err, &fault) && fault.Code == syntax.ErrInvalidRepeatSize {
		return tooLarge("counted repetitions multiply to more than 1000: %s", fault.Expr)
	}
	if err != nil {
		return fmt.Errorf("%w: %v", ErrUnsupported, err)
	}
	p.groups = re.CapNames()
	prog, err := syntax.Compile(re.Simplify())
	if err != nil {
		return fmt.Errorf("%w: %v", ErrUnsupported, err)
	}
	p.prog, p.ids = prog, map[string]int32{}
	p.owed, p.owing = []string{""}, map[string]uint32{"": 0}
	p.marks, p.seen = make([]uint32, len(prog.Inst)), map[thread]bool{}
	p.classify()
	p.id(patternState{threads: []thread{newThread(uint32(prog.Start), 0)}, prev: before, behind: make([]int, len(p.looks))})
	for i := 0; i < len(p.todo); i++ {
		if len(p.todo) > p.limit {
			return tooLarge("the pattern needs more than %d states", p.limit)
		}
		if p.late != nil && p.late(len(prog.Inst)*p.width) {
			return tooLarge("no time is left")
		}
		p.expand(p.todo[i])
	}
	p.made = max(p.made, len(p.todo))
	return nil
}

// classify finds the code points that no instruction tells apart.
func (p *patternBuilder) classify() {
	cuts := []rune{0, '\n', '\n' + 1, '0', '9' + 1, 'A', 'Z' + 1, '_', '_' + 1, 'a', 'z' + 1, unicode.MaxRune + 1}
	readers, of := p.distinct()
	for _, inst := range readers {
		cuts = appendCuts(cuts, inst)
	}
	var inside []*dfa
	for _, l := range p.looks {
		inside = append(inside, l.dfas...)
	}
	for _, d := range inside {
		cuts = append(cuts, d.cuts...)
	}
	slices.Sort(cuts)
	cuts = slices.Compact(cuts)
	k := classifier{dfa: &p.dfa, known: map[string]int32{}}
	reads := make([][]bool, len(readers))
	var sign []byte
	for i, lo := range cuts[:len(cuts)-1] {
		sign = append(sign[:0], p.seenKind(lo))
		for _, inst := range readers {
			sign = append(sign, 0)
			if inst.MatchRune(lo) {
				sign[len(sign)-1] = 1
			}
		}
		for _, d := range inside {
			sign = binary.LittleEndian.AppendUint32(sign, uint32(d.classOf(lo)))
		}
		before := p.width
		if k.add(lo, cuts[i+1]-1, sign); p.width > before {
			p.kinds = append(p.kinds, sign[0])
			for j := range readers {
				reads[j] = append(reads[j], sign[1+j] == 1)
			}
		}
	}
	p.reps = k.reps
	p.reads = make([][]bool, len(p.prog.Inst))
	for pc, j := range of {
		if j >= 0 {
			p.reads[pc] = reads[j]
		}
	}
}

// distinct lists the instructions that read a character, alike ones once, and for
// each instruction which it is, -1 for others. It notes what assertions look at.
func (p *patternBuilder) distinct() (readers []*syntax.Inst, of []int) {
	known := map[string]int{}
	for i := range p.prog.Inst {
		inst := &p.prog.Inst[i]
		of = append(of, -1)
		switch inst.Op {
		case syntax.InstRune, syntax.InstRune1, syntax.InstRuneAny, syntax.InstRuneAnyNotNL:
			if i > 0 && len(readers) > 0 && sameRunes(inst, readers[len(readers)-1]) {
				of[i] = len(readers) - 1 // a counted repetition
				continue
			}
			name := binary.LittleEndian.AppendUint32([]byte{byte(inst.Op)}, inst.Arg)
			for _, r := range inst.Rune {
				name = binary.LittleEndian.AppendUint32(name, uint32(r))
			}
			if _, ok := known[string(name)]; !ok {
				known[string(name)] = len(readers)
				readers = append(readers, inst)
			}
			of[i] = known[string(name)]
		case syntax.InstEmptyWidth:
			if syntax.EmptyOp(inst.Arg)&(syntax.EmptyBeginLine|syntax.EmptyEndLine) != 0 {
				p.sees |= 1
			}
			if syntax.EmptyOp(inst.Arg)&(syntax.EmptyWordBoundary|syntax.EmptyNoWordBoundary) != 0 {
				p.sees |= 2
			}
		}
	}
	for _, l := range p.looks {
		if len(l.dfas) > 1 {
			p.sees = 3
		}
	}
	return readers, of
}

// sameRunes reports whether it is obvious that two instructions read the same.
func sameRunes(x, y *syntax.Inst) bool {
	return x.Op == y.Op && x.Arg == y.Arg && len(x.Rune) == len(y.Rune) && len(x.Rune) > 0 && &x.Rune[0] == &y.Rune[0]
}

// appendCuts appends where the characters that an instruction reads begin and end.
func appendCuts(cuts []rune, inst *syntax.Inst) []rune {
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
	return cuts
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

// seenKind is the kind of a character, as far as an assertion of the pattern looks at it.
func (p *patternBuilder) seenKind(r rune) byte {
	k := kind(r)
	if k == 1 && p.sees&1 == 0 || k == 2 && p.sees&2 == 0 {
		return 3
	}
	return k
}

// id returns the number of a state, a new one if need be. What it holds is copied.
func (p *patternBuilder) id(s patternState) int32 {
	p.key = append(p.key[:0], p.seenKind(s.prev))
	if s.matched {
		p.key[0] = 4
	}
	for _, t := range s.threads {
		p.key = binary.LittleEndian.AppendUint64(p.key, uint64(t))
	}
	for _, q := range s.behind {
		p.key = binary.LittleEndian.AppendUint32(p.key, uint32(q))
	}
	n, ok := p.ids[string(p.key)]
	if !ok {
		n = int32(len(p.todo))
		p.ids[string(p.key)] = n
		s.threads = slices.Clone(s.threads)
		p.todo = append(p.todo, s)
	}
	return n
}

// expand finds the transitions of a state.
func (p *patternBuilder) expand(s patternState) {
	if s.matched {
		id := p.id(s)
		for range p.width {
			p.next = append(p.next, id)
		}
		p.accept = append(p.accept, true)
		return
	}
	from := len(p.next)
	p.next = append(p.next, make([]int32, p.width)...)
	for k := byte(1); k <= 3; k++ { // empty steps depend on no more of the next character
		if first := slices.Index(p.kinds, k); first >= 0 {
			readers, matched := p.follow(s, p.reps[first])
			for c := first; c < p.width; c++ {
				if p.kinds[c] == k {
					p.next[from+c] = p.id(p.after(s, readers, matched, c))
				}
			}
		}
	}
	ends, matched := p.follow(s, -1)
	for _, t := range ends { // those that have matched, and owe
		matched = matched || p.prog.Inst[t.pc()].Op == syntax.InstMatch && p.paid(t)
	}
	p.accept = append(p.accept, matched)
}

// after returns the state after a character of class c, whose threads are valid until
// the next one.
func (p *patternBuilder) after(s patternState, readers []thread, matched bool, c int) patternState {
	if matched {
		return patternState{matched: true}
	}
	p.threads = p.threads[:0]
	if !p.anchored { // the pattern may also begin at the next character
		p.threads = append(p.threads, newThread(uint32(p.prog.Start), 0))
	}
	for _, t := range readers {
		out := t.pc() // of what has matched there is nothing left to read
		if reads := p.reads[out]; reads != nil {
			if !reads[c] {
				continue
			}
			out = p.prog.Inst[out].Out
		}
		if owes, can := p.pay(t.owes(), p.reps[c]); can {
			p.threads = append(p.threads, newThread(out, owes))
		}
	}
	slices.Sort(p.threads)
	next := patternState{threads: slices.Compact(p.threads), prev: p.reps[c]}
	if len(p.looks) > 0 {
		next.behind = p.lookBehind(s, p.reps[c])
	}
	return next
}

// follow takes the empty steps of a state before the character r, -1 at the
// end, and returns the threads that read a character, or have matched but for what
// they owe, valid until the next call. It reports whether one has matched and owes nothing.
func (p *patternBuilder) follow(s patternState, r rune) (readers []thread, matched bool) {
	holds := syntax.EmptyOpContext(s.prev, r)
	p.round++
	clear(p.seen)
	p.stack, p.readers = append(p.stack[:0], s.threads...), p.readers[:0]
	push := func(pc uint32, owes uint32) { p.stack = append(p.stack, newThread(pc, owes)) }
	for len(p.stack) > 0 {
		t := p.stack[len(p.stack)-1]
		p.stack = p.stack[:len(p.stack)-1]
		if p.known(t) {
			continue
		}
		switch inst := &p.prog.Inst[t.pc()]; inst.Op {
		case syntax.InstAlt, syntax.InstAltMatch:
			push(inst.Out, t.owes())
			push(inst.Arg, t.owes())
		case syntax.InstCapture:
			if owes, can := p.lookAt(inst, t.owes(), s); can {
				push(inst.Out, owes)
			}
		case syntax.InstNop:
			push(inst.Out, t.owes())
		case syntax.InstEmptyWidth:
			if syntax.EmptyOp(inst.Arg)&^holds == 0 {
				push(inst.Out, t.owes())
			}
		case syntax.InstMatch:
			if matched = matched || t.owes() == 0; t.owes() != 0 {
				p.readers = append(p.readers, t)
			}
		case syntax.InstFail:
		default:
			p.readers = append(p.readers, t)
		}
	}
	return p.readers, matched
}

// known reports whether a thread was seen in this round, and notes it.
func (p *patternBuilder) known(t thread) bool {
	if t.owes() != 0 {
		was := p.seen[t]
		p.seen[t] = true
		return was
	}
	was := p.marks[t.pc()] == p.round
	p.marks[t.pc()] = p.round
	return was
}
