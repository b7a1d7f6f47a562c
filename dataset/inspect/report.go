package inspect

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/internal/lengths"
)

// Options say how records become examples and batches, as for a training, and
// what else is to be looked at.
type Options struct {
	// Builder encodes. Records that are too long are listed, whatever its
	// policy; with [dataset.OverlongTruncate] they are shortened and kept.
	Builder dataset.Builder
	Split   dataset.SplitOptions
	Plan    dataset.PlanOptions
	// Decoder turns ids into text again; *tokenizer.Tokenizer is one.
	Decoder interface {
		Decode(ids []int32, skipSpecial bool) string
	}
	// CheckAnswer, if not nil, says what is wrong with an answer.
	CheckAnswer func(answer string) error
	// Identify, if not nil, returns the language of a question, "" if it cannot.
	Identify func(question string) string
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
	// Extra counts the keys that do not touch the conversation, such as notes;
	// see [dataset.Record].
	Extra map[string]int
	// Overlong are records of more tokens than Builder.MaxLength, Truncated those
	// of them that were shortened.
	Overlong, Truncated []dataset.Length
	// Train and Eval are the plans of the two parts of a split; Eval is nil if
	// nothing is held out, both are if there are no examples.
	Train, Eval *dataset.Plan

	opts                  Options
	dropping              bool            // overlong records are meant to be left out
	all, prompts, trained lengths.Lengths // tokens: all, those before the first trained one, the trained ones
	languages             []language      // the most frequent first
	mismatches            []mismatch
	// equal are examples with the same question, letter by letter, near those
	// whose questions resemble one another, groups of equal ones and variants of
	// other examples left out.
	equal, near []group
	variants    int // of other examples
	noQuestion  int // examples without a user message, of which no repetition is looked for
}

// language counts the examples of a language, "" for those of none.
type language struct {
	lang             string
	examples, tokens int
	held             int // of these examples, for evaluation
}

// mismatch is an example that says another language than its question is in.
type mismatch struct{ id, lang, looks string }

// group is examples whose questions repeat.
type group struct {
	ids      []string
	question string // of the first
	answers  int    // different ones
}

