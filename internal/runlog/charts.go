package runlog

import (
	"fmt"
	"math"
	"slices"

	"github.com/impulse-salamandra/finetune/internal/page"
)

// charts are the curves of a run.
func charts(steps []stepLine, evaluations []evaluationLine) []page.Chart {
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
	raw := curve("faint", func(s stepLine) float64 { return s.Loss })
	smooth := page.Curve{Style: "one", X: x, Y: Smooth(raw.Y)}
	raw.Name, smooth.Name = "training, each step", "training, smoothed"
	held, score := page.Curve{Name: "held-out", Style: "two", Dots: true}, page.Curve{Style: "two", Dots: true}
	metric := ""
	for _, e := range evaluations {
		held.X, held.Y = append(held.X, float64(e.Step)), append(held.Y, e.EvalLoss)
		if e.Score != nil {
			metric = e.Metric
			score.X, score.Y = append(score.X, float64(e.Step)), append(score.Y, 100**e.Score)
		}
	}
	loss := page.Chart{Title: "loss", X: "step", Log: true, Curves: []page.Curve{raw, smooth}}
	if len(evaluations) > 0 {
		loss.Curves = append(loss.Curves, held)
	}
	all := []page.Chart{loss}
	if len(score.X) > 0 {
		all = append(all, page.Chart{Title: page.Printable(metric) + ", % of held-out queries", X: "step", FromZero: true, Curves: []page.Curve{score}})
	}
	for _, c := range []struct {
		title string
		log   bool
		of    func(stepLine) float64
	}{
		{"learning rate", true, func(s stepLine) float64 { return s.LearningRate }},
		{"gradient norm, before clipping", true, func(s stepLine) float64 { return s.GradNorm }},
		{"tokens per second", false, func(s stepLine) float64 { return s.TokensPerSecond }},
		{"peak memory in GiB", false, stepLine.memoryGiB},
	} {
		all = append(all, page.Chart{Title: c.title, X: "step", FromZero: true, Log: c.log, Curves: []page.Curve{curve("one", c.of)}})
	}
	for i := range all {
		last := all[i].Curves[min(1, len(all[i].Curves)-1)].Y
		if n := len(last); n > 0 && !math.IsNaN(last[n-1]) {
			all[i].Last = fmt.Sprintf("%.4g", last[n-1])
		}
	}
	return all
}

// median is the middle value, 0 of none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

// Smooth returns the exponential moving average after each value, the newest of
// which has a weight of a tenth. The first averages are not drawn towards zero.
func Smooth(values []float64) []float64 {
	const keep = 0.9
	averages := make([]float64, len(values))
	sum, weight := 0.0, 0.0
	for i, v := range values {
		sum, weight = keep*sum+(1-keep)*v, keep*weight+(1-keep)
		averages[i] = sum / weight
	}
	return averages
}

// memoryGiB is not a number where the memory is not known.
func (l stepLine) memoryGiB() float64 {
	if l.PeakMemory == nil {
		return math.NaN()
	}
	return float64(*l.PeakMemory) / (1 << 30)
}
