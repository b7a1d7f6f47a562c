package evalx

import (
	"cmp"
	"fmt"
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

// String returns "18/20 (90.0%)", and "0/0 (n/a)" if there are no cases.
func (s Share) String() string {
	value, ok := s.Value()
	if !ok {
		return fmt.Sprintf("%d/%d (n/a)", s.Count, s.Total)
	}
	return fmt.Sprintf("%d/%d (%.1f%%)", s.Count, s.Total, 100*value)
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
	Compliant  Share // answers that comply with the schema, of those that have one
	AllCorrect Share // answers with every field correct
	Fields     Share // fields that are correct, of all fields of all answers
}

func (c *Counts) add(r Result) {
	c.Passed.add(r.Passed)
	c.ValidJSON.add(r.ValidJSON())
	if !r.NoSchema {
		c.Compliant.add(r.Compliant())
	}
	c.AllCorrect.add(r.AllCorrect)
	for _, f := range r.Fields {
		c.Fields.add(f.Correct)
	}
}

// Summary counts the results of a task.
type Summary struct {
	Overall Counts
	Groups  []GroupCounts // in the order in which results name the groups, then of their values
	Fields  []FieldCount  // in the order of the task
	Errors  []ErrorCount  // classes with findings, the worst severity first
}

// GroupCounts are the counts of the questions with one value of a group.
type GroupCounts struct {
	Label
	Counts
}

// FieldCount is how often a field was correct and, where there was a value to
// be found or one was given, how these went together. A value is anything but
// null, [Missing], "", [] and {}.
type FieldCount struct {
	Name    string // see FieldResult.Name
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
	expected, given := !IsEmpty(r.Want), !IsEmpty(r.Got)
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
	groups, fields := map[Label]int{}, map[string]int{} // places in s
	for _, r := range results {
		s.Overall.add(r)
		for _, label := range r.Groups {
			if _, known := groups[label]; !known {
				groups[label] = len(s.Groups)
				s.Groups = append(s.Groups, GroupCounts{Label: label})
			}
			s.Groups[groups[label]].add(r)
		}
		for _, f := range r.Fields {
			if _, known := fields[f.Name]; !known {
				fields[f.Name] = len(s.Fields)
				s.Fields = append(s.Fields, FieldCount{Name: f.Name})
			}
			s.Fields[fields[f.Name]].add(f)
		}
		s.addErrors(r.Errors)
	}
	s.sortErrors()
	s.sortGroups()
	return s
}

// sortGroups brings the values of a group together, in their order.
func (s *Summary) sortGroups() {
	first := map[string]int{} // place of a group's first value
	for i, g := range s.Groups {
		if _, ok := first[g.Name]; !ok {
			first[g.Name] = i
		}
	}
	slices.SortFunc(s.Groups, func(a, b GroupCounts) int {
		return cmp.Or(cmp.Compare(first[a.Name], first[b.Name]), strings.Compare(a.Value, b.Value))
	})
}
