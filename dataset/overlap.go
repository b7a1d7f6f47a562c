package dataset

import (
	"cmp"
	"fmt"
	"strings"
)

// Overlap is what records to train on have in common with records to test on:
// scores on those say nothing.
type Overlap struct {
	Tests int      // test records
	Found int      // of these, in the training data, or a near duplicate of them
	Pairs []string // which, and the records they are: a line each
}

// FindOverlap looks for the questions of tests, and near duplicates of them (see
// [NearGroups], with a similarity of 0.8), among those of records.
func FindOverlap(records, tests []Record) (Overlap, error) {
	o := Overlap{Tests: len(tests)}
	questions := make([]string, len(tests))
	for i, t := range tests {
		questions[i] = t.Question()
	}
	index, err := newNearIndex(questions, nearSimilarity)
	if err != nil {
		return o, err
	}
	found := map[int]bool{}
	for i, r := range records {
		question := r.Question()
		if question == "" {
			continue
		}
		for _, near := range index.resembling(question) {
			how := fmt.Sprintf("resembles it (similarity %.2f): %q", near.similarity, question)
			if essence(question) == essence(questions[near.index]) {
				how = "is the same"
			}
			found[near.index] = true
			o.Pairs = append(o.Pairs, fmt.Sprintf("test query %s %q: record %s %s", recordName(tests[near.index], near.index), questions[near.index], recordName(r, i), how))
		}
	}
	o.Found = len(found)
	return o, nil
}

// recordName is the id of a record, or its place.
func recordName(r Record, i int) string { return cmp.Or(r.ID, fmt.Sprintf("#%d", i+1)) }

// String says how many there are and lists the first fifty pairs.
func (o Overlap) String() string {
	const most = 50
	text := fmt.Sprintf("%d of %d test queries are in the training data", o.Found, o.Tests)
	if len(o.Pairs) > 0 {
		text += ":\n  " + strings.Join(o.Pairs[:min(len(o.Pairs), most)], "\n  ")
	}
	if more := len(o.Pairs) - most; more > 0 {
		text += fmt.Sprintf("\n  and %d pairs more", more)
	}
	return text
}
