package report

import (
	"cmp"
	"errors"
	"fmt"
	"maps"

	"github.com/impulse-salamandra/finetune/evalx"
)

// Run is a set of scored answers and how they came about.
type Run struct {
	// Name says which answers these are, such as the path of the file or of the
	// model. Files do not keep it.
	Name string
	// Task names the rules that the answers are scored by, and Comparators how
	// each field is compared, as in [evalx.Task].
	Task        string
	Comparators map[string]string
	// Constrained is whether the answers were kept to the schema while they were
	// generated; nil if that is not known.
	Constrained *bool
	// Results are in the order of the questions.
	Results []evalx.Result
}

// title is what a run is called beside others.
func (r Run) title() string {
	switch {
	case r.Name != "":
		return r.Name
	case r.Constrained == nil:
		return "answers"
	case *r.Constrained:
		return "kept to the schema"
	}
	return "free"
}

// how says how the answers came about, "" if that is not known.
func (r Run) how() string {
	switch {
	case r.Constrained == nil:
		return ""
	case *r.Constrained:
		return "kept to the schema while they were generated"
	}
	return "as the model gave them"
}

// Comparison is how run B differs from run A.
type Comparison struct {
	A, B Run
	evalx.Comparison
}

// Compare compares each of the others with a. seed is for the bootstrap. It
// fails, listing every fault, for runs that were scored by different rules, and as
// [evalx.Compare] does.
func Compare(a Run, others []Run, seed uint64) ([]Comparison, error) {
	var comparisons []Comparison
	var faults []error
	for _, b := range others {
		if why := rulesDiffer(a, b); why != "" {
			faults = append(faults, fmt.Errorf("%s and %s were scored by different rules: %s", a.title(), b.title(), why))
			continue
		}
		c, err := evalx.Compare(a.Results, b.Results, seed)
		if err != nil {
			faults = append(faults, fmt.Errorf("%s and %s: %w", a.title(), b.title(), err))
			continue
		}
		comparisons = append(comparisons, Comparison{a, b, c})
	}
	return comparisons, errors.Join(faults...)
}

func rulesDiffer(a, b Run) string {
	if a.Task != b.Task {
		return fmt.Sprintf("%q and %q", cmp.Or(a.Task, "unnamed"), cmp.Or(b.Task, "unnamed"))
	}
	if maps.Equal(a.Comparators, b.Comparators) {
		return ""
	}
	for _, f := range append(fieldNames(a), fieldNames(b)...) {
		if inA, inB := a.Comparators[f], b.Comparators[f]; inA != inB {
			return fmt.Sprintf("%s is compared %q and %q", cmp.Or(f, wholeAnswer), cmp.Or(inA, "not at all"), cmp.Or(inB, "not at all"))
		}
	}
	return "their comparators"
}

func fieldNames(r Run) []string {
	var names []string
	for _, result := range r.Results[:min(len(r.Results), 1)] {
		for _, f := range result.Fields {
			names = append(names, f.Name)
		}
	}
	return names
}

// wholeAnswer is what the field without a name is called.
const wholeAnswer = "(whole answer)"
