package impulse

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/text/cases"
	"golang.org/x/text/language"

	"github.com/impulse-salamandra/finetune/dataset/impulse"
	"github.com/impulse-salamandra/finetune/evalx"
	"github.com/impulse-salamandra/finetune/internal/spreadsheet"
)

// filterKeys are the keys of filters, in the order of tables.
var filterKeys = [...]string{"programme", "funding_level", "year", "location", "location_level"}

// newPublished returns the rules that the IMPULSE project publishes its quality
// by, for figures that can be put beside its own. Passed is their "relaxed",
// AllCorrect their "strict".
func newPublished(sets equivalences, _ impulse.Variant) evalx.Task {
	filter := func(key string, compare evalx.Comparator) evalx.Field {
		return evalx.Field{Path: "filters." + key, Compare: compare, Given: func(answer evalx.Value) evalx.Value {
			filters := evalx.Lookup(answer, "filters")
			switch filters.(type) {
			case map[string]any, evalx.Missing:
				return evalx.Lookup(answer, "filters."+key)
			}
			return map[string]any{"filters": filters} // which matches nothing
		}}
	}
	return evalx.Task{
		Read:    readPublished,
		StandIn: map[string]any{},
		Fields: []evalx.Field{
			filter("programme", sameTerm(sets.programmes)),
			filter("funding_level", sameOrNull),
			filter("year", samePublishedYear),
			filter("location", samePlace(sets.locations)),
			filter("location_level", sameOrNull),
			{Name: "organisations_exact", Path: "organisations", Compare: sameOrganisations(sets, true)},
			{Name: "organisations_relaxed", Path: "organisations", Compare: sameOrganisations(sets, false)},
			{Path: "semantic_query", Compare: sameTopic(sets.topics)},
			{Name: "language", Path: "meta.lang", Given: publishedLanguages, Compare: func(want, got evalx.Value) bool {
				found, _ := got.([]any)
				return slices.Contains(found, want)
			}},
		},
		Classes: publishedClasses(sets),
		Passed:  publishedRelaxed,
	}
}

// publishedRelaxed reports whether all is right but for the language and what an
// organisation has beside its name.
func publishedRelaxed(r evalx.Result) bool {
	return !slices.ContainsFunc(r.Fields, func(f evalx.FieldResult) bool {
		return !f.Correct && f.Name != "organisations_exact" && f.Name != "language"
	})
}

// readPublished reads the text from the first { to the last } as Python's json
// module does: of a key given twice the last one counts, and half a surrogate
// pair is a character that equals no other. NaN and Infinity are no JSON, as in
// JSON's definition, and values beyond the limits of evalx.Parse are not read.
func readPublished(answer string) (evalx.Value, error) {
	text, err := evalx.Extract(answer)
	if err != nil {
		return nil, err
	}
	value, strictly := evalx.Parse(text)
	if strictly == nil {
		return value, nil
	}
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	if err := dec.Decode(&value); err != nil {
		return nil, strictly
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, strictly
	}
	plain, err := json.Marshal(value)
	if err != nil {
		return nil, strictly
	}
	return evalx.Parse(string(plain))
}

// publishedNormal is the published normal form: lower case, without white space
// at the ends. Accents, inner blanks and the coding of letters count.
func publishedNormal(s string) string {
	s = strings.TrimFunc(s, isSpace)
	if strings.ContainsAny(s, "İΣ") { // the letters whose case strings.ToLower simplifies
		return cases.Lower(language.Und).String(s)
	}
	return strings.ToLower(s)
}

// isSpace is white space in Python, where the separators of ASCII belong to it.
func isSpace(r rune) bool { return unicode.IsSpace(r) || 0x1c <= r && r <= 0x1f }

// canonical is the canonical form of a value: a text, null, or neither.
type canonical struct {
	text      string
	null, bad bool
}

func canonicalTerm(terms normal, v evalx.Value) canonical {
	switch text, ok := v.(string); {
	case isNothing(v):
		return canonical{null: true}
	case ok:
		return canonical{text: terms(text)}
	}
	return canonical{bad: true}
}

// isNothing reports whether v counts as null: null, nothing, "", 0, false, [].
func isNothing(v evalx.Value) bool {
	switch v := v.(type) {
	case nil, evalx.Missing:
		return true
	case []any:
		return len(v) == 0
	}
	return v == "" || v == false || evalx.Exact(0, v)
}

