package augment

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/internal/faults"
	"github.com/impulse-salamandra/finetune/internal/strictjson"
)

// byKey is the key of [dataset.Record].Extra that says how a variant was made.
const byKey = "variant_by"

// Options are the choices of [Make]. Start from [DefaultOptions]: a zero field means
// zero.
type Options struct {
	// Templates are the ways to vary that are tried.
	Templates []string
	// Variants is how many variants of a record are made by templates, each by
	// another one.
	Variants int
	// Paraphrases is how many are asked of Paraphrase for each record. It is called
	// once, with each question so many times, and returns as many texts: the
	// questions in other words, "" where it has none.
	Paraphrases int
	Paraphrase  func(ctx context.Context, questions []string) ([]string, error)
	// Identify, if not nil, returns the language of a question as Lang of records
	// has it, or "" where it cannot tell. It is asked for records without Lang, and
	// a paraphrase has to be in the language of its question.
	Identify func(question string) string
	// Seed chooses.
	Seed uint64
}

// DefaultOptions returns two variants of a record by any of the templates, no
// paraphrase, and seed 42.
func DefaultOptions() Options {
	return Options{Templates: []string{Accents, Typos, Case, Order, Politeness}, Variants: 2, Seed: 42}
}

// validate lists what is out of range.
func (o *Options) validate() error {
	var wrong faults.List
	for _, name := range o.Templates {
		if templates[name] == nil {
			wrong.Addf("", "template %q, want some of %s", name, strings.Join(DefaultOptions().Templates, ", "))
		}
	}
	if o.Variants < 0 || o.Paraphrases < 0 {
		wrong.Addf("", "%d variants and %d paraphrases of a record, want 0 or more", o.Variants, o.Paraphrases)
	}
	if o.Paraphrases > 0 && o.Paraphrase == nil {
		wrong.Addf("", "paraphrases need a model")
	}
	return wrong.Err()
}

// Result is what [Make] made.
type Result struct {
	// Records are the records given, each followed by its variants. Those without
	// an id, of which there are variants, are called "#1" for the first record and
	// so on, as dataset.Builder calls them.
	Records []dataset.Record
	// Report says what was kept, and what was not and why.
	Report Report
}

// Make makes variants of records. Each record's last question is varied, that of
// its last answer. Records that are variants are left as they are. The same records
// and options give the same result, if Paraphrase does.
//
// It fails if an option is out of range, with [dataset.Faults] if two records have
// one id, and with the error of Paraphrase.
func Make(ctx context.Context, records []dataset.Record, opts Options) (*Result, error) {
	if err := opts.validate(); err != nil {
		return nil, err
	}
	m := &maker{opts: opts, taken: map[string]bool{}}
	if err := m.readSources(records); err != nil {
		return nil, err
	}
	for _, s := range m.sources {
		m.vary(s)
	}
	if err := m.paraphrase(ctx); err != nil {
		return nil, err
	}
	r := &Result{Report: m.report}
	for i, record := range records {
		if s := m.byPlace[i]; s != nil && len(s.variants) > 0 {
			record.ID = s.id
			r.Records = append(append(r.Records, record), s.variants...)
		} else {
			r.Records = append(r.Records, record)
		}
	}
	r.Report.Records, r.Report.Sources = len(records), len(m.sources)
	return r, nil
}

// maker makes the variants of one data set.
type maker struct {
	opts    Options
	sources []*source
	byPlace map[int]*source
	taken   map[string]bool // questions, as told apart
	report  Report
}

// source is a record to vary.
type source struct {
	question
	id       string
	record   dataset.Record
	at       int // the question's place among the messages
	answer   strictjson.Value
	variants []dataset.Record
}

// readSources finds the records that can be varied.
func (m *maker) readSources(records []dataset.Record) error {
	m.byPlace = map[int]*source{}
	ids := map[string]int{}
	var wrong dataset.Faults
	for i, r := range records {
		m.taken[sameAs(r.Question())] = true
		id := cmp.Or(r.ID, fmt.Sprintf("#%d", i+1))
		if first, twice := ids[id]; twice {
			wrong = append(wrong, dataset.Fault{File: r.File, Line: r.Line, Record: id, Field: "id", Err: fmt.Errorf("is that of record %d too", first+1)})
		}
		ids[id] = i
		s, err := m.source(id, r)
		if err != nil {
			m.report.leave(err.Error(), id)
			continue
		}
		m.sources, m.byPlace[i] = append(m.sources, s), s
	}
	if wrong != nil {
		return wrong
	}
	return nil
}

