package runlog

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/impulse-salamandra/finetune/dataset/inspect"
	"github.com/impulse-salamandra/finetune/evalx"
	"github.com/impulse-salamandra/finetune/internal/atomicfile"
	"github.com/impulse-salamandra/finetune/internal/page"
)

//go:embed report.html
var reportText string

var reportTemplates = template.Must(page.Templates().Parse(reportText))

// report is what the template shows; all texts are printable.
type report struct {
	page.Head
	Live        bool
	Running     bool
	State       string
	Written     string
	Facts       []inspect.Fact
	Charts      []page.Chart
	Score       string // name of the score, "" without
	Evaluations []reportEvaluation
	Questions   []reportQuestion
	Data        []inspect.Fact
	Histograms  []page.Chart
	Plan        string
	Settings    []inspect.Fact
}

type reportEvaluation struct {
	Step               int
	Epoch, Loss, Score string
	Best               bool
}

type reportQuestion struct {
	ID, Query string
	Latest    reportAnswer
	Earlier   []reportAnswer // the last one first
}

// reportAnswer is an answer beside the expected one, in pieces of which those that
// the other lacks are marked.
type reportAnswer struct {
	Step           int
	After          string
	Expected, Text []piece
	Verdict        string
	Right, Broken  bool
}

// course is what is known of a run: what report.json, metrics.jsonl and
// samples.jsonl hold.
type course struct {
	overview
	steps       []stepLine
	evaluations []evaluationLine
	samples     []Sample
}

// overview is what report.json holds: a run but for its values and answers, as it
// was when the file was written.
type overview struct {
	Title        string          `json:"title"`
	Facts        []inspect.Fact  `json:"facts"`
	Data         []inspect.Fact  `json:"data"`
	Histograms   []page.Chart    `json:"histograms"`
	Plan         string          `json:"plan"`
	Settings     json.RawMessage `json:"settings"`
	Metric       string          `json:"metric"`
	TotalSteps   int             `json:"total_steps"`
	BestStep     int             `json:"best_step"` // 0 before the first evaluation
	StoppedEarly bool            `json:"stopped_early"`
	Ended        bool            `json:"ended"`
}

// overview is the run as it stands.
func (l *Log) overview() overview {
	status := l.run.Status()
	v := overview{
		Title: l.run.Title, Facts: l.run.Facts, Data: l.run.Data, Histograms: l.histograms, Plan: l.run.Plan, Settings: l.run.Settings,
		Metric: l.run.Metric, TotalSteps: status.TotalSteps, StoppedEarly: status.StoppedEarly, Ended: l.ended,
	}
	if status.Best != nil {
		v.BestStep = status.Best.Step
	}
	return v
}

// writeReport writes the page, and the overview that a live page is made from.
func (l *Log) writeReport() error {
	v := l.overview()
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	c := course{v, l.metrics.steps, l.metrics.evaluations, l.samples}
	if err := writeReport(&b, c.report(time.Now())); err != nil {
		return err
	}
	return errors.Join(atomicfile.Write(l.path(overviewFile), append(text, '\n')), atomicfile.Write(l.path(reportFile), b.Bytes()))
}

func writeReport(w io.Writer, r report) error {
	return page.Write(w, reportTemplates, "training", r)
}

// report says what is known of the run.
func (c course) report(now time.Time) report {
	r := report{
		Head: page.NewHead("Training: " + c.Title), Written: now.Format("2006-01-02 15:04:05 MST"),
		Facts: append(printable(c.Facts), c.facts()...), Charts: charts(c.steps, c.evaluations), Questions: questions(c.samples),
		Data: printable(c.Data), Histograms: c.Histograms, Plan: page.PrintableLines(c.Plan), Settings: settings(c.Settings),
	}
	r.Running, r.State = c.state()
	for _, e := range c.evaluations {
		row := reportEvaluation{Step: e.Step, Epoch: fmt.Sprintf("%.2f", e.Epoch), Loss: fmt.Sprintf("%.4f", e.EvalLoss), Best: e.Step == c.BestStep}
		if e.Score != nil {
			r.Score, row.Score = page.Printable(e.Metric), fmt.Sprintf("%.1f %%", 100**e.Score)
		}
		r.Evaluations = append(r.Evaluations, row)
	}
	return r
}

func printable(facts []inspect.Fact) []inspect.Fact {
	var list []inspect.Fact
	for _, f := range facts {
		list = append(list, inspect.Fact{Name: page.Printable(f.Name), Value: page.Printable(f.Value)})
	}
	return list
}

