package constrain

import (
	"math"
	"sync"
)

// automaton is a dfa with what strings need of it. It is the same for all grammars and
// does not change.
type automaton struct {
	*dfa
	sets  []charSet // of characters that lead from one state to another
	edges []edge
	from  []int32 // the edges of state q are edges[from[q]:from[q+1]]
	free  []int32 // the least bytes after each state, without the quote; noLength for no end

	longest int     // characters of the longest string, unbounded if there is none
	bytes   []*node // that strings may need to be completed, for [needs]
	made    int     // states before it was minimal
	each    []bool  // of names, which patterns they match
}

// edge is a set of characters that lead to a state.
type edge struct{ to, set int32 }

// charSet is characters, and the least bytes that a JSON string writes one with.
type charSet struct {
	ranges []runeRange
	least  int32
}

// noLength is the length of what there is none of.
const noLength = math.MaxInt32

// edgesOf are those that lead from state q to others, some of which may have no end.
func (a *automaton) edgesOf(q int) []edge { return a.edges[a.from[q]:a.from[q+1]] }

// newAutomaton makes a dfa ready, made with as many states.
func newAutomaton(d *dfa, made int) *automaton {
	a := &automaton{dfa: d.minimal(), made: made}
	a.link()
	a.measure()
	return a
}

// newAutomata makes ready a dfa that accepts in any of several sets of states. Where
// they are many they have its states in common, more than each needs.
func newAutomata(d *dfa, sets [][]bool) []*automaton {
	var list []*automaton
	if len(sets) <= fewSets {
		for _, states := range sets {
			one := *d
			one.accept = states
			list = append(list, newAutomaton(&one, d.states()))
		}
		return list
	}
	all := &automaton{dfa: d.narrow(), made: d.states()}
	all.link()
	for _, states := range sets {
		of, one := *all.dfa, *all
		of.accept, one.dfa = states, &of
		one.measure()
		list = append(list, &one)
	}
	return list
}

// fewSets is up to how many sets of states are worth an automaton each.
const fewSets = 16

// measure finds what depends on where the automaton accepts.
func (a *automaton) measure() {
	a.free = a.ends()
	for a.relax(a.free, a.free) {
	}
	a.longest = a.measureLongest()
	a.bytes = a.needed()
}

// needed is nodes of the bytes that strings may need to be completed.
func (a *automaton) needed() []*node {
	var bytes [256]bool
	done := make([]bool, len(a.sets))
	for _, e := range a.edges {
		if !done[e.set] && a.free[e.to] != noLength {
			done[e.set] = true
			markChars(a.sets[e.set].ranges, &bytes)
		}
	}
	list := []*node{{op: opText, text: `"`}}
	for c, need := range bytes {
		if need {
			list = append(list, &node{op: opByte, lo: byte(c), hi: byte(c)})
		}
	}
	return list
}

// link finds the characters of each edge.
func (a *automaton) link() {
	known := map[string]int32{} // sets by their classes
	in := make([]bool, a.width)
	place := make([]int, a.states()) // in keys, one more
	var targets []int32
	var keys [][]byte
	a.from = append(a.from, 0)
	for q := range a.states() {
		targets = targets[:0]
		for c, to := range a.row(q) {
			if place[to] == 0 {
				targets = append(targets, to)
				if place[to] = len(targets); len(keys) < len(targets) {
					keys = append(keys, nil)
				}
				keys[place[to]-1] = keys[place[to]-1][:0]
			}
			i := place[to] - 1
			keys[i] = append(keys[i], byte(c), byte(c>>8), byte(c>>16))
		}
		for i, to := range targets {
			place[to] = 0
			set, ok := known[string(keys[i])]
			if !ok {
				set = int32(len(a.sets))
				known[string(keys[i])] = set
				a.sets = append(a.sets, a.charSet(keys[i], in))
			}
			a.edges = append(a.edges, edge{to, set})
		}
		a.from = append(a.from, int32(len(a.edges)))
	}
}

// charSet is the characters of some classes.
func (a *automaton) charSet(classes []byte, in []bool) charSet {
	clear(in)
	for i := 0; i < len(classes); i += 3 {
		in[int(classes[i])|int(classes[i+1])<<8|int(classes[i+2])<<16] = true
	}
	ranges := a.rangesOf(in)
	return charSet{ranges, int32(leastBytes(ranges))}
}

// ends is the lengths where only the end is known: 0 in the states that accept.
func (a *automaton) ends() []int32 {
	row := make([]int32, a.states())
	for q := range row {
		if row[q] = noLength; a.accept[q] {
			row[q] = 0
		}
	}
	return row
}

// relax shortens the lengths in row by going on with a character to those in next, and
// reports whether it could.
func (a *automaton) relax(row, next []int32) bool {
	changed := false
	for q := len(row) - 1; q >= 0; q-- {
		for _, e := range a.edgesOf(q) {
			if n := next[e.to]; n != noLength && n+a.sets[e.set].least < row[q] {
				row[q], changed = n+a.sets[e.set].least, true
			}
		}
	}
	return changed
}

// measureLongest returns how many characters the longest string has.
func (a *automaton) measureLongest() int {
	const open = -1
	known := make([]int, a.states()) // one more than the length
	var visit func(q int) int
	visit = func(q int) int {
		if known[q] != 0 {
			return known[q]
		}
		known[q] = open
		best := 1
		for _, e := range a.edgesOf(q) {
			if a.free[e.to] == noLength {
				continue
			}
			n := visit(int(e.to))
			if n == open {
				return open
			}
			best = max(best, n+1)
		}
		known[q] = best
		return best
	}
	if n := visit(0); n != open {
		return n - 1
	}
	return unbounded
}

// size is about the memory of an automaton.
func (a *automaton) size() int {
	n := 500 + 4*len(a.next) + 8*len(a.edges) + 13*a.states() + 8*len(a.cuts)
	for _, s := range a.sets {
		n += 64 + 8*len(s.ranges)
	}
	return n
}

// kept are the automata that all grammars share, by what they recognise.
var kept = struct {
	mu    sync.Mutex
	known map[string][]*automaton
	bytes int
}{known: map[string][]*automaton{}}

// maxKept is the most memory of the automata that are kept when no grammar has them
// any more.
const maxKept = 32 << 20

// recognisers returns the automata of a name, made if it is not known. What it took to
// make them counts as work anyway, so that time and limits are those of a first use.
func (b *builder) recognisers(name string, make func() ([]*automaton, error)) ([]*automaton, error) {
	kept.mu.Lock()
	list, known := kept.known[name]
	kept.mu.Unlock()
	for _, a := range list {
		if b.late(a.made * a.width); a.made > b.limit {
			return nil, tooLarge("the pattern needs more than %d states", b.limit)
		}
	}
	if known {
		return list, nil
	}
	list, err := make()
	if err != nil {
		return nil, err
	}
	size := 100 + len(name)
	for _, a := range list {
		size += a.size()
	}
	if size > maxKept/4 {
		return list, nil
	}
	kept.mu.Lock()
	defer kept.mu.Unlock()
	if kept.bytes += size; kept.bytes > maxKept {
		clear(kept.known)
		kept.bytes = size
	}
	kept.known[name] = list
	return list, nil
}

// recogniser is [builder.recognisers] of a name with one.
func (b *builder) recogniser(name string, make func() (*automaton, error)) (*automaton, error) {
	list, err := b.recognisers(name, func() ([]*automaton, error) {
		a, err := make()
		return []*automaton{a}, err
	})
	if err != nil {
		return nil, err
	}
	return list[0], nil
}
