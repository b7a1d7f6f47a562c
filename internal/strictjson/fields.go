package strictjson

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/impulse-salamandra/finetune/internal/faults"
)

// fieldsDepth bounds the nesting of the files that people and programs write to
// say how something is to be done.
const fieldsDepth = 64

// Fields reads the members of an object by name and collects what is wrong with
// them. A member that is absent and one that is null are the same, as in
// Transformers and PEFT, and leave the default in place.
type Fields struct {
	text    []byte
	object  *Value
	path    Path
	list    *faults.List
	invalid error
	read    map[string]bool
}

// ReadFields begins to read a text that is to be one object. What is wrong with
// the text goes to list, and so does every value of another type than the one
// asked for, with invalid as its cause. It returns nil where there is no object
// to read.
func ReadFields(text []byte, list *faults.List, invalid error) *Fields {
	root, found, complete := Parse(text, 0, fieldsDepth)
	for _, f := range found {
		line, column := Position(text, f.Offset)
		place := fmt.Sprintf("line %d, column %d", line, column)
		if len(f.Path) > 0 {
			place += ": " + f.Path.String()
		}
		list.Add(place, faults.Caused(invalid, "%s", f.Detail))
	}
	if !complete {
		return nil
	}
	return NewFields(text, &root, list, invalid)
}

// NewFields is ReadFields of a text that was parsed as root. It returns nil, after
// a fault, where root is no object.
func NewFields(text []byte, root *Value, list *faults.List, invalid error) *Fields {
	if root.Kind != Object {
		list.Join(faults.Caused(invalid, "the file holds a JSON %s, want an object", root.Kind))
		return nil
	}
	return &Fields{text: text, object: root, list: list, invalid: invalid, read: map[string]bool{}}
}

// Value returns a member, nil if it is absent or null.
func (f *Fields) Value(key string) *Value {
	f.read[key] = true
	if v := f.object.Get(key); v != nil && v.Kind != Null {
		return v
	}
	return nil
}

// Has reports whether a member is there and not null.
func (f *Fields) Has(key string) bool { return f.Value(key) != nil }

// Need reports the members of these names that are absent.
func (f *Fields) Need(keys ...string) {
	for _, key := range keys {
		if !f.Has(key) {
			f.Fault(key, f.invalid, "missing")
		}
	}
}

// Raw returns a value as it is written in the text.
func (f *Fields) Raw(v *Value) []byte { return f.text[v.Offset:v.End] }

// Source returns a value as it is written in the text but on one line, without
// what goes beyond 60 characters, for messages.
func (f *Fields) Source(v *Value) string {
	const most = 60
	source := strings.Join(strings.Fields(string(f.text[v.Offset:v.End])), " ")
	if runes := []rune(source); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return source
}

// Fault adds a fault of a member, "" for the object itself.
func (f *Fields) Fault(key string, cause error, format string, args ...any) {
	path := f.path
	if key != "" {
		path = path.Key(key)
	}
	f.list.Add(path.String(), faults.Caused(cause, format, args...))
}

// wrong adds a fault of a member of the wrong type.
func (f *Fields) wrong(key string, v *Value, want string) {
	f.Fault(key, f.invalid, "%s, want %s", f.Source(v), want)
}

// String returns a text.
func (f *Fields) String(key, otherwise string) string {
	v := f.Value(key)
	if v == nil {
		return otherwise
	}
	if v.Kind != String {
		f.wrong(key, v, "a string")
		return otherwise
	}
	return v.Text
}

// Bool returns a boolean.
func (f *Fields) Bool(key string, otherwise bool) bool {
	v := f.Value(key)
	if v == nil {
		return otherwise
	}
	if v.Kind != Boolean {
		f.wrong(key, v, "true or false")
		return otherwise
	}
	return v.Text == "true"
}

// Number returns a finite number.
func (f *Fields) Number(key string, otherwise float64) float64 {
	v := f.Value(key)
	if v == nil {
		return otherwise
	}
	n, err := strconv.ParseFloat(v.Text, 64)
	if v.Kind != Number || err != nil || math.IsInf(n, 0) {
		f.wrong(key, v, "a number")
		return otherwise
	}
	return n
}

// Int returns a whole number, written without a point.
func (f *Fields) Int(key string, otherwise int) int {
	v := f.Value(key)
	if v == nil {
		return otherwise
	}
	n, ok := v.Int()
	if !ok {
		f.wrong(key, v, "a whole number")
		return otherwise
	}
	return n
}

// Ints returns a list of whole numbers, or the one that stands in its place.
func (f *Fields) Ints(key string) []int {
	return list(f, key, "a whole number or a list of them", (*Value).Int)
}

// Strings returns a list of texts, or the one that stands in its place.
func (f *Fields) Strings(key string) []string {
	return list(f, key, "a string or a list of them", func(v *Value) (string, bool) { return v.Text, v.Kind == String })
}

func list[T any](f *Fields, key, want string, item func(*Value) (T, bool)) []T {
	v := f.Value(key)
	if v == nil {
		return nil
	}
	values := []Value{*v}
	if v.Kind == Array {
		values = v.Items
	}
	all := make([]T, 0, len(values))
	for i := range values {
		t, ok := item(&values[i])
		if !ok {
			f.wrong(key, v, want)
			return nil
		}
		all = append(all, t)
	}
	return all
}

// Object returns the members of an object within, nil if there is none.
func (f *Fields) Object(key string) *Fields {
	v := f.Value(key)
	if v == nil {
		return nil
	}
	if v.Kind != Object {
		f.wrong(key, v, "an object")
		return nil
	}
	return f.within(v, f.path.Key(key))
}

func (f *Fields) within(v *Value, path Path) *Fields {
	inner := *f
	inner.object, inner.path, inner.read = v, path, map[string]bool{}
	return &inner
}

// Objects returns the objects of a list.
func (f *Fields) Objects(key string) []*Fields {
	v := f.Value(key)
	if v == nil {
		return nil
	}
	if v.Kind != Array {
		f.wrong(key, v, "a list of objects")
		return nil
	}
	path := f.path.Key(key)
	var all []*Fields
	for i := range v.Items {
		if v.Items[i].Kind != Object {
			f.wrong(key, v, "a list of objects")
			return nil
		}
		all = append(all, f.within(&v.Items[i], path.Item(i)))
	}
	return all
}

// Keys returns the keys of the object in the order of the text.
func (f *Fields) Keys() []string {
	var keys []string
	for i := range f.object.Members {
		keys = append(keys, f.object.Members[i].Key)
	}
	return keys
}

// Unread returns the keys that nothing has asked for and that are not null.
func (f *Fields) Unread() []string {
	return slices.DeleteFunc(f.Keys(), func(key string) bool {
		return f.read[key] || f.object.Get(key).Kind == Null
	})
}
