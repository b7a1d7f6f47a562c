package inspect

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/dataset"
)

// Options say how records become examples and batches, as for a training, and
// what else is to be looked at.
type Options struct {
	// Builder encodes. Records that are too long are listed, whatever its
	// policy; with [dataset.OverlongTruncate] they are shortened and kept.
	Builder dataset.Builder
	Split   dataset.SplitOptions
	Plan    dataset.PlanOptions
	// Decoder turns ids into text again.
	Decoder Decoder
	// CheckAnswer, if not nil, says what is wrong with an answer.
	CheckAnswer func(answer string) error
	// Identify, if not nil, tells the language of a question, "" if it cannot.
	Identify func(question string) string
}

// Decoder is what this package needs of a tokenizer to show tokens.
type Decoder interface {
	Decode(ids []int32, skipSpecial bool) string
}

// Report is what [Read] found. Slices are in the order of the records.
type Report struct {
	Records int // those that cannot be used included
	// Faults are why records cannot be read or encoded.
	Faults dataset.Faults
	// Answers are what CheckAnswer found, one fault per record at most. These
	// records are trained on all the same.
	Answers dataset.Faults
	// Examples are the records that can be trained on.
	Examples []dataset.Example
	// Overlong are records of more tokens than Builder.MaxLength, Truncated those
	// of them that were shortened.
	Overlong, Truncated []dataset.Length
	// MaxLength is the builder's.
	MaxLength int

	// Lengths of the examples: all tokens, those before the first trained one,
	// and the trained ones.
	All, Prompts, Trained Lengths

	Languages  []Language // the most frequent first
	Mismatches []Mismatch
	// Equal are examples with the same question, letter by letter, Near those
	// whose questions resemble one another, groups of equal ones left out.
	Equal, Near []Group
	// NoQuestion counts examples without a user message, of which no
	// repetition is looked for.
	NoQuestion int

	// Train and Eval are the plans of the two parts of a split; Eval is nil if
	// nothing is held out, both are if there are no examples.
	Train, Eval *dataset.Plan

	decoder  Decoder
	dropping bool // overlong records are meant to be left out
}

// Language counts the examples of a language, "" for those of none.
type Language struct {
	Lang             string
	Examples, Tokens int
	Held             int // of these examples, for evaluation
}

// Mismatch is an example that says another language than its question is in.
type Mismatch struct{ ID, Lang, Looks string }

// Group is examples whose questions repeat.
type Group struct {
	IDs []string
	// Question is that of the first.
	Question string
	// Answers is the number of different answers to them.
	Answers int
}

// Read looks at records, such as those of [dataset.Reader.Records]. It fails
// with an error of reading, one of the options, or one of the tokenizer; what is
// wrong with records is in the report.
func Read(records iter.Seq2[dataset.Record, error], opts Options) (*Report, error) {
	r := &reading{Report: Report{decoder: opts.Decoder, MaxLength: opts.Builder.MaxLength, dropping: opts.Builder.Overlong == dataset.OverlongDrop}, opts: opts, ids: map[string]int{}, languages: map[string]string{}}
	if r.opts.Builder.Overlong != dataset.OverlongTruncate {
		r.opts.Builder.Overlong = dataset.OverlongDrop
	}
	for record, err := range records {
		r.Records++
		var faults dataset.Faults
		switch {
		case errors.As(err, &faults):
			r.Faults = append(r.Faults, faults...)
			continue
		case err != nil:
			return nil, err
		}
		if err := r.add(record); err != nil {
			return nil, err
		}
	}
	r.measure()
	if err := r.repetitions(); err != nil {
		return &r.Report, err
	}
	return &r.Report, r.plan()
}

// reading is a report that is being made.
type reading struct {
	Report
	opts      Options
	ids       map[string]int
	languages map[string]string // by id
	answers   []string          // of the examples
	near      [][]int           // near duplicates, as places of the examples
}

// add encodes a record by itself: one that cannot be used must not take others
// with it.
func (r *reading) add(record dataset.Record) error {
	record.ID = cmp.Or(record.ID, fmt.Sprintf("#%d", r.Records)) // as Builder calls it
	if first, twice := r.ids[record.ID]; twice {
		r.Faults = append(r.Faults, dataset.Fault{Record: record.ID, Field: "id", Err: fmt.Errorf("%w: records %d and %d", dataset.ErrDuplicate, first, r.Records)})
		return nil
	}
	r.ids[record.ID] = r.Records
	set, err := r.opts.Builder.Build([]dataset.Record{record})
	var faults dataset.Faults
	switch {
	case errors.As(err, &faults):
		r.Faults = append(r.Faults, faults...)
		return nil
	case errors.Is(err, dataset.ErrEmpty):
		// Dropped, and only its length is missing: it is what it would be alone.
		return r.addOverlong(record)
	case err != nil:
		return err
	}
	for _, l := range set.Truncated {
		r.Overlong, r.Truncated = append(r.Overlong, l), append(r.Truncated, l)
	}
	r.Examples = append(r.Examples, set.Examples...)
	answer := lastAnswer(record)
	r.answers = append(r.answers, answer)
	if r.opts.CheckAnswer != nil {
		if err := r.opts.CheckAnswer(answer); err != nil {
			r.Answers = append(r.Answers, dataset.Fault{Record: record.ID, Field: "answer", Err: err})
		}
	}
	return nil
}

