package evalx

import (
	"cmp"
	"math"
	"math/big"
	"slices"
)

// A Comparator reports whether a given value is as good as the wanted one. Both
// can be [Missing].
//
// Those that are for one kind of value (text, numbers, arrays, objects) compare
// with [Exact] where one of the two is of another kind: null equals null, and
// null never equals text.
type Comparator func(want, got Value) bool

// Field is one part of an answer and how it is compared.
type Field struct {
	// Name is what the field is called in counts and reports; "" is Path. Two
	// fields can look at one place in two ways if their names differ.
	Name string
	// Path is the place of the field in the value, as in [Lookup]. A path that no
	// wanted value has shows as a [FieldCount] with Expected 0.
	Path string
	// Given takes what is compared with the wanted value at Path out of a given
	// answer, for what an answer shows without saying it (the language of its
	// text); nil looks it up at Path.
	Given func(answer Value) Value
	// Compare decides whether the given value is correct; nil is [Exact].
	Compare Comparator
}

func (f Field) name() string { return cmp.Or(f.Name, f.Path) }

// equal compares the field in two values that hold it.
func (f Field) equal(want, got Value) bool {
	return f.score(want, got).Correct
}

// score compares the field in two values and keeps what it compared.
func (f Field) score(want, got Value) FieldResult {
	r := FieldResult{Name: f.name(), Path: f.Path, Want: Lookup(want, f.Path)}
	if f.Given != nil {
		r.Got = f.Given(got)
	} else {
		r.Got = Lookup(got, f.Path)
	}
	compare := f.Compare
	if compare == nil {
		compare = Exact
	}
	r.Correct = compare(r.Want, r.Got)
	return r
}

// Exact is JSON equality: the same text code point by code point, numbers by
// value (1, 1.0 and 1e0 are equal, 1 and "1" are not), arrays item by item,
// objects key by key in any order. Missing equals Missing only.
func Exact(want, got Value) bool {
	switch w := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok || len(w) != len(g) {
			return false
		}
		for key, member := range w {
			if other, ok := g[key]; !ok || !Exact(member, other) {
				return false
			}
		}
		return true
	case []any:
		g, ok := got.([]any)
		return ok && slices.EqualFunc(w, g, Exact)
	case nil, bool, string, Missing:
		return want == got
	}
	w, g := number(want), number(got)
	return w != nil && g != nil && w.Cmp(g) == 0
}

// Numeric accepts numbers that differ from the wanted one by tolerance at most,
// compared exactly. Text that looks like a number is text. A tolerance that is
// negative, infinite or NaN accepts no number.
func Numeric(tolerance float64) Comparator {
	most := new(big.Rat)
	if tolerance < 0 || most.SetFloat64(tolerance) == nil {
		most.SetInt64(-1)
	}
	return func(want, got Value) bool {
		w, g := number(want), number(got)
		if w == nil || g == nil {
			return Exact(want, got)
		}
		difference := w.Sub(w, g)
		return difference.Abs(difference).Cmp(most) <= 0
	}
}

// Folded accepts text with the same normal form, such as [Fold] or
// [FoldAccents].
func Folded(normal func(string) string) Comparator {
	return textual(func(want, got string) bool { return normal(want) == normal(got) })
}

// TokenOverlap accepts text that has a share of threshold or more of its
// different tokens in common with the wanted text: of those in the text that has
// more. tokens splits a text, as [Words] does.
func TokenOverlap(tokens func(string) []string, threshold float64) Comparator {
	return textual(func(want, got string) bool {
		return tokenShare(tokens(want), tokens(got)) >= threshold
	})
}

func textual(equal func(want, got string) bool) Comparator {
	return func(want, got Value) bool {
		w, ok1 := want.(string)
		g, ok2 := got.(string)
		if !ok1 || !ok2 {
			return Exact(want, got)
		}
		return equal(w, g)
	}
}

// tokenShare returns the number of different tokens that a and b have in common
// over the number of different tokens in the one that has more: 1 if both are
// empty. Order and repetition do not count.
func tokenShare(a, b []string) float64 {
	in := map[string]int{} // bit 0: in a, bit 1: in b
	for _, token := range a {
		in[token] |= 1
	}
	for _, token := range b {
		in[token] |= 2
	}
	var of [4]float64
	for _, bits := range in {
		of[bits]++
	}
	most := math.Max(of[1], of[2]) + of[3]
	if most == 0 {
		return 1
	}
	return of[3] / most
}

// Object accepts an object in which every one of the fields is right; keys
// outside them do not count.
func Object(fields ...Field) Comparator {
	return func(want, got Value) bool {
		_, ok1 := want.(map[string]any)
		_, ok2 := got.(map[string]any)
		if !ok1 || !ok2 {
			return Exact(want, got)
		}
		return !slices.ContainsFunc(fields, func(f Field) bool { return !f.equal(want, got) })
	}
}

// Set accepts an array with the same members: each wanted item equals a given
// one and each given item equals a wanted one. Order and repetition do not
// count.
func Set(item Comparator) Comparator {
	return listwise(func(want, got []any) bool {
		for _, w := range want {
			if !slices.ContainsFunc(got, func(g any) bool { return item(w, g) }) {
				return false
			}
		}
		for _, g := range got {
			if !slices.ContainsFunc(want, func(w any) bool { return item(w, g) }) {
				return false
			}
		}
		return true
	})
}

// Assignment accepts an array of the same length whose items can be paired one
// to one with equal wanted items, if that can be done in any way. Order does not
// count, repetition does.
func Assignment(item Comparator) Comparator {
	return listwise(func(want, got []any) bool {
		return len(want) == len(got) && !slices.Contains(match(want, got, item), -1)
	})
}

// Ordered accepts an array of the same length with equal items, place by place.
func Ordered(item Comparator) Comparator {
	return listwise(func(want, got []any) bool {
		return slices.EqualFunc(want, got, func(w, g any) bool { return item(w, g) })
	})
}

func listwise(equal func(want, got []any) bool) Comparator {
	return func(want, got Value) bool {
		w, ok1 := want.([]any)
		g, ok2 := got.([]any)
		if !ok1 || !ok2 {
			return Exact(want, got)
		}
		return equal(w, g)
	}
}

// match pairs wanted with given items so that the items of a pair are equal and
// there are as many pairs as possible, and returns for each wanted item the
// index of the given one, or -1. An item that could go with several leaves the
// choice to those that have less, so the first that fits is not always taken.
//
// It compares each wanted with each given item once.
func match(want, got []any, item Comparator) []int {
	fits := make([][]int, len(want)) // per wanted item the given ones it equals
	for i, w := range want {
		for j, g := range got {
			if item(w, g) {
				fits[i] = append(fits[i], j)
			}
		}
	}
	partner := slices.Repeat([]int{-1}, len(got)) // of a given item
	var seen []bool
	// place finds a given item for i, moving others where that frees one.
	var place func(i int) bool
	place = func(i int) bool {
		for _, j := range fits[i] {
			if seen[j] {
				continue
			}
			seen[j] = true
			if partner[j] < 0 || place(partner[j]) {
				partner[j] = i
				return true
			}
		}
		return false
	}
	for i := range want {
		seen = make([]bool, len(got))
		place(i)
	}
	matched := slices.Repeat([]int{-1}, len(want))
	for j, i := range partner {
		if i >= 0 {
			matched[i] = j
		}
	}
	return matched
}
