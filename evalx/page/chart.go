package page

import (
	"cmp"
	"fmt"
	"math"
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
	// Format writes a value of the vertical axis; nil for at most four digits.
	Format func(float64) string
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
	chartWidth, chartHeight = 440, 200
	left, right             = 46, 430
	top, bottom             = 12, 176
	// mostPoints are drawn of a curve: more do not show.
	mostPoints = 600
)

// drawing is a chart as the template takes it.
type drawing struct {
	Title, Last, Label                         string
	Width, Height, Left, Right, LabelX, LabelY int
	XTicks, YTicks                             []tick
	Lines                                      []line
	Bars                                       []bar
	Legend                                     bool
}

type tick struct{ At, TextAt, Text string }

type line struct {
	Name, Class string
	Runs        []string
	Dots        []dot
}

type dot struct{ X, Y, Text string }

type bar struct{ X, Y, Width, Height, Text string }

// axis maps values to places.
type axis struct{ low, high, from, to float64 }

func (a axis) at(v float64) string {
	return strconv.FormatFloat(a.from+(v-a.low)/(a.high-a.low)*(a.to-a.from), 'f', 1, 64)
}

// Drawing lays the chart out for the template "chart".
func (c Chart) Drawing() any {
	format := c.Format
	if format == nil {
		format = func(v float64) string { return strconv.FormatFloat(v, 'g', 4, 64) }
	}
	x, y := c.axes()
	d := drawing{
		Title: c.Title, Last: c.Last, Label: c.description(x, y, format), Width: chartWidth, Height: chartHeight, Left: left, Right: right,
		LabelX: left - 6, LabelY: chartHeight - 6, Legend: len(c.Curves) > 1,
	}
	for _, v := range ticks(y.low, y.high, 4) {
		at := y.at(v)
		d.YTicks = append(d.YTicks, tick{At: at, TextAt: axis{y.low, y.high, y.from + 4, y.to + 4}.at(v), Text: format(v)})
	}
	for _, v := range ticks(x.low, x.high, 5) {
		if v != math.Trunc(v) {
			continue // there is no half a step
		}
		d.XTicks = append(d.XTicks, tick{At: x.at(v), Text: strconv.FormatFloat(v, 'g', 6, 64)})
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
func (c Chart) axes() (x, y axis) {
	x = axis{math.Inf(1), math.Inf(-1), left, right}
	y = axis{math.Inf(1), math.Inf(-1), bottom, top}
	include := func(a *axis, v float64) { a.low, a.high = min(a.low, v), max(a.high, v) }
	for _, curve := range c.Curves {
		for i, v := range curve.Y {
			if finite(v) {
				include(&x, curve.X[i])
				include(&y, v)
			}
		}
	}
	for _, b := range c.Bars {
		include(&x, b.From)
		include(&x, b.To)
		include(&y, float64(b.Count))
	}
	if c.FromZero || c.Bars != nil {
		include(&y, 0)
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

// draw turns a curve into runs of points without a gap.
func (c Curve) draw(x, y axis, format func(float64) string) line {
	l := line{Name: c.Name, Class: c.Style}
	var run []string
	end := func() {
		if len(run) > 0 {
			l.Runs = append(l.Runs, strings.Join(run, " "))
		}
		run = nil
	}
	for _, i := range c.shown() {
		if !finite(c.Y[i]) {
			end()
			continue
		}
		px, py := x.at(c.X[i]), y.at(c.Y[i])
		run = append(run, px+","+py)
		if c.Dots {
			l.Dots = append(l.Dots, dot{px, py, fmt.Sprintf("%g: %s", c.X[i], format(c.Y[i]))})
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
	text := fmt.Sprintf("%s: between %s and %s, from %s %g to %g", c.Title, format(y.low), format(y.high), c.X, x.low, x.high)
	if c.Last != "" {
		text += "; " + c.Last
	}
	return text
}
