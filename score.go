package finetune

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/impulse-salamandra/finetune/evalx"
	"github.com/impulse-salamandra/finetune/internal/answerfile"
	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/lora/train"
)

// ScoreOptions steer [Model.Score]. The zero value asks as [Model.Ask] does.
type ScoreOptions struct {
	AskOptions
	// Journal, unless empty, is a file in which answers are kept as they come, so
	// that a run that was interrupted can go on: a line that says how the questions
	// were asked, and then JSON Lines of {"id", "response"}. It stays, for the caller
	// to remove once the results are safe.
	Journal string
	// Resume takes the answers in Journal, if there is such a file, and asks what is
	// left. It is refused for another model, other questions or other options, and
	// for answers that are drawn, since these depend on those before them. Without
	// it there must be no such file.
	Resume bool
	// Ranks, if not nil, connects processes that each call Score with the same cases,
	// which are dealt to them. Rank 0 has the results, the journal and OnAnswer, which
	// is called with answers as they come, one at a time; the others return none.
	// Answers that are drawn are refused.
	Ranks train.Ranks
}

// Score asks the model all questions and scores its answers by the rules of the
// task. The results are in the order of the cases. With an error they are those of
// the answers that were there by then. Before any question is asked those are
// refused that the task's schema excludes, and, unless [Options].AllowDrift is set,
// those for another system prompt than the contract's, if it has one.
func (m *Model) Score(ctx context.Context, task evalx.Task, cases []Case, opts ScoreOptions) ([]evalx.Result, error) {
	if err := CheckCases(cases, task.Schema); err != nil {
		return nil, err
	}
	wanted, err := wantedValues(cases)
	if err != nil {
		return nil, err
	}
	if err := m.checkSystems(cases); err != nil {
		return nil, err
	}
	if err := opts.checkRanks(); err != nil {
		return nil, err
	}
	follows := opts.several() && opts.Ranks.Rank() > 0
	var given []*string
	if opts.Journal == "" || follows {
		given, err = m.ask(ctx, cases, opts, nil)
	} else {
		given, err = m.askJournal(ctx, cases, opts)
	}
	if follows {
		return nil, err
	}
	var results []evalx.Result
	for i, text := range given {
		if text != nil {
			results = append(results, scoreCase(task, cases[i], wanted[i], *text))
		}
	}
	return results, err
}

// scoreCase scores an answer to a case.
func scoreCase(task evalx.Task, c Case, want evalx.Value, text string) evalx.Result {
	r := task.Score(want, text)
	r.ID, r.Question = c.ID, c.Question
	labels := slices.Clone(c.Labels)
	for _, l := range r.Groups {
		if !slices.ContainsFunc(labels, func(other evalx.Label) bool { return other.Name == l.Name }) {
			labels = append(labels, l)
		}
	}
	r.Groups = labels
	return r
}

// ask asks the cases without an answer yet, here or in all processes; see askCases.
func (m *Model) ask(ctx context.Context, cases []Case, opts ScoreOptions, added func(i int, text string) error, kept ...*string) ([]*string, error) {
	if opts.several() {
		return m.askInRanks(ctx, cases, opts, added, kept...)
	}
	return m.askCases(ctx, cases, opts.AskOptions, added, kept...)
}

// askCases asks the cases without an answer yet and returns the answers of all,
// nil for those that did not come. added, if not nil, is called with each new one.
func (m *Model) askCases(ctx context.Context, cases []Case, opts AskOptions, added func(i int, text string) error, kept ...*string) ([]*string, error) {
	given := make([]*string, len(cases))
	copy(given, kept)
	var questions []asked
	var places []int
	for i, c := range cases {
		if given[i] == nil {
			questions, places = append(questions, c.asked()), append(places, i)
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var failed error // to keep an answer
	onAnswer := opts.OnAnswer
	opts.OnAnswer = func(i int, a Answer) {
		given[places[i]] = &a.Text
		if added != nil {
			if err := added(places[i], a.Text); err != nil && failed == nil {
				failed = err
				cancel()
			}
		}
		if onAnswer != nil {
			onAnswer(places[i], a)
		}
	}
	if len(questions) == 0 {
		return given, nil
	}
	if _, err := m.askAll(ctx, questions, opts); err != nil && failed == nil {
		return given, err
	}
	return given, failed
}

// askJournal is askCases with a journal.
func (m *Model) askJournal(ctx context.Context, cases []Case, opts ScoreOptions) (given []*string, err error) {
	if err := checkIDs(cases); err != nil {
		return nil, err
	}
	run, err := m.askedAs(cases, opts.AskOptions)
	if err != nil {
		return nil, err
	}
	journal, err := answerfile.Open(opts.Journal, run, opts.Resume)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, journal.Close()) }()
	kept := make([]*string, len(cases))
	for i, c := range cases {
		if text, ok := journal.Kept()[c.ID]; ok {
			kept[i] = &text
		}
	}
	if s := opts.Sampling; s != nil && s.Temperature > 0 && len(journal.Kept()) > 0 {
		return nil, fmt.Errorf("%s: answers drawn at a temperature depend on those before them, and cannot be resumed", opts.Journal)
	}
	return m.ask(ctx, cases, opts, func(i int, text string) error { return journal.Add(cases[i].ID, text) }, kept...)
}

