package inspect

import (
	"cmp"
	_ "embed"
	"fmt"
	"html/template"
	"io"

	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/internal/page"
)

//go:embed page.html
var pageText string

var pageTemplates = template.Must(page.Templates().Parse(pageText))

type htmlPage struct {
	page.Head
	Records    int
	Examples   []dataset.Example
	Facts      []Fact
	Plan       string
	Histograms []page.Chart
	Lengths    []htmlRow
	Languages  []htmlRow
	Lists      []htmlList
	Shown      []htmlConversation
	Usable     bool
}

type htmlRow struct {
	Name  string
	Cells []string
}

// htmlList is a number of things, of which the first are shown.
type htmlList struct {
	Title string
	Items []string
	Cut   int
	Bad   bool
}

type htmlConversation struct {
	ID              string
	Tokens, Trained int
	Spans           []span
}

// WriteHTML writes the report as one page for a browser, without scripts and
// without need of a network; see package page. Texts of records are escaped as
// in [Report.WriteText].
func (r *Report) WriteHTML(w io.Writer, opts WriteOptions) error {
	p := htmlPage{Head: page.NewHead(opts.Title), Records: r.Records, Examples: r.Examples, Usable: r.Usable()}
	for _, f := range opts.Facts {
		p.Facts = append(p.Facts, Fact{page.Printable(f.Name), page.Printable(f.Value)})
	}
	if r.Train != nil {
		p.Plan = "training on " + r.Train.String()
	}
	if r.Eval != nil {
		p.Plan += "evaluating on " + r.Eval.String()
	}
	if len(r.Examples) > 0 {
		p.Histograms = []page.Chart{r.all.Chart("tokens of the examples"), r.trained.Chart("trained tokens")}
		for _, row := range r.lengthRows() {
			p.Lengths = append(p.Lengths, htmlRow{row.name, row.cells})
		}
	}
	for _, l := range r.languages {
		p.Languages = append(p.Languages, htmlRow{page.Printable(cmp.Or(l.lang, "not known")), []string{
			fmt.Sprint(l.examples), fmt.Sprintf("%.1f %%", 100*float64(l.examples)/float64(len(r.Examples))), fmt.Sprint(l.held), fmt.Sprint(l.tokens),
		}})
	}
	p.Lists = r.htmlLists()
	for _, e := range r.conversations(opts.Conversations) {
		c := htmlConversation{ID: page.Printable(e.ID), Tokens: len(e.IDs), Spans: r.spans(e)}
		c.Trained = trainedTokens(c.Spans)
		for i := range c.Spans {
			c.Spans[i].Text = page.PrintableLines(c.Spans[i].Text)
		}
		p.Shown = append(p.Shown, c)
	}
	return page.Write(w, pageTemplates, "inspection", p)
}

// htmlLists are what is wrong, or may be.
func (r *Report) htmlLists() []htmlList {
	const most = 200
	var lists []htmlList
	add := func(bad bool, n int, title string, of func(int) string) {
		if n == 0 {
			return
		}
		l := htmlList{Title: fmt.Sprintf("%s (%d)", title, n), Cut: max(0, n-most), Bad: bad}
		for i := range min(n, most) {
			l.Items = append(l.Items, page.Printable(of(i)))
		}
		lists = append(lists, l)
	}
	add(true, len(r.Faults), "Faults", func(i int) string { return r.Faults[i].Error() })
	add(true, len(r.Answers), "Answers that the schema refuses", func(i int) string { return r.Answers[i].Error() })
	add(!r.dropping && len(r.Truncated) < len(r.Overlong), len(r.Overlong), fmt.Sprintf("Records of more than %d tokens, %d of them shortened", r.opts.Builder.MaxLength, len(r.Truncated)),
		func(i int) string { return sizeOf(r.Overlong[i]) })
	add(false, len(r.mismatches), "Questions that look like another language", func(i int) string {
		return fmt.Sprintf("%s: %s, looks like %s", r.mismatches[i].id, r.mismatches[i].lang, r.mismatches[i].looks)
	})
	add(false, len(r.equal), "Questions that stand more than once", func(i int) string { return r.equal[i].String() })
	add(false, len(r.near), "Groups of questions that resemble one another", func(i int) string { return r.near[i].String() })
	return lists
}
