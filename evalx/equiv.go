package evalx

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"unicode/utf8"
)

// ErrEquivalences: a file of equivalence sets is not JSON or has another form.
var ErrEquivalences = errors.New("bad equivalence sets")

// Equivalences says which terms mean the same. It can be used by several
// goroutines.
type Equivalences struct {
	normal    func(string) string
	canonical map[string]string // by normal form
}

// NewEquivalences makes equivalences of sets of terms, which are compared in the
// given normal form, such as [Fold].
//
// A set stands for its canonical term: its shortest in code points and, among
// these, the first in their order. A term that is in several sets belongs to the
// first; the sets are not joined.
func NewEquivalences(normal func(string) string, sets ...[]string) *Equivalences {
	e := &Equivalences{normal: normal, canonical: map[string]string{}}
	for _, set := range sets {
		terms := make([]string, len(set))
		for i, term := range set {
			terms[i] = normal(term)
		}
		slices.SortFunc(terms, func(a, b string) int {
			return cmp.Or(cmp.Compare(utf8.RuneCountInString(a), utf8.RuneCountInString(b)), cmp.Compare(a, b))
		})
		for _, term := range terms {
			if _, taken := e.canonical[term]; !taken {
				e.canonical[term] = terms[0]
			}
		}
	}
	return e
}

// ParseEquivalences reads a file of equivalence sets:
//
//	{"description": "Programmes", "equivalence_sets": [["H2020", "Horizon 2020"], ...]}
//
// The description and keys other than these two are not read. name stands for
// the file in errors, which wrap [ErrEquivalences] and list every fault.
func ParseEquivalences(name string, data []byte, normal func(string) string) (*Equivalences, error) {
	doc, err := Parse(string(data))
	if err != nil {
		return nil, fmt.Errorf("evalx: %s: %w: %w", name, ErrEquivalences, err)
	}
	schema, err := equivalencesSchema()
	if err != nil {
		return nil, err
	}
	if faults := schema.Validate(doc); faults != nil {
		return nil, fmt.Errorf("evalx: %s: %w: %s", name, ErrEquivalences, joinViolations(faults))
	}
	var sets [][]string
	for _, set := range doc.(map[string]any)["equivalence_sets"].([]any) {
		var terms []string
		for _, term := range set.([]any) {
			terms = append(terms, term.(string))
		}
		sets = append(sets, terms)
	}
	return NewEquivalences(normal, sets...), nil
}

// equivalencesSchema is the form of the file. A blank term would make nothing
// equal to something.
var equivalencesSchema = sync.OnceValues(func() (*Schema, error) {
	return CompileSchema("equivalence sets", []byte(`{
		"type": "object",
		"required": ["equivalence_sets"],
		"properties": {"equivalence_sets": {
			"type": "array",
			"items": {"type": "array", "minItems": 1, "items": {"type": "string", "pattern": "\\S"}}
		}}
	}`))
})

// Canonical returns the canonical term of the set that a term is in, or its
// normal form if it is in none.
func (e *Equivalences) Canonical(term string) string {
	term = e.normal(term)
	if c, ok := e.canonical[term]; ok {
		return c
	}
	return term
}

// Equal is a [Comparator] that accepts text with the same canonical term.
func (e *Equivalences) Equal(want, got Value) bool {
	return Folded(e.Canonical)(want, got)
}
