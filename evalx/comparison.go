package evalx

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/impulse-salamandra/finetune/evalx/page"
)

// ErrNotComparable: two sets of results are not of the same questions.
var ErrNotComparable = errors.New("results are not of the same questions")

// Comparison is how two sets of results on the same questions differ.
type Comparison struct {
	Questions int
	// Measures are passed, all_correct, valid_json, schema_compliant and then
	// the fields by their labels, with "field " in front.
	Measures []Measure
}

// Measure is one yes-or-no score of two sets of results, A and B.
type Measure struct {
	Name string
	A, B Share
	// Wins are the questions that B has right and A has not, Losses those that A
	// has right and B has not, by ID in the order of A.
	Wins, Losses []string
	// P is the p-value of [McNemar]. Of twenty measures that do not differ one is
	// expected below 0.05, so what is to be decided by is best chosen before.
	P float64
	// Difference is share of B less share of A, its interval by [Bootstrap].
	Difference Interval
}

// CompareOptions configure [Compare].
type CompareOptions struct {
	Resamples int    // of the bootstrap
	Seed      uint64 // of the bootstrap
}

// DefaultCompareOptions are 10,000 resamples and seed 42.
func DefaultCompareOptions() CompareOptions {
	return CompareOptions{Resamples: 10_000, Seed: 42}
}

// Compare compares results b with results a, pairing them by ID. It fails with
// [ErrNotComparable], listing every fault, if an ID is there twice or on one side
// only, or if wanted values or fields differ: then the questions were not the
// same.
func Compare(a, b []Result, opts CompareOptions) (Comparison, error) {
	pairs, err := pair(a, b)
	if err != nil {
		return Comparison{}, err
	}
	c := Comparison{Questions: len(pairs)}
	add := func(name string, right func(Result) bool) {
		c.Measures = append(c.Measures, measure(name, pairs, right, opts))
	}
	add("passed", func(r Result) bool { return r.Passed })
	add("all_correct", func(r Result) bool { return r.AllCorrect })
	add("valid_json", Result.ValidJSON)
	add("schema_compliant", Result.Compliant)
	if len(pairs) > 0 {
		for _, f := range pairs[0][0].Fields {
			add("field "+f.Label(), func(r Result) bool {
				f, _ := r.Field(f.Label())
				return f.Correct
			})
		}
	}
	return c, nil
}

func measure(name string, pairs [][2]Result, right func(Result) bool, opts CompareOptions) Measure {
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
	m.P = McNemar(len(m.Wins), len(m.Losses))
	m.Difference = Bootstrap(differences, opts.Resamples, opts.Seed)
	return m
}

// pair pairs results by ID in the order of a.
func pair(a, b []Result) ([][2]Result, error) {
	var faults []string
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	index := func(side string, results []Result) map[string]Result {
		byID := make(map[string]Result, len(results))
		for _, r := range results {
			if _, twice := byID[r.ID]; twice {
				fault("%s has %s twice", side, clip(r.ID))
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
			fault("only the first has %s", clip(r.ID))
			continue
		}
		if why := differ(r, other); why != "" {
			fault("%s: %s", clip(r.ID), why)
		}
		pairs = append(pairs, [2]Result{r, other})
	}
	for _, r := range b {
		if _, ok := inA[r.ID]; !ok {
			fault("only the second has %s", clip(r.ID))
		}
	}
	if faults != nil {
		return nil, fmt.Errorf("evalx: %w: %s", ErrNotComparable, strings.Join(faults, "; "))
	}
	return pairs, nil
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
		if other := b.Fields[i]; f.Label() != other.Label() || !Exact(f.Want, other.Want) {
			return fmt.Sprintf("field %d is %s in the first and %s in the second, or of another wanted value", i+1, clip(f.Label()), clip(other.Label()))
		}
	}
	return ""
}

// WriteComparison writes a comparison for the terminal: each measure with both
// shares, the difference in points with its 95 % interval, wins, losses and the
// p-value, and then which questions B won and lost, by the first measure. Text
// is escaped as in [WriteText].
//
//	measure      a               b               difference (95%)        wins  losses      p
//	passed       18/20 (90.0%)   19/20 (95.0%)   +5.0 (-10.0 to +20.0)      2       1  1.000
func WriteComparison(w io.Writer, nameA, nameB string, c Comparison) error {
	var b strings.Builder
	fmt.Fprintf(&b, "A: %s\nB: %s\nQuestions: %d\n\n", page.Printable(nameA), page.Printable(nameB), c.Questions)
	width := len("measure")
	for _, m := range c.Measures {
		width = max(width, len(page.Printable(m.Name)))
	}
	const line = "%-*s  %-16s  %-16s  %-24s  %5s  %6s  %6s\n"
	fmt.Fprintf(&b, line, width, "measure", "A", "B", "difference (95%)", "wins", "losses", "p")
	for _, m := range c.Measures {
		fmt.Fprintf(&b, line, width, page.Printable(m.Name), m.A, m.B, points(m.Difference), fmt.Sprint(len(m.Wins)), fmt.Sprint(len(m.Losses)), fmt.Sprintf("%.3f", m.P))
	}
	if len(c.Measures) > 0 {
		first := c.Measures[0]
		fmt.Fprintf(&b, "\nB wins (%s): %s\nB loses (%s): %s\n", page.Printable(first.Name), list(first.Wins), page.Printable(first.Name), list(first.Losses))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// points returns a difference of shares in percentage points.
func points(i Interval) string {
	return fmt.Sprintf("%+.1f (%+.1f to %+.1f)", 100*i.Estimate, 100*i.Low, 100*i.High)
}

func list(ids []string) string {
	if len(ids) == 0 {
		return "none"
	}
	return page.Printable(strings.Join(ids, ", "))
}
