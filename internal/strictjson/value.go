package strictjson

import (
	"fmt"
	"strconv"
	"strings"
)

// Kind is the type of a value, by its name in JSON Schema.
type Kind string

// Kinds of values.
const (
	Null    Kind = "null"
	Boolean Kind = "boolean"
	Number  Kind = "number"
	String  Kind = "string"
	Array   Kind = "array"
	Object  Kind = "object"
)

// Value is a JSON value with its place in the text.
type Value struct {
	Kind Kind
	// Offset and End, in bytes from the start of the text, are where the value
	// begins and where it has ended.
	Offset, End int
	// Text is a string's characters, and a number, boolean or null as written.
	Text    string
	Items   []Value  // of an array
	Members []Member // of an object, in the order of the text
}

// Member is a key of an object and its value.
type Member struct {
	Key    string
	Offset int // of the key
	Value  Value
}

// Get returns the value under key. It is nil if there is none, and if v is nil
// or no object.
func (v *Value) Get(key string) *Value {
	if v == nil {
		return nil
	}
	for i := range v.Members {
		if v.Members[i].Key == key {
			return &v.Members[i].Value
		}
	}
	return nil
}

// Characters returns the text of a string, "" for anything else and for nil.
func (v *Value) Characters() string {
	if v == nil || v.Kind != String {
		return ""
	}
	return v.Text
}

// Int returns a number that is whole and written so: 48, not 48.0 or 4.8e1.
func (v *Value) Int() (n int, ok bool) {
	if v == nil || v.Kind != Number {
		return 0, false
	}
	n, err := strconv.Atoi(v.Text)
	return n, err == nil
}

// Step is one part of the way from the top of a text to a value: an object's key,
// or an array's index with an empty key.
type Step struct {
	Key     string
	Index   int
	IsIndex bool
}

// Path leads to a value.
type Path []Step

// String writes a path as in organisations[0].name.
func (p Path) String() string {
	var b strings.Builder
	for i, s := range p {
		switch {
		case s.IsIndex:
			fmt.Fprintf(&b, "[%d]", s.Index)
		case s.Key == "" || strings.ContainsFunc(s.Key, func(r rune) bool { return r <= ' ' || strings.ContainsRune(`.[]"`, r) }):
			fmt.Fprintf(&b, "[%q]", s.Key)
		default:
			if i > 0 {
				b.WriteByte('.')
			}
			b.WriteString(s.Key)
		}
	}
	return b.String()
}

// Key returns the path of a key of the object at p, in memory of its own.
func (p Path) Key(key string) Path { return append(p[:len(p):len(p)], Step{Key: key}) }

// Item returns the path of an item of the array at p, in memory of its own.
func (p Path) Item(i int) Path { return append(p[:len(p):len(p)], Step{Index: i, IsIndex: true}) }

// Cause is why a text is refused.
type Cause int

// Causes of faults.
const (
	Syntax       Cause = iota // not JSON
	UTF8                      // bytes that are not UTF-8, or half of a surrogate pair
	Depth                     // nested too deep
	DuplicateKey              // a key stands twice in one object
)

// Fault is one thing wrong with a text.
type Fault struct {
	Offset int // in bytes
	Path   Path
	Cause  Cause
	Detail string
}