// askedAs says what the answers to cases depend on.
func (m *Model) askedAs(cases []Case, opts AskOptions) (map[string]string, error) {
	v, err := m.use()
	if err != nil {
		return nil, err
	}
	defer v.release()
	weights, err := weightsIdentity(m.base.dir, v.dir)
	if err != nil {
		return nil, err
	}
	var questions bytes.Buffer
	lines := json.NewEncoder(&questions)
	for _, c := range cases {
		if err := lines.Encode([]any{c.ID, c.System, c.Before, c.Question}); err != nil {
			return nil, err
		}
	}
	contract, err := json.Marshal(v.prompt.Contract)
	if err != nil {
		return nil, err
	}
	sampling, err := json.Marshal(opts.Sampling)
	if err != nil {
		return nil, err
	}
	return map[string]string{
		"model": weights, "contract": hash(contract), "questions": hash(questions.Bytes()), "sampling": string(sampling),
		"max_new_tokens": strconv.Itoa(cmp.Or(opts.MaxNewTokens, m.base.opts.MaxNewTokens)), "language": opts.Language,
		"constrained": strconv.FormatBool(!opts.Unconstrained), "dtype": m.base.opts.Dtype, "quantize": m.base.quantized,
	}, nil
}

func hash(data []byte) string { return fmt.Sprintf("%x", sha256.Sum256(data)) }

// weightsIdentity identifies a model: by the adapter's weights, and by the names
// and sizes of the files of the base.
func weightsIdentity(base, adapter string) (string, error) {
	files, err := filepath.Glob(filepath.Join(base, "*.safetensors"))
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(sum, "%q %d\n", filepath.Base(file), info.Size())
	}
	data, err := os.ReadFile(filepath.Join(adapter, lora.WeightsFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	sum.Write(data)
	return fmt.Sprintf("%x", sum.Sum(nil)), nil
}

// FileScores are the scores of a file of answers.
type FileScores struct {
	// Results are in the order of the file.
	Results []evalx.Result
	// Unanswered are the ids of cases without an answer: they count nowhere.
	Unanswered []string
	// Constrained is whether the answers were kept to the schema, if the file is a
	// journal, which says so; nil in others.
	Constrained *bool
}

// ScoreFile scores answers that were written down: JSON Lines of {"id", "response"},
// with the question's id under "test_id" where that is another, or a journal of
// [Model.Score]. The error lists every line that cannot be scored.
func ScoreFile(path string, task evalx.Task, cases []Case) (FileScores, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return FileScores{}, err
	}
	if err := checkIDs(cases); err != nil {
		return FileScores{}, err
	}
	wanted, err := wantedValues(cases)
	if err != nil {
		return FileScores{}, err
	}
	given, run, err := answerfile.Read(path, data)
	if err != nil {
		return FileScores{}, err
	}
	var s FileScores
	if kept, err := strconv.ParseBool(run["constrained"]); err == nil {
		s.Constrained = &kept
	}
	if unknown := s.score(given, task, cases, wanted); unknown != nil {
		return FileScores{}, fmt.Errorf("%s has answers to questions that there are not: %s", path, firstOf(unknown))
	}
	return s, nil
}

// score scores answers, and returns the ids of questions that there are not.
func (s *FileScores) score(given []answerfile.Answer, task evalx.Task, cases []Case, wanted []evalx.Value) (unknown []string) {
	places, answered := map[string]int{}, map[string]bool{}
	for i, c := range cases {
		places[c.ID] = i
	}
	for _, a := range given {
		i, ok := places[a.Question]
		if !ok {
			unknown = append(unknown, a.Question)
			continue
		}
		answered[a.Question] = true
		r := scoreCase(task, cases[i], wanted[i], a.Text)
		if a.ID != a.Question {
			r.ID, r.QuestionID = a.ID, a.Question
		}
		s.Results = append(s.Results, r)
	}
	for _, c := range cases {
		if !answered[c.ID] {
			s.Unanswered = append(s.Unanswered, c.ID)
		}
	}
	return unknown
}
