package main

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/impulse-salamandra/finetune/dataset/inspect"
	"github.com/impulse-salamandra/finetune/evalx"
	"github.com/impulse-salamandra/finetune/evalx/page"
)

//go:embed assets/train_report.html
var trainPageText string

var trainPageTemplates = template.Must(page.Templates().Parse(trainPageText))

// trainPage is what the template shows; all texts are printable.
type trainPage struct {
	page.Head
	Running     bool
	State       string
	Written     string
	Facts       []inspect.Fact
	Charts      []page.Chart
	Score       string // name of the score, "" without
	Evaluations []trainPageEvaluation
	Questions   []trainPageQuestion
	Data        []inspect.Fact
	Histograms  []page.Chart
	Plan        string
	Flags       []inspect.Fact
}

type trainPageEvaluation struct {
	Step               int
	Epoch, Loss, Score string
	Best               bool
}

type trainPageQuestion struct {
	ID, Query, Expected string
	Latest              trainPageAnswer
	Earlier             []trainPageAnswer // the last one first
}

type trainPageAnswer struct {
	After, Text   string
	Verdict       string
	Right, Broken bool
}

func writeTrainPage(w io.Writer, p trainPage) error {
	return page.Write(w, trainPageTemplates, "training", p)
}

// page gathers what is known of the run now.
func (p *reporter) page(now time.Time) trainPage {
	r, m := p.r, p.r.metrics
	t := trainPage{
		Head: page.NewHead("Training: " + r.o.OutputDir), Written: now.Format("2006-01-02 15:04:05 MST"),
		Facts: p.facts(), Charts: trainCharts(m.steps, m.evaluations), Questions: questionsOfPage(p.samples),
		Data: p.data(), Plan: page.PrintableLines("training on " + r.data.train.String()), Flags: flagFacts(r.o.args),
	}
	t.Running, t.State = p.state()
	best, judged := r.trainer.Best()
	for _, e := range m.evaluations {
		row := trainPageEvaluation{Step: e.Step, Epoch: fmt.Sprintf("%.2f", e.Epoch), Loss: fmt.Sprintf("%.4f", e.EvalLoss), Best: judged && e.Step == best.Step}
		if e.Score != nil {
			t.Score, row.Score = page.Printable(e.Metric), fmt.Sprintf("%.1f %%", 100**e.Score)
		}
		t.Evaluations = append(t.Evaluations, row)
	}
	if r.data.eval != nil {
		t.Plan += page.PrintableLines("evaluating on " + r.data.eval.String())
	}
	all, _, trained := inspect.LengthsOf(r.data.set.Examples)
	t.Histograms = []page.Chart{all.Chart("tokens of the examples"), trained.Chart("trained tokens")}
	return t
}

// state tells how far the run is.
func (p *reporter) state() (running bool, state string) {
	step, total := p.r.trainer.Step(), p.r.trainer.TotalSteps()
	state = fmt.Sprintf("%d of %d steps", step, total)
	switch {
	case step >= total:
		return false, "finished: " + state
	case p.r.trainer.StoppedEarly():
		return false, "stopped early: " + state
	}
	if p.ended {
		return true, "not finished: " + state + "; train --resume goes on"
	}
	return true, state
}

// facts are the figures that one looks for first.
func (p *reporter) facts() []inspect.Fact {
	r, steps := p.r, p.r.metrics.steps
	facts := []inspect.Fact{
		{Name: "base model", Value: page.Printable(r.o.Model)},
		{Name: "backend", Value: page.Printable(fmt.Sprintf("%s, %s", r.model.Backend().Name(), r.model.DType()))},
		{Name: "trained numbers", Value: fmt.Sprintf("%d of %d", r.layers.NumParameters(), r.model.Config.NumParameters())},
	}
	if best, ok := r.trainer.Best(); ok {
		facts = append(facts, inspect.Fact{Name: "best evaluation", Value: page.Printable(fmt.Sprintf("after %d steps: %s", best.Step, r.o.describe(best)))})
	}
	if len(steps) == 0 {
		return facts
	}
	var rates []float64
	tokens, spent := 0, 0.0
	for _, s := range steps {
		rates = append(rates, s.TokensPerSecond)
		tokens += s.Tokens
		if s.TokensPerSecond > 0 {
			spent += float64(s.Tokens) / s.TokensPerSecond
		}
	}
	return append(facts,
		inspect.Fact{Name: "time in steps", Value: time.Duration(spent * float64(time.Second)).Round(time.Second).String()},
		inspect.Fact{Name: "speed", Value: fmt.Sprintf("%.0f tokens/s in the middle of the steps, each example counted with its prompt", median(rates))},
		inspect.Fact{Name: "tokens", Value: fmt.Sprint(tokens)})
}

