package constrain

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// document is the text of a schema, and what is worked out from it whatever the
// layout and the constants are.
type document struct {
	root  *value
	draft draft
	opts  Options
	b     *builder

	values    int               // how many there are
	bases     map[*value]string // of each resource, its URI
	resources map[string]*value // by URI, and by URI with an anchor as fragment
	dynamic   map[string]int    // how often each $dynamicAnchor is set
	recursive int               // how often $recursiveAnchor is

	classes  map[classKey][]nameClass
	numbers  map[string]*node // of number sets, by name
	noString map[string]bool  // whether string sets are empty, by name
	names    map[nameKey]*value
	terms    map[term]*set
	busy     map[term]bool // terms that are being worked out
	conds    map[string]*cond
	single   map[term]*cond // those of one term
	sets     map[*cond]*set
	empty    map[*cond]bool
	probes   int  // how deep emptiness is being asked for
	doubt    bool // what is being worked out rests on a term not known yet
	faults   []*Fault

	excluding bool   // some value was left out for being valid elsewhere
	narrowed  *value // a schema some of whose values are left out
}

func newDocument(root *value, b *builder, opts Options) *document {
	d := &document{
		root: root, opts: opts, b: b,
		bases: map[*value]string{}, resources: map[string]*value{}, dynamic: map[string]int{},
		classes: map[classKey][]nameClass{}, numbers: map[string]*node{}, noString: map[string]bool{}, names: map[nameKey]*value{}, terms: map[term]*set{}, busy: map[term]bool{}, conds: map[string]*cond{}, single: map[term]*cond{}, sets: map[*cond]*set{}, empty: map[*cond]bool{},
	}
	var known bool
	if d.draft, known = draftOf(root); !known {
		d.fault(root, "$schema", unknownDialect, root.get("$schema").text)
	}
	d.resources[""] = root
	d.locate(root, place{home: root})
	return d
}

// draft is a version of JSON Schema, by its number or year.
type draft int

const (
	draft4  draft = 4
	draft6  draft = 6
	draft7  draft = 7
	draft19 draft = 2019
	draft20 draft = 2020
)

// draftOf reads $schema. Without one, and with a metaschema of somebody's own, it
// is the newest. It reports false for drafts before 4, whose keywords are others.
func draftOf(root *value) (draft, bool) {
	s := root.get("$schema")
	if s == nil || s.kind != "string" {
		return draft20, true
	}
	name := strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(s.text, "https://"), "http://"), "#")
	switch name {
	case "json-schema.org/draft-04/schema":
		return draft4, true
	case "json-schema.org/draft-06/schema":
		return draft6, true
	case "json-schema.org/draft-07/schema":
		return draft7, true
	case "json-schema.org/draft/2019-09/schema":
		return draft19, true
	}
	return draft20, !strings.HasPrefix(name, "json-schema.org/draft-0")
}

// How JSON pointers write the names of members.
var (
	toPointer   = strings.NewReplacer("~", "~0", "/", "~1")
	fromPointer = strings.NewReplacer("~1", "/", "~0", "~")
)

// locate notes the place, the resource and the anchors of every value.
func (d *document) locate(v *value, at place) {
	at.home, at.id = d.identify(v, at.home), d.values
	d.values++
	v.at = at
	for _, m := range v.members {
		d.locate(m.value, place{home: at.home, up: v, name: m.name})
	}
	for i, x := range v.items {
		d.locate(x, place{home: at.home, up: v, item: i})
	}
}

// identify reads the identifier and the anchors of v, and returns the resource
// that it belongs to.
func (d *document) identify(v, home *value) *value {
	keyword := "$id"
	if d.draft == draft4 {
		keyword = "id"
	}
	beside := d.draft <= draft7 && v.get("$ref") != nil // which makes the others count for nothing
	if id := v.get(keyword); id != nil && id.kind == "string" && !beside {
		if anchor, ok := strings.CutPrefix(id.text, "#"); ok {
			d.name(home, anchor, v)
		} else if base, err := resolveURI(d.bases[home], id.text); err == nil {
			home = v
			d.bases[v], _, _ = strings.Cut(base, "#")
			d.resources[d.bases[v]] = v
		}
	}
	if x := v.get("$recursiveAnchor"); x != nil && x.text == "true" {
		d.recursive++
	}
	for _, keyword := range []string{"$anchor", "$dynamicAnchor"} {
		if x := v.get(keyword); x != nil && x.kind == "string" {
			d.name(home, x.text, v)
			if keyword == "$dynamicAnchor" {
				d.dynamic[x.text]++
			}
		}
	}
	return home
}

func (d *document) name(home *value, anchor string, v *value) {
	d.resources[d.bases[home]+"#"+anchor] = v
}

func resolveURI(base, ref string) (string, error) {
	b, err := url.Parse(base)
	if err != nil {
		return "", err
	}
	r, err := b.Parse(ref)
	if err != nil {
		return "", err
	}
	return r.String(), nil
}

// resolve finds the schema that a reference in a schema leads to.
func (d *document) resolve(ref *value) (*value, error) {
	if ref.kind != "string" {
		return nil, fmt.Errorf("want a string")
	}
	address, fragment, _ := strings.Cut(ref.text, "#")
	home := ref.at.home
	if address != "" {
		uri, err := resolveURI(d.bases[home], address)
		if err != nil {
			return nil, fmt.Errorf("%q is no URI", ref.text)
		}
		if home = d.resources[uri]; home == nil {
			return nil, fmt.Errorf("%q leads out of this schema, and nothing is fetched; put the schema under $defs with %q as its $id", ref.text, uri)
		}
	}
	fragment, err := url.PathUnescape(fragment)
	if err != nil {
		return nil, fmt.Errorf("%q is no URI", ref.text)
	}
	if fragment != "" && fragment[0] != '/' {
		if v := d.resources[d.bases[home]+"#"+fragment]; v != nil {
			return v, nil
		}
		return nil, fmt.Errorf("%q: no $anchor of that name", ref.text)
	}
	if v := walkPointer(home, fragment); v != nil {
		return v, nil
	}
	if v := walkPointer(d.root, fragment); v != nil { // past an id that was not meant as one
		return v, nil
	}
	return nil, fmt.Errorf("%q: nothing there", ref.text)
}

// walkPointer follows a JSON pointer, to nil if it leads nowhere.
func walkPointer(v *value, pointer string) *value {
	for _, name := range strings.Split(pointer, "/")[1:] {
		name = fromPointer.Replace(name)
		next := v.get(name)
		if i, err := strconv.Atoi(name); err == nil && i >= 0 && i < len(v.items) {
			next = v.items[i]
		}
		if v = next; v == nil {
			return nil
		}
	}
	return v
}

// fault notes a fault at keyword of v, at v itself if it is "".
func (d *document) fault(v *value, keyword string, why reason, args ...any) {
	at := v.pointer()
	if keyword != "" {
		at += "/" + keyword
	}
	f := why.fault(at, args...)
	if !slices.ContainsFunc(d.faults, func(g *Fault) bool { return *g == *f }) {
		d.faults = append(d.faults, f)
	}
}

// synthetic makes a schema that stands at the place of another.
func (d *document) synthetic(of *value, members ...member) *value {
	v := &value{kind: "object", members: members}
	v.at = place{id: d.values, home: of.at.home, up: of, same: true}
	d.values++
	return v
}
