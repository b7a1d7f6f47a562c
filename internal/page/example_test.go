package page_test

import (
	"fmt"
	"html/template"
	"strings"

	"github.com/impulse-salamandra/finetune/internal/page"
)

// A page with a text of a stranger and a curve.
func Example() {
	t := template.Must(page.Templates().Parse(
		`{{define "report"}}{{template "head" .}}<p>{{.Text}}</p>{{template "chart" .Loss}}{{template "foot" .}}{{end}}`))
	data := struct {
		page.Head
		Text string
		Loss page.Chart
	}{
		page.NewHead("A run"), page.Printable("<script>alert(1)</script>"),
		page.Chart{Title: "loss", X: "step", Curves: []page.Curve{{Name: "loss", Style: "one", X: []float64{1, 2, 3}, Y: []float64{2, 1, 0.5}}}},
	}
	var b strings.Builder
	if err := page.Write(&b, t, "report", data); err != nil {
		fmt.Println(err)
		return
	}
	for line := range strings.Lines(b.String()) {
		if strings.Contains(line, "alert") || strings.Contains(line, "polyline class") {
			fmt.Print(line)
		}
	}
	// Output:
	// <p>&lt;script&gt;alert(1)&lt;/script&gt;</p><figure class="chart">
	// <polyline class="one" points="54.0,12.0 242.0,121.3 430.0,176.0"></polyline>
}
