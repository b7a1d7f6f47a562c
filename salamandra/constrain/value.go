package constrain

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"strconv"
	"strings"
	"unicode/utf8"
)

// value is a JSON value with its members in the order of the text.
type value struct {
	kind    string // as the keyword type names it: null, boolean, number, string, array, object
	text    string // of a string, decoded; of a number or a boolean, as written
	items   []*value
	members []member
	at      place // in a schema
}

// place is where a value stands in a schema.
type place struct {
	id   int    // each value has its own
	home *value // the schema resource around it
	up   *value // the value that it is a part of
	name string // as which member
	item int    // as which item
	same bool   // it was made for the place of up
}

// pointer is the JSON pointer of a value.
func (v *value) pointer() string {
	switch {
	case v.at.up == nil:
		return ""
	case v.at.same:
		return v.at.up.pointer()
	case v.at.up.kind == "array":
		return v.at.up.pointer() + "/" + strconv.Itoa(v.at.item)
	}
	return v.at.up.pointer() + "/" + toPointer.Replace(v.at.name)
}

type member struct {
	name  string
	value *value
}

func (v *value) get(name string) *value {
	for _, m := range v.members {
		if m.name == name {
			return m.value
		}
	}
	return nil
}

// maxDepth is how deep a JSON text may be nested.
const maxDepth = 200

// parseValue reads one JSON value.
func parseValue(data []byte) (*value, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	v, err := readValue(d, 0)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("more text after the JSON value")
	}
	return v, nil
}

func readValue(d *json.Decoder, depth int) (*value, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("nested more than %d deep", maxDepth)
	}
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t := t.(type) {
	case nil:
		return &value{kind: "null", text: "null"}, nil
	case bool:
		return &value{kind: "boolean", text: fmt.Sprint(t)}, nil
	case json.Number:
		return &value{kind: "number", text: t.String()}, nil
	case string:
		return &value{kind: "string", text: t}, nil
	}
	v := &value{kind: "array"}
	if t == json.Delim('{') {
		v.kind = "object"
	}
	var seen map[string]bool // the names of a large object
	for d.More() {
		var name string
		if v.kind == "object" {
			t, err := d.Token()
			if err != nil {
				return nil, err
			}
			name = t.(string) // the decoder lets no other token pass as a key
			if seen[name] || seen == nil && v.get(name) != nil {
				return nil, fmt.Errorf("the key %q comes twice in one object", name)
			}
			if seen = v.names(seen); seen != nil {
				seen[name] = true
			}
		}
		x, err := readValue(d, depth+1)
		if err != nil {
			return nil, err
		}
		if v.kind == "object" {
			v.members = append(v.members, member{name, x})
		} else {
			v.items = append(v.items, x)
		}
	}
	_, err = d.Token()
	return v, err
}

// fewMembers is up to how many names are looked for one after the other.
const fewMembers = 16

// names is the names of v, where they are many; known is what it was before.
func (v *value) names(known map[string]bool) map[string]bool {
	if known == nil && len(v.members) >= fewMembers {
		known = make(map[string]bool, 2*fewMembers)
		for _, m := range v.members {
			known[m.name] = true
		}
	}
	return known
}

// equal reports whether two values are the same to JSON Schema: numbers by
// their value, objects in any order.
func (v *value) equal(w *value) bool {
	if v.kind != w.kind || len(v.items) != len(w.items) || len(v.members) != len(w.members) {
		return false
	}
	if v.kind == "number" {
		x, okX := v.number()
		y, okY := w.number()
		return okX && okY && x.Cmp(y) == 0 || v.text == w.text
	}
	for i, x := range v.items {
		if !x.equal(w.items[i]) {
			return false
		}
	}
	for _, m := range v.members {
		if x := w.get(m.name); x == nil || !m.value.equal(x) {
			return false
		}
	}
	return v.text == w.text
}

