package evalx

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// TaskOptions say what [NewTask] makes a task of.
type TaskOptions struct {
	// Name is the task's.
	Name string
	// Schema is the JSON Schema of the answers; nil for none.
	Schema *Schema
	// Answers are wanted answers, for what the schema leaves open: without one
	// they say which fields there are.
	Answers []Value
	// Comparators is a comparators file, JSON, or nil: for a path, how it is
	// compared.
	//
	//	{"title": "words", "amount": {"numeric": 0.01}, "steps": "ordered", "lines[].text": "unaccented", "notes": "ignore"}
	//
	// A path is made of keys joined by dots as in [Lookup], of [] for the items
	// of an array and .* for those keys of an object that have no names of their
	// own; "" is the whole answer. The comparators are those of this package:
	// exact, folded (Folded by Fold), unaccented (Folded by FoldAccents), words
	// (TokenOverlap of Words, {"words": 0.6} for another share than all),
	// numeric ({"numeric": 0.01} for a tolerance), and, of arrays, set,
	// unordered (Assignment) and ordered; what is to be left out is "ignore".
	Comparators []byte
	// Ignore are paths that are not compared, such as those that repeat the
	// question. Those that no answer has are passed over.
	Ignore []string
	// Groups split the counts.
	Groups []Group
}

// mostFields bounds the fields of a task.
const mostFields = 1000

// NewTask derives a task from a schema, from wanted answers, or from both. Every
// member of an object is a field, those of objects in it by paths with dots; an
// object that can be null or absent is one too, right if it is there when it
// should be. Without a choice in the comparators file
//
//   - text is compared as [Folded] by [Fold], but exactly if the schema lists it
//     or gives it a pattern or format,
//   - numbers by value, true, false and null exactly,
//   - arrays of single values as a [Set], of objects and arrays as an
//     [Assignment]; [Ordered] those of true and false, and those with prefixItems
//     or of one length (minItems equal to maxItems),
//   - objects in arrays, and those with keys that the schema does not name, member
//     by member,
//   - what neither the schema nor the answers describe, exactly.
//
// An answer has passed if it complies with the schema, every field is right, and
// it has no key that is in neither the schema nor any wanted answer. Classes of
// errors are invalid_json, missing_value, invented_value, wrong_value and
// unexpected_key, by field.
//
// The error lists all faults of the comparators file: its form, paths that no
// answer can have, and comparators that are not for the values there.
func NewTask(opts TaskOptions) (Task, error) {
	root := &shape{}
	if opts.Schema != nil {
		root = opts.Schema.shape()
	}
	root = root.learn(opts.Answers)
	b := &taskBuilder{ignored: opts.Ignore, used: map[string]bool{}}
	if opts.Comparators != nil {
		b.choices, b.faults = parseChoices(opts.Comparators)
	}
	if b.build(root, maxDepth); len(b.fields) > mostFields {
		b.build(root, 1)
	}
	b.checkUnused()
	if b.faults != nil {
		return Task{}, errors.New(strings.Join(b.faults, "\n"))
	}
	return Task{
		Name: opts.Name, Schema: opts.Schema, Fields: b.fields, Groups: opts.Groups, Comparators: b.names,
		Classes: slices.Concat(fieldClasses, b.objectClasses()), Passed: passedFields,
	}, nil
}

// taskBuilder collects the fields of a task.
type taskBuilder struct {
	choices map[string]choice
	ignored []string
	used    map[string]bool // choices that were
	faults  []string

	fields  []Field
	names   map[string]string // of the comparators of fields
	objects []object          // whose members are fields
	paths   []string          // that a comparator can be chosen for
}

// object is a place whose members are fields.
type object struct {
	path     string
	shape    *shape
	optional bool // a field looks at whether it is there
}

func (b *taskBuilder) build(root *shape, depth int) {
	b.fields, b.names, b.objects, b.paths = nil, map[string]string{}, nil, nil
	b.addFields("", member{root, true}, depth)
}

// addFields adds the fields of a value: those of its members, or itself.
func (b *taskBuilder) addFields(path string, m member, depth int) {
	if len(b.fields) > mostFields {
		return
	}
	c, chosen := b.choices[path]
	switch {
	case slices.Contains(b.ignored, path) || c.name == "ignore":
		b.used[path] = true
	case depth > 0 && !chosen && len(m.keys) > 0 && m.others == nil && m.only(objectKind|nullKind):
		b.paths = append(b.paths, path)
		optional := !m.required || m.can(nullKind)
		b.objects = append(b.objects, object{path, m.shape, optional})
		if optional {
			b.add(path, rule{samePresence, "presence"})
		}
		for _, key := range m.keys {
			b.addFields(joinPath(path, key), m.of[key], depth-1)
		}
	default:
		b.add(path, b.rule(path, m.shape))
	}
}

func (b *taskBuilder) add(path string, r rule) {
	b.fields = append(b.fields, Field{Path: path, Compare: r.compare})
	b.names[path] = r.name
}

// samePresence accepts an object for an object, whatever its members.
func samePresence(want, got Value) bool {
	if kindOf(want) == objectKind {
		return kindOf(got) == objectKind
	}
	return Exact(want, got)
}

