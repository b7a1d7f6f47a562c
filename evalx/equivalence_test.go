package evalx

import (
	"strings"
	"testing"
)

func TestEquivalent(t *testing.T) {
	e := Equivalent(Fold,
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
		if got := e(tt.term); got != tt.want {
			t.Errorf("the form of %q is %q, want %q: %s", tt.term, got, tt.want, tt.reason)
		}
	}
	// The normal form is the caller's.
	if exact := Equivalent(strings.ToLower, []string{"a  b", "x"}); exact("A b") != "a b" {
		t.Error("another normal form was used")
	}
}