// number returns the value of a number. It reports false if it is written with
// more than 100 digits or an exponent beyond 100.
func (v *value) number() (*big.Rat, bool) {
	if v.kind != "number" || len(v.text) > 100 {
		return nil, false
	}
	if i := strings.IndexAny(v.text, "eE"); i >= 0 {
		e, ok := new(big.Int).SetString(strings.TrimPrefix(v.text[i+1:], "+"), 10)
		if !ok || e.CmpAbs(big.NewInt(100)) > 0 {
			return nil, false
		}
	}
	return new(big.Rat).SetString(v.text)
}

// layout is where an answer's line breaks are, as json.dumps of Python puts
// them.
type layout struct {
	indent    int
	item, key string // what separates items, and a key from its value
	free      bool   // white space may stand at every gap
}

// gap is where white space is free, in what a layout puts between the parts of a
// value. No answer has this byte.
const gap = "\x00"

// width is the length of what a layout puts, without white space that is free.
func width(text string) int { return len(text) - strings.Count(text, gap) }

// marks is what a layout puts at the least, as a node for [needs].
func marks(text string) *node {
	return &node{op: opText, text: strings.ReplaceAll(text, gap, "")}
}

// newLayout returns the layout of the options; it fails on separators that are
// not a comma and a colon among blanks.
func newLayout(o Options) (layout, error) {
	if o.Whitespace > 0 {
		return layout{item: gap + "," + gap, key: gap + ":" + gap, free: true}, nil
	}
	l := layout{indent: o.Indent, item: cmp.Or(o.ItemSeparator, ", "), key: cmp.Or(o.KeySeparator, ": ")}
	if strings.Trim(l.item, " ") != "," || strings.Trim(l.key, " ") != ":" || max(len(l.item), len(l.key)) > maxSeparator {
		return l, fmt.Errorf("constrain: separators %q and %q, want a comma and a colon among blanks", l.item, l.key)
	}
	if l.indent > 0 {
		l.item = strings.TrimRight(l.item, " ")
	}
	return l, nil
}

// maxSeparator bounds a separator in bytes.
const maxSeparator = 16

// flat reports whether values are laid out alike at all depths.
func (l layout) flat() bool { return l.free || l.indent == 0 }

// lineBreak returns what comes before an item at a depth, first or not.
func (l layout) lineBreak(depth int) string {
	if l.free {
		return gap
	}
	if l.indent == 0 {
		return ""
	}
	return "\n" + strings.Repeat(" ", l.indent*depth)
}

// empty returns what comes in an array or object without items.
func (l layout) empty() string {
	if l.free {
		return gap
	}
	return ""
}

// comma returns what separates two items at a depth.
func (l layout) comma(depth int) string {
	if l.free {
		return l.item
	}
	return l.item + l.lineBreak(depth)
}

// append writes a value whose container's depth is given.
func (l layout) append(dst []byte, v *value, depth int) []byte {
	switch v.kind {
	case "string":
		return appendString(dst, v.text)
	case "array":
		dst = append(dst, '[')
		for i, x := range v.items {
			dst = append(dst, l.before(i, depth+1)...)
			dst = l.append(dst, x, depth+1)
		}
		if len(v.items) > 0 {
			dst = append(dst, l.lineBreak(depth)...)
		}
		return append(dst, ']')
	case "object":
		dst = append(dst, '{')
		for i, m := range v.members {
			dst = append(dst, l.before(i, depth+1)...)
			dst = append(appendString(dst, m.name), l.key...)
			dst = l.append(dst, m.value, depth+1)
		}
		if len(v.members) > 0 {
			dst = append(dst, l.lineBreak(depth)...)
		}
		return append(dst, '}')
	}
	return append(dst, v.text...)
}

// before returns what comes before item i at a depth.
func (l layout) before(i, depth int) string {
	if i == 0 {
		return l.lineBreak(depth)
	}
	return l.comma(depth)
}

// appendString writes a string in canonical form.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for _, r := range s {
		if text := escape(r); text != "" {
			dst = append(dst, text...)
		} else {
			dst = utf8.AppendRune(dst, r)
		}
	}
	return append(dst, '"')
}