func (r *reading) addOverlong(record dataset.Record) error {
	enc, err := r.opts.Builder.Template.Encode(r.opts.Builder.Tokenizer, record.Messages, r.opts.Builder.Turns)
	r.Overlong = append(r.Overlong, dataset.Length{ID: record.ID, Tokens: len(enc.IDs)})
	return err
}

func lastAnswer(record dataset.Record) string {
	for _, m := range slices.Backward(record.Messages) {
		if m.Role == chatml.Assistant {
			return m.Content
		}
	}
	return ""
}

// measure counts tokens and languages.
func (r *reading) measure() {
	r.All, r.Prompts, r.Trained = LengthsOf(r.Examples)
	languages := map[string]*Language{}
	for _, e := range r.Examples {
		looks := ""
		if r.opts.Identify != nil && e.Question != "" {
			looks = r.opts.Identify(e.Question)
		}
		if e.Lang != "" && looks != "" && !strings.EqualFold(e.Lang, looks) {
			r.Mismatches = append(r.Mismatches, Mismatch{e.ID, e.Lang, looks})
		}
		lang := cmp.Or(e.Lang, looks)
		r.languages[e.ID] = lang
		l := languages[lang]
		if l == nil {
			l = &Language{Lang: lang}
			languages[lang] = l
		}
		l.Examples, l.Tokens = l.Examples+1, l.Tokens+len(e.IDs)
	}
	for _, l := range languages {
		r.Languages = append(r.Languages, *l)
	}
	slices.SortFunc(r.Languages, func(a, b Language) int {
		return cmp.Or(cmp.Compare(b.Examples, a.Examples), strings.Compare(a.Lang, b.Lang))
	})
}

// repetitions groups examples by their questions.
func (r *reading) repetitions() error {
	equal := map[string][]int{}
	for i, e := range r.Examples {
		if e.Question == "" {
			r.NoQuestion++
			continue
		}
		equal[e.Question] = append(equal[e.Question], i)
	}
	for _, members := range slices.SortedFunc(maps.Values(equal), func(a, b []int) int { return a[0] - b[0] }) {
		if len(members) > 1 {
			r.Equal = append(r.Equal, r.group(members))
		}
	}
	var err error
	r.near, err = dataset.NearExamples(r.Examples, r.opts.Split.Similarity)
	for _, members := range r.near {
		if len(members) > len(equal[r.Examples[members[0]].Question]) {
			r.Near = append(r.Near, r.group(members))
		}
	}
	return err
}

func (r *reading) group(members []int) Group {
	g := Group{Question: r.Examples[members[0]].Question}
	answers := map[string]bool{}
	for _, i := range members {
		g.IDs = append(g.IDs, r.Examples[i].ID)
		answers[r.answers[i]] = true
	}
	g.Answers = len(answers)
	return g
}

// plan lays out batches as a training does.
func (r *reading) plan() error {
	if len(r.Examples) == 0 {
		return nil
	}
	trained, held, err := dataset.SplitKnowing(r.near, r.Examples, r.opts.Split)
	if err != nil {
		return err
	}
	for _, e := range held {
		i := slices.IndexFunc(r.Languages, func(l Language) bool { return l.Lang == r.languages[e.ID] })
		r.Languages[i].Held++
	}
	r.Train, r.Eval, err = dataset.NewPlans(trained, held, r.opts.Plan)
	return err
}

// Conversations returns n examples, from the shortest to the longest and in
// equal steps between them, or all if there are not so many.
func (r *Report) Conversations(n int) []dataset.Example {
	sorted := slices.SortedStableFunc(slices.Values(r.Examples), func(a, b dataset.Example) int { return cmp.Compare(len(a.IDs), len(b.IDs)) })
	if n >= len(sorted) {
		return sorted
	}
	var chosen []dataset.Example
	for i := range max(n, 0) {
		chosen = append(chosen, sorted[i*(len(sorted)-1)/max(n-1, 1)])
	}
	return chosen
}

// Span is a run of tokens that are all trained or all not, and all in the
// prefix that the examples share or all not.
type Span struct {
	Text            string
	Tokens          int
	Trained, Shared bool
}

// Spans returns the tokens of an example as text, control tokens included, of
// which the first shared ones are those that all examples begin with. Together
// the texts are what the tokenizer makes of all the ids.
func Spans(d Decoder, e dataset.Example, shared int) []Span {
	var spans []Span
	text, from := "", 0
	for i := 1; i <= len(e.IDs); i++ {
		if i < len(e.IDs) && e.Train[i] == e.Train[from] && (i < shared) == (from < shared) {
			continue
		}
		// A tokenizer may strip a blank off the first token that it decodes.
		whole := d.Decode(e.IDs[:i], false)
		part, ok := strings.CutPrefix(whole, text)
		if !ok {
			part = d.Decode(e.IDs[from:i], false)
		}
		spans = append(spans, Span{Text: part, Tokens: i - from, Trained: e.Train[from], Shared: from < shared})
		text, from = whole, i
	}
	return spans
}

// spans are those of an example of the report.
func (r *Report) spans(e dataset.Example) []Span {
	shared := 0
	if r.Train != nil {
		shared = len(r.Train.Prefix)
	}
	return Spans(r.decoder, e, shared)
}

// Usable tells whether a training would take the data as they are: without
// faults, and without overlong records unless the builder's policy says what
// becomes of them.
func (r *Report) Usable() bool {
	return len(r.Faults) == 0 && (r.dropping || len(r.Overlong) == len(r.Truncated)) && len(r.Examples) > 0
}