// source reads a record to vary. The error says why it is left as it is.
func (m *maker) source(id string, r dataset.Record) (*source, error) {
	at := len(r.Messages) - 2
	if at < 0 || r.Messages[at].Role != chatml.User || r.Messages[at+1].Role != chatml.Assistant {
		return nil, errors.New("no question and answer at the end")
	}
	if r.VariantOf != "" {
		return nil, errors.New("a variant itself")
	}
	text := []byte(r.Messages[at+1].Content)
	answer, wrong, complete := strictjson.Parse(text, 0, 200)
	if !complete || len(wrong) > 0 {
		return nil, errors.New("the answer is not JSON")
	}
	asked := r.Messages[at].Content
	if strings.TrimSpace(asked) == "" {
		return nil, errors.New("the question is empty")
	}
	language := r.Lang
	if language == "" && m.opts.Identify != nil {
		language = m.opts.Identify(asked)
	}
	return &source{
		question: question{needsOf(asked, without(asked, answer)), strings.ToLower(language)},
		id:       id, record: r, at: at, answer: answer,
	}, nil
}

// vary makes the variants of a record by templates. What is drawn depends on the
// seed and the record only.
func (m *maker) vary(s *source) {
	h := fnv.New64a()
	fmt.Fprintf(h, "%q %q", s.id, s.text)
	draw := rand.New(rand.NewPCG(m.opts.Seed, h.Sum64()))
	names := slices.Clone(m.opts.Templates)
	draw.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	for _, name := range names {
		if len(s.variants) >= m.opts.Variants {
			return
		}
		m.add(s, name, templates[name](s.question, draw))
	}
}

// paraphrase asks for paraphrases of all records.
func (m *maker) paraphrase(ctx context.Context) error {
	var questions []string
	var of []*source
	for _, s := range m.sources {
		for range m.opts.Paraphrases {
			questions, of = append(questions, s.text), append(of, s)
		}
	}
	if len(questions) == 0 {
		return nil
	}
	texts, err := m.opts.Paraphrase(ctx, questions)
	if err == nil && len(texts) != len(questions) {
		err = fmt.Errorf("%d paraphrases of %d questions", len(texts), len(questions))
	}
	if err != nil {
		return err
	}
	for i, s := range of {
		m.add(s, paraphrase, strings.TrimSpace(texts[i]))
	}
	return nil
}

// add keeps a variant, or says why not.
func (m *maker) add(s *source, by, text string) {
	if why := m.refuse(s, by, text); why != "" {
		m.report.refuse(by, why, s.text, text)
		return
	}
	m.taken[sameAs(text)] = true
	v := s.record
	v.ID, v.VariantOf = fmt.Sprintf("%s~%d", s.id, len(s.variants)+1), s.id
	v.Messages = slices.Clone(v.Messages)
	v.Messages[s.at].Content = text
	v.Messages[s.at+1].Content = repeatIn(v.Messages[s.at+1].Content, s.answer, s.text, text)
	v.Extra = map[string]json.RawMessage{byKey: strictjson.AppendString(nil, by)}
	for key, value := range s.record.Extra {
		v.Extra[key] = json.RawMessage(repeated(string(value), s.text, text))
	}
	s.variants = append(s.variants, v)
	m.report.keep(by, s.text, text)
}

// refuse says why a variant is not kept, "" if it is.
func (m *maker) refuse(s *source, by, text string) string {
	switch {
	case text == "":
		return "it is empty"
	case text == s.text:
		return "nothing to change"
	case m.taken[sameAs(text)]:
		return "a question of the data, or another variant"
	}
	if why := s.missing(text); why != "" {
		return "a value is lost: " + why
	}
	if by != paraphrase {
		return ""
	}
	return m.refuseParaphrase(s, text)
}

// refuseParaphrase says why a model's text is no paraphrase.
func (m *maker) refuseParaphrase(s *source, text string) string {
	had, has := len([]rune(s.text)), len([]rune(text))
	switch {
	case has > 2*had+40 || 3*has < had:
		return "too long or too short"
	case strings.Contains(text, "\n") && !strings.Contains(s.text, "\n"):
		return "several lines"
	case strings.Contains(text, "<|"):
		return "a control token"
	}
	if m.opts.Identify == nil {
		return ""
	}
	if was, is := m.opts.Identify(s.text), m.opts.Identify(text); was != "" && is != "" && was != is {
		return "another language"
	}
	return ""
}

// sameAs is what equal questions have in common: their characters but for blanks at
// the ends.
func sameAs(question string) string { return strings.TrimSpace(question) }
