package evalx

import (
	"maps"
	"slices"
)

// fieldClasses are the classes of errors that fields show, with their names as
// details.
var fieldClasses = []Class{
	{Name: "invalid_json", Find: func(r Result, _ Value) []string {
		if r.ParseError != nil {
			return []string{""}
		}
		return nil
	}},
	{Name: "missing_value", Find: wrongFields(func(f FieldResult) bool { return !IsEmpty(f.Want) && IsEmpty(f.Got) })},
	{Name: "invented_value", Find: wrongFields(func(f FieldResult) bool { return IsEmpty(f.Want) && !IsEmpty(f.Got) })},
	{Name: "wrong_value", Find: wrongFields(func(f FieldResult) bool { return IsEmpty(f.Want) == IsEmpty(f.Got) })},
}

// wrongFields finds fields of answers that were read, and are wrong in one way.
func wrongFields(way func(FieldResult) bool) func(Result, Value) []string {
	return func(r Result, _ Value) []string {
		var names []string
		for _, f := range r.Fields {
			if r.ParseError == nil && !f.Correct && way(f) {
				names = append(names, shownPath(f.Name))
			}
		}
		return names
	}
}

// Classes of what no field shows.
const (
	unexpectedKey = "unexpected_key"
	notAnObject   = "not_an_object"
)

// objectClasses are the classes of errors in objects whose members are fields:
// keys that are no field and not as wanted, and other values in their place.
func (b *taskBuilder) objectClasses() []Class {
	find := func(object func(o object, want, got Value) []string) func(Result, Value) []string {
		return func(r Result, got Value) []string {
			var found []string
			for _, o := range b.objects {
				found = append(found, object(o, Lookup(r.Want, o.path), Lookup(got, o.path))...)
			}
			return found
		}
	}
	return []Class{
		{Name: unexpectedKey, Find: find(func(o object, want, got Value) []string {
			var paths []string
			wanted, _ := want.(map[string]any)
			given, ok := got.(map[string]any)
			if !ok {
				return nil
			}
			for _, key := range slices.Concat(slices.Collect(maps.Keys(wanted)), slices.Collect(maps.Keys(given))) {
				path := joinPath(o.path, key)
				if _, known := o.shape.of[key]; !known && !slices.Contains(b.ignored, path) && !Exact(memberOf(wanted, key), memberOf(given, key)) {
					paths = append(paths, path)
				}
			}
			slices.Sort(paths)
			return slices.Compact(paths)
		})},
		{Name: notAnObject, Find: find(func(o object, want, got Value) []string {
			if _, missing := got.(Missing); missing || o.optional || kindOf(want) != objectKind || kindOf(got) == objectKind {
				return nil
			}
			return []string{shownPath(o.path)}
		})},
	}
}

// passedFields asks for an answer that complies with the schema, is right in
// every field and holds nothing else.
func passedFields(r Result) bool {
	return r.Compliant() && r.AllCorrect && !slices.ContainsFunc(r.Errors, func(f Finding) bool {
		return f.Class == unexpectedKey || f.Class == notAnObject
	})
}
