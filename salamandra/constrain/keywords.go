package constrain

import (
	"maps"
	"slices"
	"strings"
)

// keyword is what is known of one: the kinds of its value and the drafts that
// have it.
type keyword struct {
	kinds      string
	from, last draft // 0 for all
}

// keywords are those that constrain, or lead to schemas that do.
var keywords = map[string]keyword{
	"$ref": {kinds: "string"}, "$dynamicRef": {"string", draft20, 0}, "$recursiveRef": {"string", draft19, draft19},
	"type": {kinds: "string array"}, "enum": {kinds: "array"}, "const": {"", draft6, 0},
	"allOf": {kinds: "array"}, "anyOf": {kinds: "array"}, "oneOf": {kinds: "array"}, "not": {kinds: "object boolean"},
	"if": {"object boolean", draft7, 0}, "then": {"object boolean", draft7, 0}, "else": {"object boolean", draft7, 0},
	"minLength": {kinds: "number"}, "maxLength": {kinds: "number"}, "pattern": {kinds: "string"}, "format": {kinds: "string"},
	"minimum": {kinds: "number"}, "maximum": {kinds: "number"}, "exclusiveMinimum": {kinds: "number boolean"}, "exclusiveMaximum": {kinds: "number boolean"}, "multipleOf": {kinds: "number"},
	"items": {kinds: "object boolean array"}, "additionalItems": {"object boolean", 0, draft19}, "prefixItems": {"array", draft20, 0},
	"minItems": {kinds: "number"}, "maxItems": {kinds: "number"}, "uniqueItems": {kinds: "boolean"}, "unevaluatedItems": {"object boolean", draft19, 0},
	"contains": {"object boolean", draft6, 0}, "minContains": {"number", draft19, 0}, "maxContains": {"number", draft19, 0},
	"properties": {kinds: "object"}, "required": {kinds: "array"}, "additionalProperties": {kinds: "object boolean"}, "patternProperties": {kinds: "object"},
	"minProperties": {kinds: "number"}, "maxProperties": {kinds: "number"}, "propertyNames": {"object boolean", draft6, 0}, "unevaluatedProperties": {"object boolean", draft19, 0},
	"dependencies": {"object", 0, draft7}, "dependentRequired": {"object", draft19, 0}, "dependentSchemas": {"object", draft19, 0},
}

// Keywords returns the names of the keywords that constrain a value, sorted.
func Keywords() []string { return slices.Sorted(maps.Keys(keywords)) }

// annotations are keywords of some draft that assert nothing.
var annotations = []string{
	"$schema", "$id", "id", "$anchor", "$dynamicAnchor", "$recursiveAnchor", "$vocabulary", "$comment", "$defs", "definitions", "title", "description", "default",
	"examples", "deprecated", "readOnly", "writeOnly", "contentEncoding", "contentMediaType", "contentSchema",
}

// get returns a keyword of a schema, nil where the draft does not have it.
func (d *document) get(v *value, name string) *value {
	x := v.get(name)
	if x == nil {
		return nil
	}
	if k := keywords[name]; d.draft < k.from || k.last != 0 && d.draft > k.last && !d.lenient() {
		return nil
	}
	return x
}

// lenient reports whether the schema does not say what draft it is of. Keywords
// that the newest no longer has then mean what they meant.
func (d *document) lenient() bool {
	s := d.root.get("$schema")
	return s == nil || !strings.Contains(s.text, "//json-schema.org/")
}

