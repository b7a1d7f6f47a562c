package constrain

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
)

// look is a lookaround of a pattern: what follows a place, or comes before it,
// matches or does not. Each is an automaton that runs along.
type look struct {
	not, behind bool
	// dfas are by the [kind] of the character before the place; of a lookbehind,
	// and where that character is not looked at, there is the first only.
	dfas []*dfa
}

// lookName is the group that stands for a lookaround in a pattern that package
// regexp/syntax reads.
const lookName = "look"

// lookarounds are how they begin, the longer ones first.
var lookarounds = []struct {
	open        string
	not, behind bool
}{{"(?<=", false, true}, {"(?<!", true, true}, {"(?=", false, false}, {"(?!", true, false}}

// cutLooks puts an empty group in the place of each lookaround of a pattern, and
// returns what stood inside them.
func (p *patternBuilder) cutLooks(text string) (string, error) {
	var out strings.Builder
	for i := 0; i < len(text); {
		at := slices.IndexFunc(lookarounds, func(l struct {
			open        string
			not, behind bool
		}) bool {
			return strings.HasPrefix(text[i:], l.open)
		})
		if at < 0 {
			n := unit(text[i:])
			out.WriteString(text[i : i+n])
			i += n
			continue
		}
		open := lookarounds[at]
		end := i + len(open.open)
		for depth := 1; depth > 0; {
			if end >= len(text) {
				return "", fmt.Errorf("%w: a group %s is not closed", ErrUnsupported, open.open)
			}
			switch text[end] {
			case '(':
				depth++
			case ')':
				depth--
			}
			end += unit(text[end:])
		}
		l, err := p.newLook(text[i+len(open.open):end-1], open.not, open.behind)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&out, "(?P<%s%d>)", lookName, len(p.looks))
		p.looks = append(p.looks, l)
		i = end
	}
	return out.String(), nil
}

