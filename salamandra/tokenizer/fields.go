package tokenizer

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"unicode/utf8"
)

// fields is one JSON object whose members are taken one by one; what is left
// at the end is not known. Every complaint goes to the faults.
type fields struct {
	*faults
	path    string
	members map[string]json.RawMessage
}

func (fs *faults) fields(path string, raw json.RawMessage) fields {
	f := fields{faults: fs, path: path}
	if err := json.Unmarshal(raw, &f.members); err != nil {
		fs.malformed(path, "want an object: %v", err)
	}
	return f
}

// isNull reports whether a member is null or absent.
func isNull(raw json.RawMessage) bool { return len(raw) == 0 || string(raw) == "null" }

// at returns the path of a member.
func (f fields) at(key string) string {
	if f.path == "" {
		return key
	}
	return f.path + "." + key
}

// optional decodes a member into v. It reports false where the member is
// absent or null.
func (f fields) optional(key string, v any) bool {
	raw := f.take(key)
	if isNull(raw) {
		return false
	}
	if err := json.Unmarshal(raw, v); err != nil {
		f.malformed(f.at(key), "%v", err)
	}
	return true
}

// take returns a member as it is written.
func (f fields) take(key string) json.RawMessage {
	raw := f.members[key]
	delete(f.members, key)
	return raw
}

// required is optional for a member that must be there.
func (f fields) required(key string, v any) {
	if !f.optional(key, v) {
		f.malformed(f.at(key), "missing")
	}
}

// char is required for a member that holds one character.
func (f fields) char(key string) string {
	var c string
	f.required(key, &c)
	if utf8.RuneCountInString(c) != 1 {
		f.malformed(f.at(key), "%q, want one character", c)
	}
	return c
}

// end reports the members nobody took.
func (f fields) end() {
	for _, key := range slices.Sorted(maps.Keys(f.members)) {
		f.unsupported(f.at(key), "unknown option")
	}
}

// components calls one for the component in raw, or for each of a Sequence,
// nested or not; list is the Sequence's member that holds them. one answers
// false for a type it does not know. A null component is none.
func (fs *faults) components(path string, raw json.RawMessage, list string, one func(kind string, f fields) bool) {
	if isNull(raw) {
		return
	}
	f := fs.fields(path, raw)
	if f.members == nil {
		return
	}
	var kind string
	f.required("type", &kind)
	if kind == "Sequence" {
		var items []json.RawMessage
		f.required(list, &items)
		for i, item := range items {
			fs.components(fmt.Sprintf("%s.%s[%d]", path, list, i), item, list, one)
		}
	} else if !one(kind, f) {
		fs.unsupported(f.at("type"), "%q", kind)
		return
	}
	f.end()
}