// Read looks at records, such as those of [dataset.Reader.Records]. It fails
// with an error of reading, one of the options, or one of the tokenizer; what is
// wrong with records is in the report.
func Read(records iter.Seq2[dataset.Record, error], opts Options) (*Report, error) {
	r := &reading{Report: Report{Extra: map[string]int{}, opts: opts, dropping: opts.Builder.Overlong == dataset.OverlongDrop}, ids: map[string]int{}, langs: map[string]string{}}
	if r.opts.Builder.Overlong != dataset.OverlongTruncate {
		r.opts.Builder.Overlong = dataset.OverlongDrop
	}
	if err := r.opts.Builder.Validate(); err != nil {
		return nil, err
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
		r.add(record)
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
	ids    map[string]int
	langs  map[string]string // by id
	groups [][]int           // near duplicates, as places of the examples
}

// add encodes a record by itself: one that cannot be used must not take others
// with it.
func (r *reading) add(record dataset.Record) {
	record.ID = cmp.Or(record.ID, fmt.Sprintf("#%d", r.Records)) // as Builder calls it
	fault := dataset.Fault{File: record.File, Line: record.Line, Record: record.ID}
	if first, twice := r.ids[record.ID]; twice {
		fault.Field, fault.Err = "id", fmt.Errorf("%q is the id of records %d and %d", record.ID, first, r.Records)
		r.Faults = append(r.Faults, fault)
		return
	}
	r.ids[record.ID] = r.Records
	example, length, err := r.opts.Builder.Encode(record)
	if err != nil && length.Instruction < r.opts.Builder.MaxLength {
		fault.Err = err
		r.Faults = append(r.Faults, fault)
		return
	}
	if length.Tokens > r.opts.Builder.MaxLength {
		r.Overlong = append(r.Overlong, length)
		if example == nil {
			return
		}
		r.Truncated = append(r.Truncated, length)
	}
	r.Examples = append(r.Examples, *example)
	for key := range record.Extra {
		r.Extra[key]++
	}
	if r.opts.CheckAnswer != nil {
		if fault.Err = r.opts.CheckAnswer(example.Answer); fault.Err != nil {
			fault.Field = "answer"
			r.Answers = append(r.Answers, fault)
		}
	}
}

// measure counts tokens and languages.
func (r *reading) measure() {
	r.all, r.prompts, r.trained = lengths.Of(r.Examples)
	languages := map[string]*language{}
	for _, e := range r.Examples {
		looks := ""
		if r.opts.Identify != nil && e.Question != "" {
			looks = r.opts.Identify(e.Question)
		}
		if e.Lang != "" && looks != "" && !strings.EqualFold(e.Lang, looks) {
			r.mismatches = append(r.mismatches, mismatch{e.ID, e.Lang, looks})
		}
		lang := cmp.Or(e.Lang, looks)
		r.langs[e.ID] = lang
		l := languages[lang]
		if l == nil {
			l = &language{lang: lang}
			languages[lang] = l
		}
		l.examples, l.tokens = l.examples+1, l.tokens+len(e.IDs)
	}
	for _, l := range languages {
		r.languages = append(r.languages, *l)
	}
	slices.SortFunc(r.languages, func(a, b language) int {
		return cmp.Or(cmp.Compare(b.examples, a.examples), strings.Compare(a.lang, b.lang))
	})
}

// repetitions groups examples by their questions.
func (r *reading) repetitions() error {
	equal := map[string][]int{}
	for i, e := range r.Examples {
		if e.VariantOf != "" {
			r.variants++
		}
		if e.Question == "" {
			r.noQuestion++
			continue
		}
		equal[e.Question] = append(equal[e.Question], i)
	}
	for _, members := range slices.SortedFunc(maps.Values(equal), func(a, b []int) int { return a[0] - b[0] }) {
		if len(members) > 1 {
			r.equal = append(r.equal, r.group(members))
		}
	}
	var err error
	r.groups, err = dataset.NearGroups(r.Examples, r.opts.Split.Similarity)
	for _, members := range r.groups {
		if members = r.sources(members); len(members) > 1 && len(members) > len(equal[r.Examples[members[0]].Question]) {
			r.near = append(r.near, r.group(members))
		}
	}
	return err
}

// sources returns the members that are variants of no other example: that variants
// resemble their source is no news.
func (r *reading) sources(members []int) []int {
	return slices.DeleteFunc(slices.Clone(members), func(i int) bool { return r.Examples[i].VariantOf != "" })
}

func (r *reading) group(members []int) group {
	g := group{question: r.Examples[members[0]].Question}
	texts := map[string]bool{}
	for _, i := range members {
		g.ids = append(g.ids, r.Examples[i].ID)
		texts[r.Examples[i].Answer] = true
	}
	g.answers = len(texts)
	return g
}

// plan lays out batches as a training does.
func (r *reading) plan() error {
	if len(r.Examples) == 0 {
		return nil
	}
	split := r.opts.Split
	split.Near = append([][]int{}, r.groups...) // known, if there are none too
	trained, held, err := dataset.Split(r.Examples, split)
	if err != nil {
		return err
	}
	for _, e := range held {
		i := slices.IndexFunc(r.languages, func(l language) bool { return l.lang == r.langs[e.ID] })
		r.languages[i].held++
	}
	r.Train, r.Eval, err = dataset.NewPlan(trained, held, r.opts.Plan)
	return err
}

// conversations returns n examples, from the shortest to the longest and in
// equal steps between them, or all if there are not so many.
func (r *Report) conversations(n int) []dataset.Example {
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

// span is a run of tokens that are all trained or all not, and all in the
// prefix that the examples share or all not.
type span struct {
	Text            string
	Tokens          int
	Trained, Shared bool
}

// spansOf returns the tokens of an example as text, control tokens included, of
// which the first shared ones are those that all examples begin with. Together
// the texts are what the tokenizer makes of all the ids.
func spansOf(decode func(ids []int32, skipSpecial bool) string, e dataset.Example, shared int) []span {
	var spans []span
	text, from := "", 0
	for i := 1; i <= len(e.IDs); i++ {
		if i < len(e.IDs) && e.Train[i] == e.Train[from] && (i < shared) == (from < shared) {
			continue
		}
		// A tokenizer may strip a blank off the first token that it decodes.
		whole := decode(e.IDs[:i], false)
		part, ok := strings.CutPrefix(whole, text)
		if !ok {
			part = decode(e.IDs[from:i], false)
		}
		spans = append(spans, span{Text: part, Tokens: i - from, Trained: e.Train[from], Shared: from < shared})
		text, from = whole, i
	}
	return spans
}

// spans are those of an example of the report.
func (r *Report) spans(e dataset.Example) []span {
	shared := 0
	if r.Train != nil {
		shared = len(r.Train.Prefix)
	}
	return spansOf(r.opts.Decoder.Decode, e, shared)
}

// Usable reports whether a training would take the data as they are: without
// faults, and without overlong records unless the builder's policy says what
// becomes of them.
func (r *Report) Usable() bool {
	return len(r.Faults) == 0 && (r.dropping || len(r.Overlong) == len(r.Truncated)) && len(r.Examples) > 0
}