// unit is the length of what a pattern begins with: a class, an escaped character,
// or one byte.
func unit(text string) int {
	switch {
	case text[0] == '\\':
		return min(2, len(text))
	case text[0] != '[':
		return 1
	}
	n := 1
	for n < len(text) && text[n] != ']' {
		n += min(len(text)-n, 1+strings.Count(text[n:n+1], `\`))
	}
	return min(n+1, len(text))
}

// newLook compiles what stands inside a lookaround.
func (p *patternBuilder) newLook(text string, not, behind bool) (look, error) {
	l := look{not: not, behind: behind}
	words := strings.Contains(text, `\b`) || strings.Contains(text, `\B`)
	for _, inner := range lookarounds {
		if strings.Contains(text, inner.open) && (behind || inner.behind) {
			return l, fmt.Errorf("%w: lookbehind with another lookaround around or within it", ErrUnsupported)
		}
	}
	if behind {
		if words || strings.Contains(text, "$") {
			return l, fmt.Errorf(`%w: lookbehind that looks at its end with $, \b or \B`, ErrUnsupported)
		}
		d, made, err := compilePattern(`(?:`+text+`)\z`, p.limit, p.late)
		p.made, l.dfas = max(p.made, made), []*dfa{d}
		return l, err
	}
	before := []rune{-1, '\n', 'a', '-'} // of each kind
	if !words && !strings.Contains(text, "^") {
		before = before[:1]
	}
	for _, r := range before {
		inside := &patternBuilder{limit: p.limit, late: p.late, anchored: true}
		if err := inside.build(text, r); err != nil {
			return l, err
		}
		p.made = max(p.made, inside.made)
		l.dfas = append(l.dfas, &inside.dfa)
	}
	return l, nil
}

// thread is a place in a pattern, in its high bits, and the number of what must hold of
// the rest of the text for it to count: states of lookaheads; 0 for nothing.
type thread uint64

func newThread(pc, owes uint32) thread { return thread(uint64(pc)<<32 | uint64(owes)) }

func (t thread) pc() uint32   { return uint32(t >> 32) }
func (t thread) owes() uint32 { return uint32(t) }

// lookAt goes through what may stand for a lookaround in a state: it returns what a
// thread owes then, and false where it cannot count any more.
func (p *patternBuilder) lookAt(inst *syntax.Inst, owes uint32, s patternState) (uint32, bool) {
	which, ok := p.lookOf(inst)
	if !ok {
		return owes, true
	}
	if l := p.looks[which]; l.behind {
		return owes, l.dfas[0].accept[s.behind[which]] != l.not
	}
	return p.owe(owes, which, s.prev)
}

// lookBehind is the state of each lookbehind after one more character.
func (p *patternBuilder) lookBehind(s patternState, r rune) []int {
	next := make([]int, len(p.looks))
	for i, l := range p.looks {
		if l.behind {
			next[i] = l.dfas[0].step(s.behind[i], r)
		}
	}
	return next
}

// owe adds a lookahead that begins here to what a thread owes. It reports false
// where the thread cannot count any more.
func (p *patternBuilder) owe(owes uint32, which int, prev rune) (uint32, bool) {
	l := p.looks[which]
	k := 0
	if len(l.dfas) > 1 {
		k = int(kind(prev))
	}
	return p.settle(p.debts(owes), debt{which, k, 0})
}

// debt is a lookahead under way: its automaton, by the kind of the character before
// it, and the state of that.
type debt struct{ look, kind, state int }

func (p *patternBuilder) debts(owes uint32) []debt {
	var list []debt
	for b := p.owed[owes]; len(b) > 0; b = b[12:] {
		at := func(i int) int { return int(binary.LittleEndian.Uint32([]byte(b[i : i+4]))) }
		list = append(list, debt{at(0), at(4), at(8)})
	}
	return list
}

// settle numbers debts, but for those that are paid whatever comes. It reports false
// where one cannot be paid any more.
func (p *patternBuilder) settle(list []debt, more ...debt) (uint32, bool) {
	list = append(list, more...)
	slices.SortFunc(list, func(x, y debt) int {
		return cmp.Or(cmp.Compare(x.look, y.look), cmp.Compare(x.kind, y.kind), cmp.Compare(x.state, y.state))
	})
	var owes []byte
	for _, x := range slices.Compact(list) {
		l := p.looks[x.look]
		d := l.dfas[x.kind]
		if d.stays(x.state) {
			if d.accept[x.state] == l.not {
				return 0, false
			}
			continue
		}
		for _, n := range []int{x.look, x.kind, x.state} {
			owes = binary.LittleEndian.AppendUint32(owes, uint32(n))
		}
	}
	n, ok := p.owing[string(owes)]
	if !ok {
		n = uint32(len(p.owed))
		p.owing[string(owes)] = n
		p.owed = append(p.owed, string(owes))
	}
	return n, true
}

// paid reports whether the text may end where a thread is.
func (p *patternBuilder) paid(t thread) bool {
	return !slices.ContainsFunc(p.debts(t.owes()), func(x debt) bool {
		l := p.looks[x.look]
		return l.dfas[x.kind].accept[x.state] == l.not
	})
}

// pay goes on with a character.
func (p *patternBuilder) pay(owes uint32, r rune) (uint32, bool) {
	if owes == 0 {
		return 0, true
	}
	list := p.debts(owes)
	for i, x := range list {
		list[i].state = p.looks[x.look].dfas[x.kind].step(x.state, r)
	}
	return p.settle(list)
}

// lookOf returns the lookaround that an instruction stands for; ok is false for
// others.
func (p *patternBuilder) lookOf(inst *syntax.Inst) (which int, ok bool) {
	if inst.Op != syntax.InstCapture || inst.Arg%2 == 1 || len(p.looks) == 0 {
		return 0, false
	}
	number, ok := strings.CutPrefix(p.groups[inst.Arg/2], lookName)
	which, err := strconv.Atoi(number)
	return which, ok && err == nil
}
