package evalx

import (
	"maps"
	"slices"
)

// kinds are JSON types that a value can have; none means that it is not known.
type kinds uint8

const (
	nullKind kinds = 1 << iota
	boolKind
	numberKind
	textKind
	arrayKind
	objectKind
)

// kindOf returns the type of a value, 0 for what is no JSON value.
func kindOf(v Value) kinds {
	switch v.(type) {
	case nil:
		return nullKind
	case bool:
		return boolKind
	case string:
		return textKind
	case []any:
		return arrayKind
	case map[string]any:
		return objectKind
	}
	if number(v) != nil {
		return numberKind
	}
	return 0
}

// shape is what is known of the values at one place of an answer. Shapes are
// not changed once they are made.
type shape struct {
	kinds  kinds
	fixed  bool     // the schema says which kinds there are, and no others
	formal bool     // text is one of a list or has a form of its own: letters count
	keys   []string // of objects, in the order of the schema
	of     map[string]member
	closed bool     // objects have no other keys
	others *shape   // values of other keys; nil if nothing is said of them
	items  *shape   // of arrays, after the first ones; nil if nothing is said of them
	first  []*shape // of arrays, item by item
	placed bool     // arrays have a fixed length: places have a meaning
}

type member struct {
	*shape
	required bool
}

// can reports whether the values may be of one of the kinds, as far as is known.
func (s *shape) can(k kinds) bool { return s.kinds == 0 || s.kinds&k != 0 }

// only reports whether it is known that the values are of the kinds.
func (s *shape) only(k kinds) bool { return s.kinds != 0 && s.kinds&^k == 0 }

// merge returns the shape of values that are of both shapes, or of one of them.
func merge(a, b *shape, both bool) *shape {
	if a == nil || b == nil {
		if both || a == b {
			return or(a, b)
		}
		return nil
	}
	s := &shape{
		fixed: a.fixed && b.fixed || both && (a.fixed || b.fixed), formal: a.formal && b.formal || both && (a.formal || b.formal),
		closed: a.closed && b.closed || both && (a.closed || b.closed), of: map[string]member{},
	}
	switch {
	case both && a.fixed && b.fixed:
		s.kinds = a.kinds & b.kinds
	case both && a.fixed:
		s.kinds = a.kinds
	case both && b.fixed:
		s.kinds = b.kinds
	case both || a.kinds != 0 && b.kinds != 0:
		s.kinds = a.kinds | b.kinds
	}
	if !both { // what is said of one kind holds where the other side has none of it
		s.formal = (a.formal || !a.can(textKind)) && (b.formal || !b.can(textKind))
		s.closed = (a.closed || !a.can(objectKind)) && (b.closed || !b.can(objectKind))
	}
	s.placed = (a.placed || !a.can(arrayKind)) && (b.placed || !b.can(arrayKind)) || both && (a.placed || b.placed)
	s.mergeMembers(a, b, both)
	s.others, s.items = mergeParts(a, b, a.others, b.others, objectKind, both), mergeParts(a, b, a.items, b.items, arrayKind, both)
	for i := range max(len(a.first), len(b.first)) {
		s.first = append(s.first, mergeParts(a, b, at(a.first, i), at(b.first, i), arrayKind, both))
	}
	return s
}

// mergeMembers sets the members of objects that are of both or of one of the
// shapes.
func (s *shape) mergeMembers(a, b *shape, both bool) {
	for _, side := range []*shape{a, b} {
		for _, key := range side.keys {
			if _, done := s.of[key]; done {
				continue
			}
			s.keys = append(s.keys, key)
			inA, okA := a.of[key]
			inB, okB := b.of[key]
			required := inA.required && inB.required || both && (inA.required || inB.required) ||
				!a.can(objectKind) && inB.required || !b.can(objectKind) && inA.required
			of := or(inA.shape, inB.shape)
			if okA && okB {
				of = merge(inA.shape, inB.shape, both)
			}
			s.of[key] = member{of, required}
		}
	}
}

// mergeParts merges what two shapes say of the parts of one kind of value.
func mergeParts(a, b, ofA, ofB *shape, k kinds, both bool) *shape {
	switch {
	case both, ofA != nil && ofB != nil:
		return merge(ofA, ofB, both)
	case !b.can(k):
		return ofA
	case !a.can(k):
		return ofB
	}
	return or(ofA, ofB)
}

func or(a, b *shape) *shape {
	if a != nil {
		return a
	}
	return b
}

func at(shapes []*shape, i int) *shape {
	if i < len(shapes) {
		return shapes[i]
	}
	return nil
}

// learn returns the shape with what values at its place show beside it, where
// the schema says nothing.
func (s *shape) learn(values []Value) *shape {
	l := *s
	var objects []map[string]any
	var items []Value
	for _, v := range values {
		if !l.fixed {
			l.kinds |= kindOf(v)
		}
		switch v := v.(type) {
		case map[string]any:
			objects = append(objects, v)
		case []any:
			items = append(items, v[min(len(v), len(s.first)):]...)
		}
	}
	if len(objects) > 0 && l.can(objectKind) {
		l.learnMembers(objects)
	}
	if len(items) > 0 && l.can(arrayKind) {
		if l.items == nil {
			l.items = &shape{}
		}
		l.items = l.items.learn(items)
	}
	return &l
}

func (s *shape) learnMembers(objects []map[string]any) {
	values := map[string][]Value{}
	for _, object := range objects {
		for key, v := range object {
			values[key] = append(values[key], v)
		}
	}
	s.keys, s.of = slices.Clone(s.keys), maps.Clone(s.of)
	if s.of == nil {
		s.of = map[string]member{}
	}
	var others []Value
	for _, key := range slices.Sorted(maps.Keys(values)) {
		known, ok := s.of[key]
		switch {
		case ok:
			s.of[key] = member{known.learn(values[key]), known.required}
		case s.others != nil:
			others = append(others, values[key]...)
		case !s.closed:
			s.keys = append(s.keys, key)
			s.of[key] = member{(&shape{}).learn(values[key]), len(values[key]) == len(objects)}
		}
	}
	if others != nil {
		s.others = s.others.learn(others)
	}
}
