package constrain

import "strings"

// uniqueRule is the inside of an array whose items differ, with the bracket that
// closes it. Equal items have equal texts, and one item suffices.
type uniqueRule struct {
	item               *node
	lo, hi             int // number of items; lo is 0 or 1
	open, comma, close string
	none               string // in place of items
}

// uniqueFrom is a uniqueRule after n items, whose texts are seen, with a zero byte
// before each.
type uniqueFrom struct {
	r    *uniqueRule
	n    int
	seen string
}

func (f uniqueFrom) expand(b *builder) *node {
	text, end := f.r.open, f.r.none
	if f.n > 0 {
		text, end = f.r.comma, f.r.close
	}
	list := []*node{b.fail}
	if f.n >= f.r.lo {
		list = append(list, b.laid(end))
	}
	var seen []string
	if f.n > 0 {
		seen = strings.Split(f.seen, "\x00")[1:]
	}
	if item := b.except(f.r.item, seen); item.op != opFail && f.n < f.r.hi {
		list = append(list, b.pair(b.laid(text), b.itemNode(itemOnce{f, item, ""})))
	}
	return b.alt(list...)
}

func (f uniqueFrom) shortest() int {
	switch {
	case f.n > 0:
		return width(f.r.close)
	case f.r.lo == 0:
		return width(f.r.none)
	}
	return plus(width(f.r.open), plus(f.r.item.min, width(f.r.close)))
}

func (f uniqueFrom) isQuoted() bool { return false }

func (f uniqueFrom) parts() []*node {
	list := []*node{marks("]" + f.r.open + f.r.comma + f.r.close), f.r.item}
	return append(list, exceptFrom{r: &exceptRule{}, inner: f.r.item}.parts()...)
}

// itemOnce is an item of a uniqueRule after its first bytes, and what follows it:
// it keeps the item's text, which must not come again.
type itemOnce struct {
	before uniqueFrom
	inner  *node // the rest of the item
	text   string
}

// after is the place after the item.
func (f itemOnce) after() uniqueFrom {
	return uniqueFrom{f.before.r, f.before.n + 1, f.before.seen + "\x00" + f.text}
}

func (b *builder) itemNode(f itemOnce) *node {
	if f.inner.op == opEmpty {
		return b.ruled(f.after())
	}
	return b.ruled(f)
}

// derive returns what may follow a byte. It is found byte by byte, as each makes
// another text.
func (f itemOnce) derive(b *builder, c byte) *node {
	list := []*node{b.fail}
	if inner := b.derive(f.inner, c); inner.op != opFail {
		list = append(list, b.itemNode(itemOnce{f.before, inner, f.text + string([]byte{c})}))
	}
	if f.inner.min == 0 {
		list = append(list, b.derive(b.ruled(f.after()), c))
	}
	return b.alt(list...)
}

// expand is for what looks at the rule as a whole.
func (f itemOnce) expand(b *builder) *node {
	var list []*node
	for c := range 256 {
		if d := f.derive(b, byte(c)); d.op != opFail {
			list = append(list, b.pair(b.byteIn(byte(c), byte(c)), d))
		}
	}
	return b.alt(list...)
}

func (f itemOnce) shortest() int  { return plus(f.inner.min, width(f.before.r.close)) }
func (f itemOnce) isQuoted() bool { return false }
func (f itemOnce) parts() []*node { return append(f.before.parts(), f.inner) }

// forgetful is the same place without its text, from which the masks are found:
// only a token that holds another whole item can make a difference.
func (f itemOnce) forgetful(b *builder) *node {
	return b.pair(f.inner, b.ruled(uniqueFrom{f.before.r, f.before.n + 1, f.before.seen + "\x00\x01"}))
}