// readable notes what is wrong with the keywords of v by themselves, and reports
// whether nothing is.
func (d *document) readable(v *value) bool {
	if v.kind != "object" {
		d.fault(v, "", badSchema, v.kind)
		return false
	}
	before := len(d.faults)
	for _, m := range v.members {
		k, known := keywords[m.name]
		switch {
		case !known:
			if d.opts.Strict && !slices.Contains(annotations, m.name) && !strings.HasPrefix(m.name, "x-") {
				d.fault(v, m.name, unknownKeyword, m.name)
			}
		case d.get(v, m.name) == nil || k.kinds == "":
		case !slices.Contains(strings.Fields(k.kinds), m.value.kind):
			d.fault(v, m.name, badKeyword, m.name, m.value.kind, strings.ReplaceAll(k.kinds, " ", " or "))
		}
	}
	for _, name := range []string{"allOf", "anyOf", "oneOf"} {
		if x := v.get(name); x != nil && len(x.items) == 0 {
			d.fault(v, name, badList, name)
		}
	}
	if x := v.get("required"); x != nil && slices.ContainsFunc(x.items, func(name *value) bool { return name.kind != "string" }) {
		d.fault(v, "required", badRequired)
	}
	return len(d.faults) == before
}

// schemaSet returns the values that are valid under v.
func (d *document) schemaSet(v *value) *set {
	if !d.readable(v) {
		return full()
	}
	if ref := v.get("$ref"); ref != nil && d.draft <= draft7 { // what stands beside it does not count
		return d.reference(v, "$ref", false)
	}
	s := d.assertions(v)
	for _, m := range v.members {
		if d.get(v, m.name) == nil {
			continue
		}
		if part := d.applicator(v, m.name); part != nil {
			s = d.intersect(s, part, v)
		}
	}
	return d.unevaluated(v, s)
}

// applicator returns the values that one applicator of v allows, nil for other
// keywords.
func (d *document) applicator(v *value, name string) *set {
	x := v.get(name)
	switch name {
	case "$ref", "$dynamicRef", "$recursiveRef":
		return d.reference(v, name, false)
	case "allOf":
		s := full()
		for _, part := range x.items {
			s = d.intersect(s, d.termSet(term{schema: part}), v)
		}
		return s
	case "anyOf":
		var list []*set
		for _, part := range x.items {
			list = append(list, d.termSet(term{schema: part}))
		}
		return d.unite(v, list...)
	case "oneOf":
		return d.oneOf(v, x.items)
	case "not":
		d.excluding = true
		return d.termSet(term{x, true})
	case "if":
		yes, no := d.branches(v)
		if yes == anything && no == anything {
			return nil
		}
		return d.unite(v, d.setOf(d.cond(term{schema: x}, yes)), d.setOf(d.cond(term{x, true}, no)))
	case "dependencies", "dependentRequired", "dependentSchemas":
		return d.dependencies(v, x)
	}
	return nil
}

// branches returns the terms of then and else.
func (d *document) branches(v *value) (yes, no term) {
	yes, no = anything, anything
	if x := v.get("then"); x != nil {
		yes = term{schema: x}
	}
	if x := v.get("else"); x != nil {
		no = term{schema: x}
	}
	d.excluding = true
	return yes, no
}

// dependencies returns the objects in which a member brings along other members,
// or a schema.
func (d *document) dependencies(v, x *value) *set {
	s := full()
	for _, m := range x.members {
		has, then := d.dependency(m)
		s = d.intersect(s, d.unite(v, d.termSet(has.opposite()), d.setOf(d.cond(has, then))), v)
	}
	return s
}

// dependency returns the terms of having a member, and of what it brings along.
func (d *document) dependency(m member) (has, then term) {
	then = term{schema: m.value}
	if m.value.kind == "array" {
		then.schema = d.once(m.value, "required", member{"required", m.value})
	}
	name := &value{kind: "array", items: []*value{stringValue(m.name)}}
	return term{schema: d.once(m.value, "present", member{"type", stringValue("object")}, member{"required", name})}, then
}

// once returns a schema that stands at v, always the same for a purpose.
func (d *document) once(v *value, purpose string, members ...member) *value {
	k := nameKey{v, purpose}
	if d.names[k] == nil {
		d.names[k] = d.synthetic(v, members...)
	}
	return d.names[k]
}

func stringValue(text string) *value { return &value{kind: "string", text: text} }