// isEmptyValue is isNothing or {}.
func isEmptyValue(v evalx.Value) bool {
	object, ok := v.(map[string]any)
	return isNothing(v) || ok && len(object) == 0
}

// sameOrNull is [evalx.Exact], where a key that is not there counts as null.
func sameOrNull(want, got evalx.Value) bool {
	null := func(v evalx.Value) evalx.Value {
		if _, missing := v.(evalx.Missing); missing {
			return nil
		}
		return v
	}
	return evalx.Exact(null(want), null(got))
}

func sameTerm(terms normal) evalx.Comparator {
	return func(want, got evalx.Value) bool {
		w, g := canonicalTerm(terms, want), canonicalTerm(terms, got)
		return w == g && !w.bad
	}
}

// samePlace is sameTerm, of the value or else the name of an object.
func samePlace(terms normal) evalx.Comparator {
	same := sameTerm(terms)
	place := func(v evalx.Value) evalx.Value {
		object, ok := v.(map[string]any)
		if !ok {
			return v
		}
		for _, key := range []string{"value", "name"} {
			if !isEmptyValue(object[key]) {
				return object[key]
			}
		}
		return v // an object, which matches nothing
	}
	return func(want, got evalx.Value) bool { return same(place(want), place(got)) }
}

// samePublishedYear compares years as text. Null is the text None.
func samePublishedYear(want, got evalx.Value) bool {
	text := func(v evalx.Value) (string, bool) {
		switch v := v.(type) {
		case nil, evalx.Missing:
			return "None", true
		case string:
			return v, true
		case json.Number:
			return v.String(), !strings.ContainsAny(v.String(), ".eE")
		}
		return "", false
	}
	w, ok1 := text(want)
	g, ok2 := text(got)
	return ok1 && ok2 && w == g
}

// sameOrganisations compares organisations by position, relaxed by their names
// alone.
func sameOrganisations(sets equivalences, exact bool) evalx.Comparator {
	fields := []evalx.Field{{Path: "name", Compare: sameTerm(sets.organisations)}}
	if exact {
		fields = append(fields,
			evalx.Field{Path: "type", Compare: sameTerm(sets.organisationTypes)},
			evalx.Field{Path: "location", Compare: sameTerm(sets.locations)},
			evalx.Field{Path: "location_level", Compare: sameOrNull})
	}
	same := evalx.Object(fields...)
	return func(want, got evalx.Value) bool {
		w, ok1 := organisationList(want)
		g, ok2 := organisationList(got)
		return ok1 && ok2 && slices.EqualFunc(w, g, func(w, g any) bool {
			_, isObject := g.(map[string]any)
			return isObject && same(w, g)
		})
	}
}

// organisationList returns the entries; nothing, {} and "" have none.
func organisationList(v evalx.Value) ([]any, bool) {
	switch v := v.(type) {
	case []any:
		return v, true
	case evalx.Missing:
		return nil, true
	case map[string]any:
		return nil, len(v) == 0
	}
	return nil, v == ""
}

// sameTopic accepts equal canonical forms, and topics that have more than half
// of their different words in common.
func sameTopic(terms normal) evalx.Comparator {
	words := func(s string) []string {
		parts := strings.FieldsFunc(publishedNormal(s), isSpace)
		for i, part := range parts {
			parts[i] = terms(part)
		}
		return parts
	}
	overlap := evalx.TokenOverlap(words, math.Nextafter(0.5, 1))
	return func(want, got evalx.Value) bool {
		if isEmptyValue(want) || isEmptyValue(got) {
			return isEmptyValue(want) && isEmptyValue(got)
		}
		w, ok1 := want.(string)
		g, ok2 := got.(string)
		if !ok1 || !ok2 {
			return false
		}
		return terms(w) == terms(g) || len(words(w)) > 0 && overlap(w, g)
	}
}

// publishedMarks are pieces of text that count for a language wherever they
// stand, also inside words.
var publishedMarks = []struct {
	language string
	marks    []string
}{
	{"CA", []string{"projectes", "sobre", "de la", "d'", "a catalunya", "amb", "des de"}},
	{"ES", []string{"proyectos", "de la", "del", "con", "desde", "en españa"}},
	{"EN", []string{"projects", "about", "from", "with", "in", "by"}},
}

