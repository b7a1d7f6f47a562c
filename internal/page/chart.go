package page

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Chart is curves over a common axis, or bars. It is drawn as SVG, without what
// a script would do but with the value of each dot and bar as its title.
type Chart struct {
	Title string
	// Last is said beside the title, such as the latest value.
	Last string
	// X is what the horizontal axis counts, in whole numbers, for the description.
	X      string
	Curves []Curve
	Bars   []Bar
	// FromZero lets the vertical axis begin at zero; bars always do.
	FromZero bool
	// Log draws the chart on a logarithmic scale as well, for the page's switch, as
	// far as its values are above zero.
	Log bool
	// Format writes a value of the vertical axis; nil for at most four digits.
	Format func(float64) string `json:"-"`
}

// Curve is a line through points, X rising. Points that are not finite numbers
// interrupt it.
type Curve struct {
	Name string
	// Style is "one" or "two" for the two colours, or "faint" for a thin line
	// behind others.
	Style string
	X, Y  []float64
	// Dots marks each point, for curves of few.
	Dots bool
}

// Bar is the number of things from From to below To.
type Bar struct {
	From, To float64
	Count    int
	Text     string // its title
}

// Measures of a drawing in its own units, about a pixel each.
const (
	chartWidth, chartHeight = 440, 220
	left, right             = 54, 430
	top, bottom             = 12, 176
	ticksAt, nameAt         = 194, 212 // of the horizontal axis
	// mostPoints are drawn of a curve: more do not show.
	mostPoints = 600
)

// drawing is a chart, on one of its scales, as the template takes it.
type drawing struct {
	Scale, Label               string
	X                          string // name of the horizontal axis
	Width, Height, Left, Right int
	Top, Bottom, Middle        int
	TicksX, TicksY, NameY      int // where their texts are
	XTicks, YTicks             []tick
	Lines                      []line
	Bars                       []bar
}

type tick struct{ At, TextAt, Text string }

type line struct {
	Class string
	Runs  []string
	Dots  []dot
}

type dot struct{ X, Y, Text string }

type bar struct{ X, Y, Width, Height, Text string }

// axis maps values to places.
type axis struct {
	low, high, from, to float64
	log                 bool
}

func (a axis) at(v float64) string { return strconv.FormatFloat(a.place(v), 'f', 1, 64) }

func (a axis) place(v float64) float64 {
	low, high := a.low, a.high
	if a.log {
		low, high, v = math.Log10(low), math.Log10(high), math.Log10(v)
	}
	return a.from + (v-low)/(high-low)*(a.to-a.from)
}

// shows reports whether a value has a place.
func (a axis) shows(v float64) bool { return finite(v) && (!a.log || v > 0) }

// Legend reports whether the curves have to be told apart.
func (c Chart) Legend() bool { return len(c.Curves) > 1 }

// Drawings lays the chart out for the template "chart", on each of its scales.
func (c Chart) Drawings() any {
	list := []drawing{c.draw(false)}
	if c.Log && c.aboveZero() {
		list = append(list, c.draw(true))
	}
	return list
}

// aboveZero reports whether there is a value for a logarithmic scale.
func (c Chart) aboveZero() bool {
	for _, curve := range c.Curves {
		if slices.ContainsFunc(curve.Y, axis{log: true}.shows) {
			return true
		}
	}
	return false
}

func (c Chart) draw(log bool) drawing {
	format := c.Format
	if format == nil {
		format = func(v float64) string { return strconv.FormatFloat(v, 'g', 4, 64) }
	}
	x, y := c.axes(log)
	d := drawing{
		Scale: "linear", Label: c.description(x, y, format), X: c.X, Width: chartWidth, Height: chartHeight, Left: left, Right: right,
		Top: top, Bottom: bottom, Middle: (left + right) / 2, TicksX: left - 6, TicksY: ticksAt, NameY: nameAt,
	}
	yTicks := ticks(y.low, y.high, 4)
	if log {
		d.Scale, yTicks = "log", logTicks(y.low, y.high)
	}
	for _, v := range yTicks {
		d.YTicks = append(d.YTicks, tick{At: y.at(v), TextAt: strconv.FormatFloat(y.place(v)+4, 'f', 1, 64), Text: format(v)})
	}
	for _, v := range ticks(x.low, x.high, 5) {
		if v != math.Trunc(v) {
			continue // there is no half a step
		}
		d.XTicks = append(d.XTicks, tick{At: x.at(v), TextAt: strconv.Itoa(bottom + 4), Text: strconv.FormatFloat(v, 'g', 6, 64)})
	}
	for _, curve := range c.Curves {
		d.Lines = append(d.Lines, curve.draw(x, y, format))
	}
	for _, b := range c.Bars {
		width := (b.To - b.From) / (x.high - x.low) * (x.to - x.from)
		height := float64(b.Count) / y.high * (bottom - top)
		d.Bars = append(d.Bars, bar{
			X: x.at(b.From), Y: y.at(float64(b.Count)), Text: b.Text,
			Width: strconv.FormatFloat(max(width-1, 1), 'f', 1, 64), Height: strconv.FormatFloat(height, 'f', 1, 64),
		})
	}
	return d
}

