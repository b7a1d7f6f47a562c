package impulse

import (
	"slices"

	"github.com/impulse-salamandra/finetune/dataset/impulse"
	"github.com/impulse-salamandra/finetune/evalx"
	"github.com/impulse-salamandra/finetune/internal/lang"
)

// newStandard returns the rules by default: every part of the answer but its
// free text (query_rewrite, the notes and the repeated query). An answer has
// passed if it complies with the schema and all fields are right.
func newStandard(sets equivalences, variant impulse.Variant) evalx.Task {
	organisation := func(fields ...evalx.Field) evalx.Comparator { return evalx.Assignment(evalx.Object(fields...)) }
	var (
		kind  = evalx.Field{Path: "type", Compare: evalx.Folded(sets.organisationTypes)}
		name  = evalx.Field{Path: "name", Compare: evalx.Folded(sets.organisations)}
		place = evalx.Field{Path: "location", Compare: evalx.Folded(sets.locations)}
		level = evalx.Field{Path: "location_level"}
	)
	fields := []evalx.Field{
		{Path: "doc_type"},
		{Path: "filters.programme", Compare: evalx.Folded(sets.programmes)},
		{Path: "filters.funding_level"},
		{Path: "filters.year", Compare: sameYears},
		{Path: "filters.location", Compare: evalx.Folded(sets.locations)},
		{Path: "filters.location_level"},
		{Path: "organisations", Compare: organisation(kind, name, place, level)},
		{Path: "semantic_query", Compare: sameWords(sets.topics)},
		{Path: "meta.lang"},
		{Name: "language", Path: "meta.lang", Given: answerLanguage, Compare: func(want, got evalx.Value) bool {
			return got == lang.Unknown || evalx.Exact(want, got)
		}},
	}
	if variant == impulse.V1 {
		fields = append(fields, evalx.Field{Path: "metric"}, evalx.Field{Path: "metric_params"})
	}
	return evalx.Task{Fields: fields, Classes: standardClasses(sets, organisation(evalx.Field{Compare: sameOrganisation(name, kind, place)}))}
}

// sameOrganisation asks for the same name and, of organisations without one, for
// the same kind and place.
func sameOrganisation(name, kind, place evalx.Field) evalx.Comparator {
	named, unnamed := evalx.Object(name), evalx.Object(name, kind, place)
	return func(want, got evalx.Value) bool {
		if evalx.Lookup(want, "name") != nil {
			return named(want, got)
		}
		return unnamed(want, got)
	}
}

// answerLanguage identifies the language of the rewritten query or, if that is
// unknown, of the topic.
func answerLanguage(answer evalx.Value) evalx.Value {
	for _, path := range []string{"query_rewrite", "semantic_query"} {
		if text, ok := evalx.Lookup(answer, path).(string); ok {
			if l := lang.Identify(text); l != lang.Unknown {
				return l
			}
		}
	}
	return lang.Unknown
}

// sameWords accepts equal canonical forms, and topics of the same words: order,
// repetition and punctuation make no difference.
func sameWords(terms normal) evalx.Comparator {
	words := func(s string) []string {
		parts := evalx.Words(s)
		for i, part := range parts {
			parts[i] = terms(part)
		}
		return parts
	}
	overlap := evalx.TokenOverlap(words, 1)
	same := evalx.Folded(terms)
	return func(want, got evalx.Value) bool { return same(want, got) || overlap(want, got) }
}

// standardClasses are the classes of errors; identified compares organisations
// by what distinguishes them.
func standardClasses(sets equivalences, identified evalx.Comparator) []evalx.Class {
	// When finds answers that were read and that wrong says are wrong.
	when := func(wrong func(r evalx.Result, got evalx.Value) bool) func(evalx.Result, evalx.Value) []string {
		return func(r evalx.Result, got evalx.Value) []string {
			return once(r.ParseError == nil && wrong(r, got))
		}
	}
	wrong := func(label string) func(evalx.Result, evalx.Value) bool {
		return func(r evalx.Result, _ evalx.Value) bool {
			f, _ := r.Field(label)
			return !f.Correct
		}
	}
	confused := func(r evalx.Result, got evalx.Value) bool {
		return !identified(evalx.Lookup(r.Want, "organisations"), evalx.Lookup(got, "organisations"))
	}
	return []evalx.Class{
		{Name: "invalid_json", Severity: "critical", Find: unreadable},
		{Name: "wrong_programme", Severity: "critical", Find: wrongValue("filters.programme")},
		{Name: "wrong_organisations", Severity: "critical", Find: when(confused)},
		{Name: "wrong_doc_type", Severity: "critical", Find: when(wrong("doc_type"))},
		{Name: "invented_filter", Severity: "critical", Find: inventedValue(
			"filters.programme", "filters.funding_level", "filters.year", "filters.location", "filters.location_level")},
		{Name: "wrong_year", Severity: "moderate", Find: wrongValue("filters.year")},
		{Name: "wrong_location", Severity: "moderate", Find: wrongValue("filters.location")},
		{Name: "wrong_semantic_query", Severity: "moderate", Find: when(wrong("semantic_query"))},
		{Name: "extra_filter_in_semantic", Severity: "moderate", Find: func(r evalx.Result, got evalx.Value) []string {
			return standardLeaks(sets, r.Want, got)
		}},
		{Name: "language_mismatch", Severity: "moderate", Find: when(wrong("language"))},
		{Name: "org_type_mismatch", Severity: "minor", Find: when(func(r evalx.Result, got evalx.Value) bool {
			return wrong("organisations")(r, got) && !confused(r, got)
		})},
		{Name: "wrong_funding_level", Severity: "minor", Find: wrongValue("filters.funding_level")},
		{Name: "wrong_location_level", Severity: "minor", Find: wrongValue("filters.location_level")},
	}
}

// standardLeaks returns the filters of the wanted value whose words stand in the
// topic of the answer, unless they do in the wanted topic too.
func standardLeaks(sets equivalences, want, got evalx.Value) []string {
	given, _ := evalx.Lookup(got, "semantic_query").(string)
	wanted, _ := evalx.Lookup(want, "semantic_query").(string)
	words := func(s string) []string { return evalx.Words(evalx.FoldAccents(s)) }
	inGiven, inWanted := words(given), words(wanted)
	var leaks []string
	for _, key := range filterKeys {
		value, _ := evalx.Lookup(want, "filters."+key).(string)
		terms := sets.programmes
		if key == "location" {
			terms = sets.locations
		}
		for _, text := range []string{value, terms(value)} {
			term := words(text)
			if containsRun(inGiven, term) && !containsRun(inWanted, term) {
				leaks = append(leaks, key)
				break
			}
		}
	}
	return leaks
}

// containsRun reports whether words has all of run one after the other.
func containsRun(words, run []string) bool {
	for i := 0; len(run) > 0 && i+len(run) <= len(words); i++ {
		if slices.Equal(words[i:i+len(run)], run) {
			return true
		}
	}
	return false
}
