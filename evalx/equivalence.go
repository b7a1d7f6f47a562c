package evalx

import (
	"cmp"
	"slices"
	"unicode/utf8"
)

// Equivalent returns a normal form of text in which the terms of a set are one,
// for [Folded]. Terms are compared in another normal form, such as [Fold], which
// is also that of text outside the sets.
//
// A set stands for its canonical term: its shortest in code points and, among
// these, the first in their order. A term that is in several sets belongs to the
// first; the sets are not joined.
func Equivalent(normal func(string) string, sets ...[]string) func(string) string {
	canonical := map[string]string{} // by normal form
	for _, set := range sets {
		terms := make([]string, len(set))
		for i, term := range set {
			terms[i] = normal(term)
		}
		slices.SortFunc(terms, func(a, b string) int {
			return cmp.Or(cmp.Compare(utf8.RuneCountInString(a), utf8.RuneCountInString(b)), cmp.Compare(a, b))
		})
		for _, term := range terms {
			if _, taken := canonical[term]; !taken {
				canonical[term] = terms[0]
			}
		}
	}
	return func(term string) string {
		term = normal(term)
		if c, ok := canonical[term]; ok {
			return c
		}
		return term
	}
}