// axes span all points and bars.
func (c Chart) axes(log bool) (x, y axis) {
	x = axis{low: math.Inf(1), high: math.Inf(-1), from: left, to: right}
	y = axis{low: math.Inf(1), high: math.Inf(-1), from: bottom, to: top, log: log}
	include := func(a *axis, v float64) { a.low, a.high = min(a.low, v), max(a.high, v) }
	for _, curve := range c.Curves {
		for i, v := range curve.Y {
			if finite(v) {
				include(&x, curve.X[i])
			}
			if y.shows(v) {
				include(&y, v)
			}
		}
	}
	for _, b := range c.Bars {
		include(&x, b.From)
		include(&x, b.To)
		include(&y, float64(b.Count))
	}
	if (c.FromZero || c.Bars != nil) && !log {
		include(&y, 0)
		y = y.wide()
		if at := ticks(y.low, y.high, 4); len(at) > 1 { // to the next tick
			step := at[1] - at[0]
			y.high = math.Ceil(y.high/step*(1-1e-9)) * step
		}
	}
	return x.wide(), y.wide()
}

// wide gives an axis some length: all values may be equal, or there may be none.
func (a axis) wide() axis {
	if a.low > a.high || a.low == 0 && a.high == 0 {
		a.low, a.high = 0, 1
	}
	if a.low == a.high {
		by := cmp.Or(math.Abs(a.low)/10, 1)
		a.low, a.high = a.low-by, a.high+by
	}
	return a
}

// logTicks are round numbers from low to high, both above zero: powers of ten, with
// twice and five times as much where there is room.
func logTicks(low, high float64) []float64 {
	var tens, all []float64
	for k := math.Floor(math.Log10(low)); k <= math.Log10(high); k++ {
		for _, by := range []float64{1, 2, 5} {
			v := by * math.Pow(10, k)
			if v < low*(1-1e-9) || v > high*(1+1e-9) {
				continue
			}
			all = append(all, v)
			if by == 1 {
				tens = append(tens, v)
			}
		}
	}
	switch {
	case len(all) < 3:
		return ticks(low, high, 4)
	case len(all) > 7:
		return tens
	}
	return all
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// ticks are up to most+1 round numbers from low to high.
func ticks(low, high float64, most int) []float64 {
	step := math.Pow(10, math.Floor(math.Log10((high-low)/float64(most))))
	for _, by := range []float64{1, 2, 5, 10} {
		if (high-low)/(step*by) <= float64(most) {
			step *= by
			break
		}
	}
	var at []float64
	for k := math.Ceil(low / step); k*step <= high+step*1e-9 && len(at) <= 2*most; k++ {
		at = append(at, math.Round(k*step*1e12)/1e12)
	}
	return at
}

// draw turns a curve into runs of points without a gap, and dots where a point
// stands by itself.
func (c Curve) draw(x, y axis, format func(float64) string) line {
	l := line{Class: c.Style}
	var run []string
	var last dot
	end := func() {
		if len(run) > 1 {
			l.Runs = append(l.Runs, strings.Join(run, " "))
		}
		if len(run) == 1 && !c.Dots {
			l.Dots = append(l.Dots, last)
		}
		run = nil
	}
	for _, i := range c.shown() {
		if !y.shows(c.Y[i]) {
			end()
			continue
		}
		last = dot{x.at(c.X[i]), y.at(c.Y[i]), fmt.Sprintf("%g: %s", c.X[i], format(c.Y[i]))}
		run = append(run, last.X+","+last.Y)
		if c.Dots {
			l.Dots = append(l.Dots, last)
		}
	}
	end()
	return l
}

// shown are the places of the points that are drawn: all, or of each of equal
// stretches the lowest and the highest, so that no peak is lost.
func (c Curve) shown() []int {
	var at []int
	stretch := max(1, (2*len(c.Y)+mostPoints-1)/mostPoints)
	for from := 0; from < len(c.Y); from += stretch {
		lowest, highest := from, from
		for i := from; i < min(from+stretch, len(c.Y)); i++ {
			if !finite(c.Y[i]) || c.Y[i] < c.Y[lowest] {
				lowest = i
			}
			if c.Y[i] > c.Y[highest] {
				highest = i
			}
		}
		at = append(at, min(lowest, highest))
		if lowest != highest {
			at = append(at, max(lowest, highest))
		}
	}
	return at
}

// description is the chart in words, for those who do not see it.
func (c Chart) description(x, y axis, format func(float64) string) string {
	scale := ""
	if y.log {
		scale = ", on a logarithmic scale"
	}
	text := fmt.Sprintf("%s%s: between %s and %s, from %s %g to %g", c.Title, scale, format(y.low), format(y.high), c.X, x.low, x.high)
	if c.Last != "" {
		text += "; " + c.Last
	}
	return text
}
