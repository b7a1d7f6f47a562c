package evalx

import (
	"encoding/json"
	"math/big"
)

// Value is a JSON value as [Parse] makes it: nil for null, bool, string,
// [json.Number], []any or map[string]any. A float64, an int and an int64 are
// numbers too, so that values made elsewhere can be given; anything else equals
// nothing.
type Value = any

// Missing is what [Lookup] gives where there is no value, not even null.
type Missing struct{}

// Lookup returns the value at a path of object keys joined by dots
// ("filters.programme"), the whole value for the empty path, and [Missing] if a
// key is not there or its holder is no object. A key that is empty or has a dot, a
// bracket or a quote stands in brackets and quotes: meta["a.b"]. Items of arrays
// have no path.
func Lookup(v Value, path string) Value {
	keys, ok := splitPath(path)
	if !ok {
		return Missing{}
	}
	for _, key := range keys {
		object, _ := v.(map[string]any)
		member, ok := object[key]
		if !ok {
			return Missing{}
		}
		v = member
	}
	return v
}

// IsEmpty reports whether v holds nothing: null, Missing, "", [] or {}.
func IsEmpty(v Value) bool {
	switch v := v.(type) {
	case nil, Missing:
		return true
	case string:
		return v == ""
	case []any:
		return len(v) == 0
	case map[string]any:
		return len(v) == 0
	}
	return false
}

// number returns the exact value of a number, nil for anything else and for
// numbers that are beyond the limits of [Parse] or not finite.
func number(v Value) *big.Rat {
	switch v := v.(type) {
	case json.Number:
		if isNumber(v) {
			r, _ := new(big.Rat).SetString(string(v))
			return r
		}
	case float64:
		return new(big.Rat).SetFloat64(v)
	case int:
		return new(big.Rat).SetInt64(int64(v))
	case int64:
		return new(big.Rat).SetInt64(v)
	}
	return nil
}

// isNumber reports whether Parse could have made n, which can hold any text.
func isNumber(n json.Number) bool {
	return inLimits(string(n)) && json.Valid([]byte(n))
}