// publishedLanguages returns the languages found in the topic and in the
// rewritten query of an answer, those that have none left out.
func publishedLanguages(answer evalx.Value) evalx.Value {
	found := []any{}
	for _, path := range []string{"semantic_query", "query_rewrite"} {
		if text, ok := evalx.Lookup(answer, path).(string); ok {
			if l := publishedLanguage(text); l != "" {
				found = append(found, l)
			}
		}
	}
	return found
}

// publishedLanguage returns CA or ES if it has more marks than each other
// language, else EN if it has one, else "".
func publishedLanguage(text string) string {
	text = publishedNormal(text)
	var count [3]int
	for i, l := range publishedMarks {
		for _, mark := range l.marks {
			if strings.Contains(text, mark) {
				count[i]++
			}
		}
	}
	switch ca, es, en := count[0], count[1], count[2]; {
	case ca > es && ca > en:
		return "CA"
	case es > ca && es > en:
		return "ES"
	case en > 0:
		return "EN"
	}
	return ""
}

// publishedClasses are the published classes of errors.
func publishedClasses(sets equivalences) []evalx.Class {
	correct := func(r evalx.Result, label string) bool {
		f, _ := r.Field(label)
		return f.Correct
	}
	return []evalx.Class{
		{Name: "language_mismatch", Find: func(r evalx.Result, _ evalx.Value) []string {
			return once(publishedRelaxed(r) && !correct(r, "language"))
		}},
		{Name: "wrong_programme", Severity: "critical", Find: wrongValue("filters.programme")},
		{Name: "wrong_organisations", Severity: "critical", Find: wrongValue("organisations_relaxed")},
		{Name: "wrong_year", Severity: "moderate", Find: wrongValue("filters.year")},
		{Name: "wrong_semantic_query", Severity: "moderate", Find: wrongValue("semantic_query")},
		{Name: "extra_filter_in_semantic", Severity: "moderate", Find: func(r evalx.Result, got evalx.Value) []string {
			return publishedLeaks(sets, r.Want, got)
		}},
		{Name: "org_type_mismatch", Severity: "minor", Find: func(r evalx.Result, _ evalx.Value) []string {
			return once(correct(r, "organisations_relaxed") && !correct(r, "organisations_exact"))
		}},
		{Name: "wrong_funding_level", Severity: "minor", Find: wrongValue("filters.funding_level")},
	}
}

// publishedLeaks returns the filters of the wanted value whose text is in the
// topic of the answer, also inside words.
func publishedLeaks(sets equivalences, want, got evalx.Value) []string {
	topic, _ := evalx.Lookup(got, "semantic_query").(string)
	topic = publishedNormal(topic)
	var leaks []string
	for _, key := range filterKeys {
		value, ok := evalx.Lookup(want, "filters."+key).(string)
		if !ok || value == "" || topic == "" {
			continue
		}
		terms := sets.programmes
		if key == "location" {
			terms = sets.locations
		}
		if strings.Contains(topic, publishedNormal(value)) || strings.Contains(topic, terms(value)) {
			leaks = append(leaks, key)
		}
	}
	return leaks
}

// writePublishedTable writes the published table: tab-separated, CR LF.
func writePublishedTable(w io.Writer, results []evalx.Result) error {
	columns := []string{"language"}
	for _, key := range filterKeys {
		columns = append(columns, "filters."+key)
	}
	columns = append(columns, "organisations_exact", "organisations_relaxed", "semantic_query")
	var b strings.Builder
	b.WriteString("test_id\tvalid_json\tlanguage_correct\t" + strings.Join(filterKeys[:], "\t") +
		"\torgs_exact\torgs_relaxed\tsemantic_query\tall_correct_strict\tall_correct_relaxed\r\n")
	bit := map[bool]string{false: "\t0", true: "\t1"}
	for _, r := range results {
		id, ok := evalx.Lookup(r.Want, "meta.id").(string)
		if !ok {
			id = cmp.Or(r.QuestionID, r.ID)
		}
		b.WriteString(spreadsheet.Cell(id) + bit[true]) // an answer that cannot be read is replaced by one that can
		for _, label := range columns {
			f, _ := r.Field(label)
			b.WriteString(bit[f.Correct])
		}
		b.WriteString(bit[r.AllCorrect] + bit[r.Passed] + "\r\n")
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("write table: %w", err)
	}
	return nil
}