// data sums the examples up.
func (p *reporter) data() []inspect.Fact {
	d := p.r.data
	facts := []inspect.Fact{
		{Name: "file", Value: page.Printable(fmt.Sprintf("%s, format %s", p.r.o.Data, d.format))},
		{Name: "examples", Value: fmt.Sprintf("%d, %d of them held out", len(d.set.Examples), len(d.questions))},
	}
	languages := map[string]int{}
	for _, e := range d.set.Examples {
		languages[e.Lang]++
	}
	var parts []string
	for _, lang := range slices.Sorted(maps.Keys(languages)) {
		name := lang
		if name == "" {
			name = "not given"
		}
		parts = append(parts, fmt.Sprintf("%s %d", name, languages[lang]))
	}
	facts = append(facts, inspect.Fact{Name: "languages", Value: page.Printable(strings.Join(parts, ", "))})
	if n := len(d.set.Dropped); n > 0 {
		facts = append(facts, inspect.Fact{Name: "too long", Value: fmt.Sprintf("%d left out", n)})
	}
	if n := len(d.set.Truncated); n > 0 {
		facts = append(facts, inspect.Fact{Name: "too long", Value: fmt.Sprintf("%d shortened", n)})
	}
	return facts
}

// flagFacts lists the flags of a run.
func flagFacts(args []byte) []inspect.Fact {
	var flags map[string]any
	if err := json.Unmarshal(args, &flags); err != nil {
		return nil
	}
	var facts []inspect.Fact
	for _, name := range slices.Sorted(maps.Keys(flags)) {
		facts = append(facts, inspect.Fact{Name: page.Printable("--" + name), Value: page.Printable(fmt.Sprint(flags[name]))})
	}
	return facts
}

// trainCharts are the curves of a run.
func trainCharts(steps []stepLine, evaluations []evaluationLine) []page.Chart {
	x := make([]float64, len(steps))
	for i, s := range steps {
		x[i] = float64(s.Step)
	}
	curve := func(style string, of func(stepLine) float64) page.Curve {
		y := make([]float64, len(steps))
		for i, s := range steps {
			y[i] = of(s)
		}
		return page.Curve{Style: style, X: x, Y: y}
	}
	var smoothed smoother
	raw := curve("faint", func(s stepLine) float64 { return s.Loss })
	smooth := curve("one", func(s stepLine) float64 { smoothed.add(s.Loss); return smoothed.value() })
	raw.Name, smooth.Name = "each step", "smoothed"
	held, score := page.Curve{Name: "held-out examples", Style: "two", Dots: true}, page.Curve{Style: "two", Dots: true}
	metric := ""
	for _, e := range evaluations {
		held.X, held.Y = append(held.X, float64(e.Step)), append(held.Y, e.EvalLoss)
		if e.Score != nil {
			metric = e.Metric
			score.X, score.Y = append(score.X, float64(e.Step)), append(score.Y, 100**e.Score)
		}
	}
	loss := page.Chart{Title: "loss", X: "step", Curves: []page.Curve{raw, smooth}}
	if len(evaluations) > 0 {
		loss.Curves = append(loss.Curves, held)
	}
	charts := []page.Chart{loss}
	if len(score.X) > 0 {
		charts = append(charts, page.Chart{Title: page.Printable(metric) + ", % of held-out queries", X: "step", FromZero: true, Curves: []page.Curve{score}})
	}
	charts = append(charts,
		page.Chart{Title: "learning rate", X: "step", FromZero: true, Curves: []page.Curve{curve("one", func(s stepLine) float64 { return s.LearningRate })}},
		page.Chart{Title: "gradient norm, before clipping", X: "step", FromZero: true, Curves: []page.Curve{curve("one", func(s stepLine) float64 { return s.GradNorm })}},
		page.Chart{Title: "tokens per second", X: "step", FromZero: true, Curves: []page.Curve{curve("one", func(s stepLine) float64 { return s.TokensPerSecond })}},
		page.Chart{Title: "peak memory in GiB", X: "step", FromZero: true, Curves: []page.Curve{curve("one", func(s stepLine) float64 {
			if s.PeakMemory == nil {
				return math.NaN()
			}
			return float64(*s.PeakMemory) / (1 << 30)
		})}})
	for i := range charts {
		last := charts[i].Curves[min(1, len(charts[i].Curves)-1)].Y
		if n := len(last); n > 0 && !math.IsNaN(last[n-1]) {
			charts[i].Last = fmt.Sprintf("%.4g", last[n-1])
		}
	}
	return charts
}

// questionsOfPage groups answers by question, in the order they were asked.
func questionsOfPage(samples []sample) []trainPageQuestion {
	var questions []trainPageQuestion
	at := map[string]int{}
	for _, s := range samples {
		i, known := at[s.ID]
		if !known {
			i = len(questions)
			at[s.ID] = i
			questions = append(questions, trainPageQuestion{ID: page.Printable(s.ID), Query: page.Printable(s.Query), Expected: page.PrintableLines(s.Expected)})
		}
		q := &questions[i]
		if q.Latest.After != "" {
			q.Earlier = slices.Insert(q.Earlier, 0, q.Latest)
		}
		q.Latest = answerOfPage(s)
	}
	return questions
}

// answerOfPage judges an answer as far as one can without rules: whether it is
// the expected text or the same JSON, and whether it is JSON at all if that is
// what was wanted.
func answerOfPage(s sample) trainPageAnswer {
	a := trainPageAnswer{After: fmt.Sprintf("%.3g epochs, %d steps", s.Epoch, s.Step), Text: page.PrintableLines(s.Answer), Verdict: "differs"}
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
	return a
}
