package evalx

import (
	"math"
	"slices"
	"strings"
)

// Share is how many of a number of cases something holds for.
type Share struct {
	Count, Total int
}

func (s *Share) add(holds bool) {
	s.Total++
	if holds {
		s.Count++
	}
}

// Value returns Count/Total, and false if there are no cases.
func (s Share) Value() (float64, bool) {
	return float64(s.Count) / float64(s.Total), s.Total > 0
}

// Wilson returns the 95 % score interval of the share, 0 to 1 if there are no
// cases. It supposes cases that are independent of each other; the fields of one
// answer are not, so for Counts.Fields it is too narrow.
//
// Source: Wilson 1927, "Probable inference, the law of succession, and
// statistical inference".
func (s Share) Wilson() (low, high float64) {
	p, ok := s.Value()
	if !ok {
		return 0, 1
	}
	const z = 1.959963984540054 // 97.5 % quantile of the normal distribution
	n := float64(s.Total)
	centre := (p + z*z/(2*n)) / (1 + z*z/n)
	half := z / (1 + z*z/n) * math.Sqrt(p*(1-p)/n+z*z/(4*n*n))
	low, high = centre-half, centre+half
	if s.Count == 0 {
		low = 0 // without the error of rounding
	}
	if s.Count == s.Total {
		high = 1
	}
	return low, high
}

// Counts are the outcomes of a set of answers. Answers that could not be read
// count in every total.
type Counts struct {
	Passed     Share // answers, see Task.Passed
	ValidJSON  Share // answers that could be read
	Compliant  Share // answers that comply with the schema
	AllCorrect Share // answers with every field correct
	Fields     Share // fields that are correct, of all fields of all answers
}

func (c *Counts) add(r Result) {
	c.Passed.add(r.Passed)
	c.ValidJSON.add(r.ValidJSON())
	c.Compliant.add(r.Compliant())
	c.AllCorrect.add(r.AllCorrect)
	for _, f := range r.Fields {
		c.Fields.add(f.Correct)
	}
}

// Summary counts the results of a task.
type Summary struct {
	Overall Counts
	Groups  []GroupCounts // in the order in which results name them
	Fields  []FieldCount  // in the order of the task
	Errors  []ErrorCount  // classes with findings, the worst severity first
}

// GroupCounts splits the counts by one group.
type GroupCounts struct {
	Name   string
	Values []ValueCounts // in the order of their values
}

// ValueCounts are the counts of the questions with one value of a group.
type ValueCounts struct {
	Value string
	Counts
}

// FieldCount is how often a field was correct and, where there was a value to
// be found or one was given, how these went together. A value is anything but
// null, [Missing], "", [] and {}.
type FieldCount struct {
	Path    string // the field's label, see FieldResult.Label
	Correct Share  // all answers; null for null is correct
	// Expected is the number of answers that should have a value here, Given
	// the number of those that have one, Right of those in both that are correct.
	Expected, Given, Right int
}

// Precision is the share of correct values among those given. A wrong value
// lowers precision and recall.
func (f FieldCount) Precision() Share { return Share{f.Right, f.Given} }

// Recall is the share of correct values among those expected.
func (f FieldCount) Recall() Share { return Share{f.Right, f.Expected} }

// F1 is the harmonic mean of precision and recall, 2*Right/(Given+Expected), and
// false if no value was given or expected.
func (f FieldCount) F1() (float64, bool) {
	return Share{2 * f.Right, f.Given + f.Expected}.Value()
}

func (f *FieldCount) add(r FieldResult) {
	f.Correct.add(r.Correct)
	expected, given := !isEmpty(r.Want), !isEmpty(r.Got)
	if expected {
		f.Expected++
	}
	if given {
		f.Given++
	}
	if expected && given && r.Correct {
		f.Right++
	}
}

// Summarize counts results.
func Summarize(results []Result) Summary {
	var s Summary
	for _, r := range results {
		s.Overall.add(r)
		for _, label := range r.Groups {
			s.group(label).add(r)
		}
		for _, f := range r.Fields {
			s.field(f.Label()).add(f)
		}
		s.addErrors(r.Errors)
	}
	s.sortErrors()
	for _, g := range s.Groups {
		slices.SortFunc(g.Values, func(a, b ValueCounts) int { return strings.Compare(a.Value, b.Value) })
	}
	return s
}

// group returns the counts for a label, which it adds if they are new.
func (s *Summary) group(label Label) *Counts {
	i := slices.IndexFunc(s.Groups, func(g GroupCounts) bool { return g.Name == label.Name })
	if i < 0 {
		i = len(s.Groups)
		s.Groups = append(s.Groups, GroupCounts{Name: label.Name})
	}
	g := &s.Groups[i]
	j := slices.IndexFunc(g.Values, func(v ValueCounts) bool { return v.Value == label.Value })
	if j < 0 {
		j = len(g.Values)
		g.Values = append(g.Values, ValueCounts{Value: label.Value})
	}
	return &g.Values[j].Counts
}

// field returns the count for a path, which it adds if it is new.
func (s *Summary) field(path string) *FieldCount {
	i := slices.IndexFunc(s.Fields, func(f FieldCount) bool { return f.Path == path })
	if i < 0 {
		i = len(s.Fields)
		s.Fields = append(s.Fields, FieldCount{Path: path})
	}
	return &s.Fields[i]
}
