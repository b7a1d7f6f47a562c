package evalx

import (
	"errors"
	"strings"
	"testing"
)

func TestCanonical(t *testing.T) {
	e := NewEquivalences(Fold,
		[]string{"Catalunya", "Cataluña", "CAT"},
		[]string{"bb", "aa", "ccc"},
		[]string{"éé", "zzz"},
		[]string{"shared", "first"},
		[]string{"Shared", "aaa", "second"},
		nil,
	)
	tests := []struct{ term, want, reason string }{
		{"CATALUNYA ", "cat", "the shortest, in normal form"},
		{"cat", "cat", "itself"},
		{"ccc", "aa", "of several shortest the first in order"},
		{"zzz", "éé", "code points are counted, not bytes"},
		{"first", "first", "shorter than shared"},
		{"shared", "first", "the first set that has the term"},
		{"second", "aaa", "the second set is not joined to the first"},
		{" Other  Term ", "other term", "in no set: the normal form"},
	}
	for _, tt := range tests {
		if got := e.Canonical(tt.term); got != tt.want {
			t.Errorf("Canonical(%q) = %q, want %q: %s", tt.term, got, tt.want, tt.reason)
		}
	}
	// The normal form is the caller's.
	if exact := NewEquivalences(strings.ToLower, []string{"a  b", "x"}); exact.Canonical("A b") != "a b" {
		t.Error("another normal form was used")
	}
}

func TestParseEquivalencesErrors(t *testing.T) {
	tests := []struct{ name, data, says, reason string }{
		{"not JSON", `{"equivalence_sets": [["a",]]}`, "line 1, column 28", "the place in the file"},
		{"no sets", `{"sets": []}`, `key "equivalence_sets" is missing`, "the key is required"},
		{"not an object", `[["a","b"]]`, "is array, want object", "the sets alone are another format"},
		{"all faults", `{"equivalence_sets": [["a", 1], [], "b", ["c", " "]]}`,
			`/equivalence_sets/0/1: type: is number, want string; /equivalence_sets/1: minItems: has 0 items, want at least 1; ` +
				`/equivalence_sets/2: type: is string, want array; /equivalence_sets/3/1: pattern: " " does not match \S`, "said at once"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e, err := ParseEquivalences("terms.json", []byte(tt.data), Fold)
			if e != nil || !errors.Is(err, ErrEquivalences) {
				t.Fatalf("%v, %v; want ErrEquivalences: %s", e, err, tt.reason)
			}
			if !strings.Contains(err.Error(), tt.says) || !strings.Contains(err.Error(), "terms.json") {
				t.Errorf("%v\nwant %s: %s", err, tt.says, tt.reason)
			}
		})
	}
}
