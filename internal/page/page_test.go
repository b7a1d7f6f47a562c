package page_test

import (
	"errors"
	"html/template"
	"math"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/internal/page"
)

func drawn(t *testing.T, c page.Chart) string {
	t.Helper()
	var b strings.Builder
	require.NoError(t, page.Templates().ExecuteTemplate(&b, "chart", c))
	return b.String()
}

func TestChart(t *testing.T) {
	nan := math.NaN()
	for _, row := range []struct {
		name   string
		chart  page.Chart
		want   []string
		absent []string
	}{
		{
			name: "gaps interrupt", chart: page.Chart{Title: "x", Curves: []page.Curve{{Style: "one", X: []float64{0, 1, 2, 3}, Y: []float64{0, nan, 1, 2}}}},
			want: []string{`cx="54.0" cy="176.0"`, `points="304.7,94.0 430.0,12.0"`}, absent: []string{"NaN"},
		},
		{
			name: "one value", chart: page.Chart{Title: "x", Curves: []page.Curve{{Style: "one", X: []float64{5}, Y: []float64{3}, Dots: true}}},
			want: []string{`cx="242.0" cy="94.0"`, "5: 3"},
		},
		{
			name: "zero alone", chart: page.Chart{Title: "x", X: "step", FromZero: true, Curves: []page.Curve{{Style: "one", X: []float64{1, 2}, Y: []float64{0, 0}}}},
			want: []string{"x: between 0 and 1, from step 1 to 2", `points="54.0,176.0 430.0,176.0"`, `y="194">1</text>`, `y="194">2</text>`, `y="212">step</text>`}, absent: []string{`y="194">1.5<`},
		},
		{
			name: "both scales", chart: page.Chart{Title: "x", Log: true, Curves: []page.Curve{{Style: "one", X: []float64{0, 1, 2, 3}, Y: []float64{100, 10, 1, 0}}}},
			// The zero has no place on the second scale, where ten is half-way.
			want: []string{`points="54.0,12.0 179.3,159.6 304.7,174.4 430.0,176.0"`, `points="54.0,12.0 179.3,94.0 304.7,176.0"`, `class="log"`, "on a logarithmic scale", `y="16.0">100</text>`, `y="98.0">10</text>`, `y="180.0">1</text>`},
		},
		{name: "nothing above zero", chart: page.Chart{Title: "x", Log: true, Curves: []page.Curve{{X: []float64{1}, Y: []float64{0}}}}, absent: []string{`class="log"`}},
		{name: "nothing", chart: page.Chart{Title: "x"}, want: []string{"<svg"}, absent: []string{"polyline", "NaN", "Inf"}},
		{name: "infinite", chart: page.Chart{Title: "x", Curves: []page.Curve{{Style: "one", X: []float64{1, 2}, Y: []float64{math.Inf(1), 7}}}}, absent: []string{"Inf"}},
		{
			name: "bars stand on zero", chart: page.Chart{Title: "x", Bars: []page.Bar{{From: 0, To: 10, Count: 1, Text: "one"}, {From: 10, To: 20, Count: 2}}},
			want: []string{`x="54.0" y="94.0" width="187.0" height="82.0"><title>one`, `y="12.0" width="187.0" height="164.0"`},
		},
		{name: "texts are escaped", chart: page.Chart{Title: "</svg><script>", Last: "<b>", X: `"`}, absent: []string{"<script>", "<b>"}},
		{name: "legend", chart: page.Chart{Curves: []page.Curve{{Name: "a"}, {Name: "b"}}}, want: []string{"legend"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			got := drawn(t, row.chart)
			for _, want := range row.want {
				require.Contains(t, got, want)
			}
			for _, absent := range row.absent {
				require.NotContains(t, got, absent)
			}
		})
	}
}

// TestPeaksShow: of a million points few are drawn, the extreme ones among them.
func TestPeaksShow(t *testing.T) {
	var c page.Curve
	for i := range 1_000_000 {
		c.X, c.Y = append(c.X, float64(i)), append(c.Y, 1)
	}
	c.Y[777_777], c.Y[3] = 2, 0
	got := drawn(t, page.Chart{Title: "x", Curves: []page.Curve{c}})
	require.Less(t, len(got), 20_000)
	require.Regexp(t, regexp.MustCompile(`346\.4,12\.0`), got)
	require.Contains(t, got, "54.0,176.0")
}

// TestLiveHead: a live page allows its own script and no other.
func TestLiveHead(t *testing.T) {
	var b strings.Builder
	require.NoError(t, page.Write(&b, page.Templates(), "head", page.NewLiveHead("a")))
	require.Regexp(t, `script-src 'sha256-[^']+'; connect-src 'self'; `, b.String())
	require.Contains(t, b.String(), "<script>\"use strict\";")
	b.Reset()
	require.NoError(t, page.Write(&b, page.Templates(), "head", page.NewHead("a")))
	require.NotContains(t, b.String(), "script")
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, os.ErrClosed }

func TestWrite(t *testing.T) {
	tmpl := template.Must(page.Templates().Parse(`{{define "x"}}{{template "head" .}}{{.Absent}}{{end}}`))
	var b strings.Builder
	require.Error(t, page.Write(&b, tmpl, "x", page.NewHead("a")))
	require.Empty(t, b.String(), "nothing is written of a page that fails")
	require.True(t, errors.Is(page.Write(broken{}, page.Templates(), "foot", nil), os.ErrClosed))
	require.Equal(t, `a\x1b[2J\u202e\n`, page.NewHead("a\x1b[2J\u202e\n").Title)
	require.Equal(t, "a\n\\x1bb", page.PrintableLines("a\n\x1bb"))
}
