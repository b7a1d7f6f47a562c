package impulse

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/impulse-salamandra/finetune/evalx"
)

// publishedTotals are the published counts of a run.
type publishedTotals struct {
	Total                int                       `json:"total"`
	ValidJSON            int                       `json:"valid_json"` // all: see readable
	LanguageCorrect      int                       `json:"language_correct"`
	Strict               int                       `json:"all_correct_strict"`
	Relaxed              int                       `json:"all_correct_relaxed"`
	Filters              map[string]int            `json:"filters"`
	OrganisationsExact   int                       `json:"organisations_exact"`
	OrganisationsRelaxed int                       `json:"organisations_relaxed"`
	SemanticQuery        int                       `json:"semantic_query"`
	ByLanguage           map[string]languageTotals `json:"by_language"`
	ErrorCounts          publishedErrorCounts      `json:"error_counts"`
	// Readable is ours: the answers that are JSON.
	Readable int `json:"json_ok"`
}

type languageTotals struct {
	Total           int `json:"total"`
	ValidJSON       int `json:"valid_json"`
	LanguageCorrect int `json:"language_correct"`
	Strict          int `json:"strict"`
	Relaxed         int `json:"relaxed"`
}

type publishedErrorCounts struct {
	InvalidJSON      int            `json:"invalid_json"` // none, for the same reason
	LanguageMismatch int            `json:"language_mismatch"`
	Critical         map[string]int `json:"critical"`
	Moderate         map[string]int `json:"moderate"`
	Minor            map[string]int `json:"minor"`
}

// countPublished counts results of the published rules.
func countPublished(results []evalx.Result) publishedTotals {
	s := evalx.Summarize(results)
	t := publishedTotals{
		Total: len(results), ValidJSON: len(results), Readable: s.Overall.ValidJSON.Count,
		Strict: s.Overall.AllCorrect.Count, Relaxed: s.Overall.Passed.Count,
		Filters: map[string]int{}, ByLanguage: map[string]languageTotals{},
		ErrorCounts: publishedErrorCounts{Critical: map[string]int{}, Moderate: map[string]int{}, Minor: map[string]int{}},
	}
	correct := map[string]int{}
	for _, f := range s.Fields {
		correct[f.Name] = f.Correct.Count
	}
	for _, key := range filterKeys {
		t.Filters[key] = correct["filters."+key]
	}
	t.LanguageCorrect, t.SemanticQuery = correct["language"], correct["semantic_query"]
	t.OrganisationsExact, t.OrganisationsRelaxed = correct["organisations_exact"], correct["organisations_relaxed"]
	for _, r := range results {
		language, _ := evalx.Lookup(r.Want, "meta.lang").(string)
		l := t.ByLanguage[language]
		l.Total++
		l.ValidJSON++
		f, _ := r.Field("language")
		for count, holds := range map[*int]bool{&l.LanguageCorrect: f.Correct, &l.Strict: r.AllCorrect, &l.Relaxed: r.Passed} {
			if holds {
				*count++
			}
		}
		t.ByLanguage[language] = l
	}
	for _, e := range s.Errors {
		switch e.Severity {
		case "critical":
			t.ErrorCounts.Critical[e.Class] = e.Findings
		case "moderate":
			t.ErrorCounts.Moderate[e.Class] = e.Findings
		case "minor":
			t.ErrorCounts.Minor[e.Class] = e.Findings
		default:
			t.ErrorCounts.LanguageMismatch = e.Findings
		}
	}
	return t
}

// writePublishedTotals writes the published counts as JSON.
func writePublishedTotals(w io.Writer, results []evalx.Result) error {
	data, err := json.MarshalIndent(countPublished(results), "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "\nAs published:\n%s\n", data)
	return err
}
