// Package jsonpointer makes and sorts JSON pointers (RFC 6901).
package jsonpointer

import (
	"cmp"
	"strings"
)

var escapeToken = strings.NewReplacer("~", "~0", "/", "~1")

// Of returns a path as a JSON pointer.
func Of(path []string) string {
	var b strings.Builder
	for _, token := range path {
		b.WriteByte('/')
		b.WriteString(escapeToken.Replace(token))
	}
	return b.String()
}

// Compare compares token by token, indices by their value.
func Compare(a, b string) int {
	for a != b {
		var x, y string
		x, a, _ = strings.Cut(a, "/")
		y, b, _ = strings.Cut(b, "/")
		if x == y {
			continue
		}
		if isIndex(x) && isIndex(y) && len(x) != len(y) {
			return cmp.Compare(len(x), len(y))
		}
		return cmp.Compare(x, y)
	}
	return 0
}

// isIndex reports whether a token is made of digits; those of arrays have no
// zeros in front.
func isIndex(token string) bool {
	return token != "" && strings.Trim(token, "0123456789") == ""
}
