package constrain

import "slices"

// objectRule is the inside of a JSON object, with the brace that closes it: members
// in their order, then others. Some members may be needed whose name or value is of
// a kind; those that a member is written for are bits of what it meets.
type objectRule struct {
	members []objectMember
	extras  []extraMember // those that members does not name
	wanted  uint8         // the bits that are needed
	// oneExtra says that there is no second extra member.
	oneExtra bool
	lo, hi   int    // number of members
	open     string // before the first member
	comma    string // between members
	close    string // after the last member
	none     string // in place of members
	least    map[leastKey]int
	// Where any number of members may come and none of some kind must: the length of the
	// shortest rest before each member, the first one and others.
	rest [2][]int
}

type objectMember struct {
	key      string // with what separates it from the value
	values   []memberValue
	required bool
}

// memberValue is a value that a member may have, and what it meets.
type memberValue struct {
	value *node
	meets uint8
}

// extraMember is members that are not named, with their keys, and what they meet.
type extraMember struct {
	member *node
	meets  uint8
	// after is the extra members, as bits, that may come after one of these: where
	// its value is what is asked for, none that may have its name.
	after uint32
}

// newObjectRule completes o, whose members, extras and limits are set. Extra members
// may have a name twice, and then are one, so that a second never counts for lo.
func newObjectRule(o objectRule, l layout, depth int) *objectRule {
	o.open, o.comma, o.close, o.none = l.lineBreak(depth+1), l.comma(depth+1), l.lineBreak(depth)+"}", l.empty()+"}"
	o.oneExtra = o.hi != unbounded && o.lo > 1
	if len(o.extras) == 0 && o.hi >= len(o.members) {
		o.hi = unbounded // which is no limit then
	}
	o.lo = min(o.lo, len(o.members)+2) // of which there are never so many
	if o.lo <= 0 && o.hi == unbounded && o.wanted == 0 {
		o.line()
		return &o
	}
	o.least = map[leastKey]int{}
	(membersFrom{o: &o, may: allExtras}).measure()
	return &o
}

// line fills rest.
func (o *objectRule) line() {
	for n := range o.rest {
		o.rest[n] = make([]int, len(o.members)+1)
		o.rest[n][len(o.members)] = width(membersFrom{o: o, n: n}.end())
	}
	for i, m := range slices.Backward(o.members) {
		value := never
		for _, v := range m.values {
			value = min(value, v.value.min)
		}
		for n := range o.rest {
			f := membersFrom{o: o, n: n}
			rest := plus(width(f.before())+width(m.key), plus(value, o.rest[1][i+1]))
			if !m.required {
				rest = min(rest, o.rest[n][i+1])
			}
			o.rest[n][i] = rest
		}
	}
}

// allExtras says that extra members of every kind may come.
const allExtras = ^uint32(0)

// leastKey is a place in an object as far as its shortest rest depends on it:
// before which member, how many are needed yet, and how many may come; what is met
// so far, and what may come.
type leastKey struct {
	i, need, room int
	met           uint8
	may           uint32
}

// membersFrom is an objectRule before member i, after n members; where i is one more
// than there are members, an extra one was written. Met is what they meet, and may
// the extra members that may still come.
type membersFrom struct {
	o    *objectRule
	i, n int
	met  uint8
	may  uint32
}

// count is what a number of members counts as: the number itself as long as it
// matters.
func (o *objectRule) count(n int) int {
	if o.hi != unbounded {
		return min(n, o.hi)
	}
	return min(n, max(o.lo, 1))
}

// measure returns the length of the shortest rest.
func (f membersFrom) measure() int {
	o := f.o
	if o.least == nil {
		return o.rest[min(f.n, 1)][min(f.i, len(o.members))]
	}
	k := leastKey{f.i, max(o.lo-f.n, 0), min(o.hi-f.n, len(o.members)+1+maxSome), f.met, f.may}
	if f.n == 0 {
		k.need = -1 // the first member has no comma before it
	}
	least, ok := o.least[k]
	if !ok {
		o.least[k] = never // where it leads back to itself
		least = f.measureNew()
		o.least[k] = least
	}
	return least
}

func (f membersFrom) measureNew() int {
	o := f.o
	least := never
	if f.i >= len(o.members) {
		if f.mayEnd() {
			return width(f.end())
		}
		for e := range o.extras {
			if f.mayExtra(e) {
				least = min(least, plus(width(f.before()), plus(o.extras[e].member.min, f.afterExtra(e).measure())))
			}
		}
		return least
	}
	m := o.members[f.i]
	if f.n < o.hi {
		for _, v := range m.values {
			least = min(least, plus(width(f.before()+m.key), plus(v.value.min, f.afterMember(f.i, v).measure())))
		}
	}
	if !m.required {
		f.i++
		least = min(least, f.measure())
	}
	return least
}

func (f membersFrom) mayEnd() bool { return f.n >= f.o.lo && f.met == f.o.wanted }

func (f membersFrom) mayExtra(e int) bool {
	return f.n < f.o.hi && (f.i == len(f.o.members) || !f.o.oneExtra) && f.may>>e&1 == 1
}

func (f membersFrom) before() string {
	if f.n == 0 {
		return f.o.open
	}
	return f.o.comma
}

func (f membersFrom) end() string {
	if f.n == 0 {
		return f.o.none
	}
	return f.o.close
}

// afterMember is the place after member i.
func (f membersFrom) afterMember(i int, v memberValue) membersFrom {
	return membersFrom{f.o, i + 1, f.o.count(f.n + 1), f.met | v.meets, f.may}
}

// afterExtra is the place after an extra member.
func (f membersFrom) afterExtra(e int) membersFrom {
	n := f.n + 1
	if f.i > len(f.o.members) && f.o.lo > 1 {
		n = f.n // its name may be that of the one before
	}
	x := f.o.extras[e]
	return membersFrom{f.o, len(f.o.members) + 1, f.o.count(n), f.met | x.meets, f.may & x.after}
}

func (f membersFrom) expand(b *builder) *node {
	o := f.o
	var list []*node
	for ; f.i < len(o.members); f.i++ {
		m := o.members[f.i]
		for _, v := range m.values {
			if f.n < o.hi {
				list = append(list, b.seq(b.laid(f.before()+m.key), v.value, b.ruled(f.afterMember(f.i, v))))
			}
		}
		if m.required {
			return b.alt(list...)
		}
	}
	if f.mayEnd() {
		list = append(list, b.laid(f.end()))
	}
	for e := range o.extras {
		if f.mayExtra(e) {
			list = append(list, b.seq(b.laid(f.before()), o.extras[e].member, b.ruled(f.afterExtra(e))))
		}
	}
	return b.alt(list...)
}

func (f membersFrom) shortest() int  { return f.measure() }
func (f membersFrom) isQuoted() bool { return false }

func (f membersFrom) parts() []*node {
	list := make([]*node, 1, 1+len(f.o.extras)+len(f.o.members))
	for _, x := range f.o.extras {
		list = append(list, x.member)
	}
	text := []byte("}" + f.o.open + f.o.comma + f.o.close)
	for _, m := range f.o.members {
		text = append(text, m.key...)
		for _, v := range m.values {
			list = append(list, v.value)
		}
	}
	list[0] = marks(string(text))
	return list
}
