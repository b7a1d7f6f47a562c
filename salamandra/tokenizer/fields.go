package tokenizer

import (
	"math"
	"unicode/utf8"

	"github.com/impulse-salamandra/finetune/internal/strictjson"
)

// components calls one for the component under a key, or for each of a Sequence,
// nested or not; list is the Sequence's member that holds them. one reports false
// for a type it does not know. A null component is none.
func components(f *strictjson.Fields, key, list string, one func(kind string, f *strictjson.Fields) bool) {
	if c := f.Object(key); c != nil {
		component(c, list, one)
	}
}

func component(f *strictjson.Fields, list string, one func(kind string, f *strictjson.Fields) bool) {
	f.Need("type")
	switch kind := f.String("type", ""); {
	case kind == "Sequence":
		f.Need(list)
		for _, item := range f.Objects(list) {
			component(item, list, one)
		}
	case kind == "":
		return
	case !one(kind, f):
		f.Fault("type", nil, "%q is not supported", kind)
		return
	}
	end(f)
}

// end reports the members that nothing has read.
func end(f *strictjson.Fields) {
	for _, key := range f.Unread() {
		f.Fault(key, nil, "unknown option")
	}
}

// char returns a member that holds one character.
func char(f *strictjson.Fields, key string) string {
	f.Need(key)
	c := f.String(key, "")
	if f.Has(key) && utf8.RuneCountInString(c) != 1 {
		f.Fault(key, nil, "%q, want one character", c)
	}
	return c
}

// count returns a member that holds a whole number from 0.
func count(f *strictjson.Fields, key string) int {
	f.Need(key)
	n := f.Int(key, 0)
	if n < 0 || n > math.MaxInt32 {
		f.Fault(key, nil, "%d, want 0 to %d", n, math.MaxInt32)
		return 0
	}
	return n
}

// flag returns a member that must be there and is true or false.
func flag(f *strictjson.Fields, key string) bool {
	f.Need(key)
	return f.Bool(key, false)
}