// state says how far the run is.
func (c course) state() (running bool, state string) {
	step := 0
	if n := len(c.steps); n > 0 {
		step = c.steps[n-1].Step
	}
	state = fmt.Sprintf("%d of %d steps", step, c.TotalSteps)
	switch {
	case c.TotalSteps > 0 && step >= c.TotalSteps:
		return false, "finished: " + state
	case c.StoppedEarly:
		return false, "stopped early: " + state
	case c.Ended:
		return true, "not finished: " + state + "; it can be resumed"
	}
	return true, state
}

// facts are the figures of the run so far.
func (c course) facts() []inspect.Fact {
	var facts []inspect.Fact
	for _, e := range c.evaluations {
		if e.Step != c.BestStep {
			continue
		}
		text := fmt.Sprintf("after %d steps: loss %.4f on held-out examples", e.Step, e.EvalLoss)
		if e.Score != nil {
			text += fmt.Sprintf(", %s %.1f %%", page.Printable(e.Metric), 100**e.Score)
		}
		facts = append(facts, inspect.Fact{Name: "best evaluation", Value: text})
	}
	if len(c.steps) == 0 {
		return facts
	}
	var rates []float64
	tokens, spent := 0, 0.0
	for _, s := range c.steps {
		tokens += s.Tokens
		if s.TokensPerSecond > 0 {
			rates = append(rates, s.TokensPerSecond)
			spent += float64(s.Tokens) / s.TokensPerSecond
		}
	}
	return append(facts,
		inspect.Fact{Name: "time in steps", Value: time.Duration(spent * float64(time.Second)).Round(time.Second).String()},
		inspect.Fact{Name: "speed", Value: fmt.Sprintf("%.0f tokens/s in the middle of the steps, each example counted with its prompt", median(rates))},
		inspect.Fact{Name: "tokens", Value: fmt.Sprint(tokens)})
}

// settings lists the settings of a run.
func settings(object []byte) []inspect.Fact {
	var values map[string]any
	if err := json.Unmarshal(object, &values); err != nil {
		return nil
	}
	var facts []inspect.Fact
	for _, name := range slices.Sorted(maps.Keys(values)) {
		facts = append(facts, inspect.Fact{Name: page.Printable(name), Value: page.Printable(fmt.Sprint(values[name]))})
	}
	return facts
}

// questions groups answers by question, in the order they were asked.
func questions(samples []Sample) []reportQuestion {
	var list []reportQuestion
	at := map[string]int{}
	for _, s := range samples {
		i, known := at[s.ID]
		if !known {
			i = len(list)
			at[s.ID] = i
			list = append(list, reportQuestion{ID: page.Printable(s.ID), Query: page.Printable(s.Query)})
		}
		q := &list[i]
		if known {
			q.Earlier = slices.Insert(q.Earlier, 0, q.Latest)
		}
		q.Latest = s.judge()
	}
	return list
}

// judge judges an answer as far as one can without rules: whether it is the
// expected text or the same JSON, and whether it is JSON at all if that is what
// was wanted.
func (s Sample) judge() reportAnswer {
	a := reportAnswer{Step: s.Step, After: fmt.Sprintf("%.3g epochs, %d steps", s.Epoch, s.Step), Verdict: "differs"}
	want, wantErr := evalx.Parse(s.Expected)
	got, gotErr := evalx.Parse(s.Answer)
	switch {
	case strings.TrimSpace(s.Answer) == strings.TrimSpace(s.Expected):
		a.Right, a.Verdict = true, "as expected"
	case wantErr == nil && gotErr == nil && evalx.Exact(want, got):
		a.Right, a.Verdict = true, "as expected, written otherwise"
	case s.Timeout:
		a.Verdict = "given up: it took too long"
	case !s.Complete:
		a.Broken, a.Verdict = true, "does not end"
	case wantErr == nil && gotErr != nil:
		a.Broken, a.Verdict = true, "not JSON"
	}
	expected, answer := page.PrintableLines(s.Expected), page.PrintableLines(s.Answer)
	if a.Right || strings.TrimSpace(answer) == "" {
		a.Expected, a.Text = []piece{{Text: expected}}, []piece{{Text: answer}}
	} else {
		a.Expected, a.Text = differences(expected, answer)
		a.Expected, a.Text = unmarkLayout(a.Expected), unmarkLayout(a.Text)
	}
	return a
}
