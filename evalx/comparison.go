package evalx

import (
	"fmt"
	"slices"
	"strings"
)

// Comparison is how two sets of results on the same questions differ.
type Comparison struct {
	Questions int
	// Measures are passed, all_correct, valid_json, schema_compliant if both had a
	// schema, and then the fields by their names, with "field " in front.
	Measures []Measure
}

// Measure is one yes-or-no score of two sets of results, A and B.
type Measure struct {
	Name string
	A, B Share
	// Wins are the questions that B has right and A has not, Losses those that A
	// has right and B has not, by ID in the order of A.
	Wins, Losses []string
	// P is the two-sided p-value of the exact McNemar test: how likely a split at
	// least as uneven as wins to losses is if either is equally likely. Of twenty
	// measures that do not differ one is expected below 0.05, so what is to be
	// decided by is best chosen before.
	P float64
	// Difference is the share of B less the share of A, Low to High its 95 % interval
	// by the paired bootstrap.
	Difference, Low, High float64
}

// Compare compares results b with results a, pairing them by ID. seed is for
// the bootstrap: the same one gives the same intervals. It fails, listing every
// fault, if an ID is there twice or on one side only, or if wanted values or
// fields differ: then the questions were not the same.
func Compare(a, b []Result, seed uint64) (Comparison, error) {
	pairs, err := pair(a, b)
	if err != nil {
		return Comparison{}, err
	}
	c := Comparison{Questions: len(pairs)}
	add := func(name string, right func(Result) bool) {
		c.Measures = append(c.Measures, measure(name, pairs, right, seed))
	}
	add("passed", func(r Result) bool { return r.Passed })
	add("all_correct", func(r Result) bool { return r.AllCorrect })
	add("valid_json", Result.ValidJSON)
	if !slices.ContainsFunc(slices.Concat(a, b), func(r Result) bool { return r.NoSchema }) {
		add("schema_compliant", Result.Compliant)
	}
	if len(pairs) > 0 {
		for _, f := range pairs[0][0].Fields {
			add("field "+f.Name, func(r Result) bool {
				f, _ := r.Field(f.Name)
				return f.Correct
			})
		}
	}
	return c, nil
}

func measure(name string, pairs [][2]Result, right func(Result) bool, seed uint64) Measure {
	m := Measure{Name: name}
	differences := make([]float64, len(pairs))
	for i, p := range pairs {
		inA, inB := right(p[0]), right(p[1])
		m.A.add(inA)
		m.B.add(inB)
		switch {
		case inB && !inA:
			m.Wins = append(m.Wins, p[0].ID)
			differences[i] = 1
		case inA && !inB:
			m.Losses = append(m.Losses, p[0].ID)
			differences[i] = -1
		}
	}
	m.P = mcNemar(len(m.Wins), len(m.Losses))
	m.Difference, m.Low, m.High = bootstrap(differences, seed)
	return m
}

// pair pairs results by ID in the order of a.
func pair(a, b []Result) ([][2]Result, error) {
	var faults idFaults
	index := func(side string, results []Result) map[string]Result {
		byID := make(map[string]Result, len(results))
		for _, r := range results {
			if _, twice := byID[r.ID]; twice {
				faults.add(side+" has twice", r.ID)
			}
			byID[r.ID] = r
		}
		return byID
	}
	inA, inB := index("the first", a), index("the second", b)
	var pairs [][2]Result
	for _, r := range a {
		other, ok := inB[r.ID]
		if !ok {
			faults.add("only the first has", r.ID)
			continue
		}
		if why := differ(r, other); why != "" {
			faults.add(why+":", r.ID)
		}
		pairs = append(pairs, [2]Result{r, other})
	}
	for _, r := range b {
		if _, ok := inA[r.ID]; !ok {
			faults.add("only the second has", r.ID)
		}
	}
	return pairs, faults.err()
}

// idFaults are the ids of questions by what is wrong with them.
type idFaults struct {
	causes []string
	ids    map[string][]string
}

func (f *idFaults) add(cause, id string) {
	if f.ids == nil {
		f.ids = map[string][]string{}
	}
	if f.ids[cause] == nil {
		f.causes = append(f.causes, cause)
	}
	f.ids[cause] = append(f.ids[cause], clip(id))
}

// err names the first ids of each cause, and counts the others.
func (f *idFaults) err() error {
	const mostCauses, mostIDs = 20, 5
	var lines []string
	for _, cause := range f.causes[:min(len(f.causes), mostCauses)] {
		ids := f.ids[cause]
		line := cause + " " + strings.Join(ids[:min(len(ids), mostIDs)], ", ")
		if more := len(ids) - mostIDs; more > 0 {
			line += fmt.Sprintf(" and %d more", more)
		}
		lines = append(lines, line)
	}
	if more := len(f.causes) - mostCauses; more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more causes", more))
	}
	if lines == nil {
		return nil
	}
	return fmt.Errorf("results are not of the same questions: %s", strings.Join(lines, "; "))
}

// differ says why two results are not of one question, "" if they can be.
func differ(a, b Result) string {
	if !Exact(a.Want, b.Want) {
		return "the wanted values differ"
	}
	if len(a.Fields) != len(b.Fields) {
		return "the fields differ"
	}
	for i, f := range a.Fields {
		if other := b.Fields[i]; f.Name != other.Name || !Exact(f.Want, other.Want) {
			return fmt.Sprintf("field %d is %s in the first and %s in the second, or of another wanted value", i+1, clip(f.Name), clip(other.Name))
		}
	}
	return ""
}