// reference returns the values that the target of a reference allows, or those
// that it does not.
func (d *document) reference(v *value, name string, not bool) *set {
	ref := v.get(name)
	target, err := d.resolve(ref)
	if err != nil {
		d.fault(v, name, lostReference, name, err)
		return full()
	}
	if _, anchor, _ := strings.Cut(ref.text, "#"); name == "$dynamicRef" && d.dynamic[anchor] > 1 {
		d.fault(v, name, dynamicReference, d.dynamic[anchor])
	}
	if x := v.at.home.get("$recursiveAnchor"); name == "$recursiveRef" && x != nil && x.text == "true" && d.recursive > 1 {
		d.fault(v, name, recursiveReference, d.recursive)
	}
	return d.termSet(term{target, not})
}

// oneOf returns the values that are valid under exactly one schema of a list.
func (d *document) oneOf(v *value, list []*value) *set {
	d.excluding = true
	parts := make([]*set, len(list))
	for i, x := range list {
		parts[i] = d.termSet(term{schema: x})
		for j, y := range list {
			if i != j && !d.disjoint(parts[i], d.termSet(term{schema: y})) {
				parts[i] = d.intersect(parts[i], d.termSet(term{y, true}), v)
			}
		}
	}
	return d.unite(v, parts...)
}

// disjoint reports whether it is certain that two sets have no value in common.
func (d *document) disjoint(x, y *set) bool {
	if x.null && y.null || x.no && y.no || x.yes && y.yes {
		return false
	}
	return apart(x.numbers, y.numbers, (*numberSet).and, (*numberSet).empty) && apart(x.strings, y.strings, (*stringSet).and, d.emptyString) &&
		apart(x.arrays, y.arrays, (*arraySet).and, d.emptyArray) && apart(x.objects, y.objects, (*objectSet).and, d.emptyObject)
}

func apart[S shape[S]](x, y []S, and func(S, S) S, empty func(S) bool) bool {
	for _, s := range x {
		if slices.ContainsFunc(y, func(t S) bool { return !empty(and(s, t)) }) {
			return false
		}
	}
	return true
}

// opposite returns the values that are not valid under v.
func (d *document) opposite(v *value) *set {
	if !d.readable(v) {
		return full()
	}
	if v.get("$ref") != nil && d.draft <= draft7 {
		return d.reference(v, "$ref", true)
	}
	s := d.complement(d.assertions(v), v)
	for _, m := range v.members {
		if d.get(v, m.name) == nil {
			continue
		}
		if part := d.oppositeOf(v, m.name, m.value); part != nil {
			s = d.unite(v, s, part)
		}
	}
	return s.unevaluating()
}

// oppositeOf returns the values that one applicator of v does not allow, nil for
// other keywords.
func (d *document) oppositeOf(v *value, name string, x *value) *set {
	s := &set{}
	switch name {
	case "$ref", "$dynamicRef", "$recursiveRef":
		return d.reference(v, name, true)
	case "allOf":
		for _, part := range x.items {
			s = d.unite(v, s, d.termSet(term{part, true}))
		}
	case "anyOf":
		return d.noneOf(v, x.items)
	case "oneOf":
		s = d.noneOf(v, x.items)
		for i, p := range x.items {
			for _, q := range x.items[:i] {
				s = d.unite(v, s, d.intersect(d.termSet(term{schema: p}), d.termSet(term{schema: q}), v))
			}
		}
	case "not":
		return d.termSet(term{schema: x})
	case "if":
		yes, no := d.branches(v)
		return d.unite(v, d.setOf(d.cond(term{schema: x}, yes.opposite())), d.setOf(d.cond(term{x, true}, no.opposite())))
	case "dependencies", "dependentRequired", "dependentSchemas":
		for _, m := range x.members {
			has, then := d.dependency(m)
			s = d.unite(v, s, d.setOf(d.cond(has, then.opposite())))
		}
	case "unevaluatedProperties", "unevaluatedItems":
		d.fault(v, name, oppositeUnevaluated, name)
	default:
		return nil
	}
	return s
}

func (d *document) noneOf(v *value, list []*value) *set {
	s := full()
	for _, part := range list {
		s = d.intersect(s, d.termSet(term{part, true}), v)
	}
	return s
}