// rule returns how the values at a path are compared.
func (b *taskBuilder) rule(path string, s *shape) rule {
	if len(b.paths) > 100*mostFields {
		return rule{Exact, "exact"} // a schema made to grow without end
	}
	b.paths = append(b.paths, path)
	if s == nil {
		s = &shape{}
	}
	c, chosen := b.choices[path]
	if !chosen && !slices.Contains(b.ignored, path) {
		return b.ruleByKind(path, s)
	}
	if !chosen {
		c.name = "ignore"
	}
	b.used[path] = true
	by := choosers[c.name]
	if by.kinds != 0 && !s.can(by.kinds) {
		b.faults = append(b.faults, fmt.Sprintf("%s: %s is for %s, which no answer has there", shownPath(path), c.name, kindNames[by.kinds]))
	}
	if by.kinds != arrayKind {
		return rule{by.make(c, rule{}), c.String()}
	}
	item := b.rule(path+"[]", s.items)
	return rule{by.make(c, item), c.name + " of " + item.name}
}

var kindNames = map[kinds]string{textKind: "text", numberKind: "numbers", arrayKind: "arrays"}

// ruleByKind is the rule for values of a shape without a choice.
func (b *taskBuilder) ruleByKind(path string, s *shape) rule {
	text, array, object := rule{Folded(Fold), "folded"}, rule{Exact, "exact"}, rule{Exact, "exact"}
	if s.formal || s.kinds == 0 {
		text = rule{Exact, "exact"}
	}
	if s.kinds&arrayKind != 0 && (s.items != nil || s.first != nil) {
		array = b.arrayRule(path, s)
	}
	if s.kinds&objectKind != 0 {
		object = b.objectRule(path, s)
	}
	by := map[kinds]rule{textKind: text, arrayKind: array, objectKind: object, numberKind: {Exact, "numeric"}}
	if r, one := by[s.kinds&^nullKind]; one {
		return r
	}
	if s.kinds == 0 || s.only(nullKind|boolKind) {
		return rule{Exact, "exact"}
	}
	return rule{func(want, got Value) bool {
		if r, ok := by[kindOf(want)]; ok {
			return r.compare(want, got)
		}
		return Exact(want, got)
	}, "by kind"}
}

func (b *taskBuilder) arrayRule(path string, s *shape) rule {
	if s.first != nil {
		first := make([]Comparator, len(s.first))
		for i := range s.first {
			first[i] = b.rule(path+"[]", s.first[i]).compare
		}
		rest := b.rule(path+"[]", s.items)
		return rule{inOrder(first, rest.compare), "ordered"}
	}
	item := b.rule(path+"[]", s.items)
	if s.placed || s.items.only(boolKind) {
		return rule{Ordered(item.compare), "ordered of " + item.name}
	}
	if s.items.only(nullKind | boolKind | numberKind | textKind) {
		return rule{Set(item.compare), "set of " + item.name}
	}
	return rule{Assignment(item.compare), "unordered of " + item.name}
}

// inOrder compares the first items each with a comparator of its own.
func inOrder(first []Comparator, rest Comparator) Comparator {
	return listwise(func(want, got []any) bool {
		if len(want) != len(got) {
			return false
		}
		for i := range want {
			compare := rest
			if i < len(first) {
				compare = first[i]
			}
			if !compare(want[i], got[i]) {
				return false
			}
		}
		return true
	})
}

// objectRule compares objects member by member, those that are not known exactly
// or as the schema says of other keys.
func (b *taskBuilder) objectRule(path string, s *shape) rule {
	members := map[string]Comparator{}
	for _, key := range s.keys {
		members[key] = b.rule(joinPath(path, key), s.of[key].shape).compare
	}
	others := Exact
	if s.others != nil {
		others = b.rule(path+".*", s.others).compare
	}
	equal := func(w, g map[string]any, key string) bool {
		compare, known := members[key]
		if !known {
			compare = others
		}
		return compare(memberOf(w, key), memberOf(g, key))
	}
	return rule{func(want, got Value) bool {
		w, ok1 := want.(map[string]any)
		g, ok2 := got.(map[string]any)
		if !ok1 || !ok2 {
			return Exact(want, got)
		}
		for key := range w {
			if !equal(w, g, key) {
				return false
			}
		}
		for key := range g {
			if _, both := w[key]; !both && !equal(w, g, key) {
				return false
			}
		}
		return true
	}, "members"}
}

func memberOf(object map[string]any, key string) Value {
	if v, ok := object[key]; ok {
		return v
	}
	return Missing{}
}

// checkUnused reports the choices for paths that are not compared.
func (b *taskBuilder) checkUnused() {
	slices.Sort(b.paths)
	paths := slices.Compact(b.paths)
	for _, path := range slices.Sorted(maps.Keys(b.choices)) {
		if b.used[path] {
			continue
		}
		if outer, ok := b.outer(path); ok {
			how := cmp.Or(b.choices[outer], choice{name: "ignore"})
			b.faults = append(b.faults, fmt.Sprintf("%s: is inside %s, which is compared as a whole (%s)", shownPath(path), shownPath(outer), how))
			continue
		}
		const most = 30
		var known []string
		for _, p := range paths[:min(len(paths), most)] {
			known = append(known, shownPath(p))
		}
		more := ""
		if len(paths) > most {
			more = fmt.Sprintf(" and %d more", len(paths)-most)
		}
		b.faults = append(b.faults, fmt.Sprintf("%s: no answer has this path; there are %s%s", shownPath(path), strings.Join(known, ", "), more))
	}
}

// outer returns the place around a path whose comparator does not look at its
// parts.
func (b *taskBuilder) outer(path string) (string, bool) {
	for _, outer := range slices.Concat(b.ignored, slices.Sorted(maps.Keys(b.choices))) {
		inside := outer == "" || strings.HasPrefix(path, outer+".") || strings.HasPrefix(path, outer+"[")
		if path != outer && inside && choosers[b.choices[outer].name].kinds != arrayKind {
			return outer, true
		}
	}
	return "", false
}
